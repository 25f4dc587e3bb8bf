"""The cost and the worth of subscriptions, as /metrics shows them."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from prometheus_client import Metric

from exporter.ledger.store.quota_points import CapacityChanges
from exporter.limits.capacity import Capacity, WindowWorth
from exporter.limits.model import ProviderWindow
from exporter.metrics.limits import limit_families, plan_families
from exporter.normalize.inventory import Account
from exporter.quotas.reading import Reading
from exporter.records import Billing, CredentialFacts
from exporter.sources.proxy_status import ProxyStatus
from tests.benches.limits import LimitBench, Use
from tests.fakes.guarding import TurnableClock

_NIGHT = datetime(2026, 11, 30, 23, 30, tzinfo=UTC).timestamp()
_PLANS = """\
    plans:
    - {credential: claude-anna, price_per_month: 22.99, currency: EUR, to: 2026-12-01}
    - {credential: claude-*, price_per_month: 200}
"""
_WINDOW = ProviderWindow("p", "claude", "claude-anna", "", "7d")


class _Bench(LimitBench):
    def families(self, *accounts: str, billing: Billing = Billing.SUBSCRIPTION) -> dict[str, dict[str, float]]:
        """Each sample of the plans by its name, and by account with currency."""
        self.ledger.periods.refresh()
        listed = [
            Account(
                facts=CredentialFacts(provider="claude", billing=billing),
                identity=("file", name),
                auth_index=name,
                auth_type="oauth",
            )
            for name in accounts
        ]
        taken = self.ledger.take_inventory("p", listed)
        status = ProxyStatus(name="p", accounts=(*taken, *taken[:1]))
        self.board.statuses = lambda: [status]
        self.board.refresh()
        return _samples(plan_families(self.board))


def _samples(families: list[Metric]) -> dict[str, dict[str, float]]:
    return {
        family.name: {
            " ".join(each.labels[name] for name in ("credential", "currency") if name in each.labels): each.value
            for each in family.samples
        }
        for family in families
    }


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    bench = _Bench(tmp_path, _PLANS, clock=TurnableClock(_NIGHT))
    yield bench
    bench.ledger.close()


def test_the_value_of_the_month_is_shown_beside_the_price_of_each_listed_account(bench: _Bench) -> None:
    now_ms = bench.now_ms
    bench.book(
        Use(now_ms - 1000, account="anna", nano_usd=30 * 10**9),
        Use(now_ms - 20 * 86_400_000, account="anna", nano_usd=12 * 10**9),
        Use(now_ms - 31 * 86_400_000, account="anna", nano_usd=99 * 10**9),
        Use(now_ms - 1000, account="gone", nano_usd=50 * 10**9),
    )
    assert bench.families("anna", "idle") == {
        "cliproxy_plan_price_per_month": {"claude-anna EUR": 22.99, "claude-idle USD": 200.0},
        "cliproxy_plan_value_usd": {"claude-anna": 42.0, "claude-idle": 0.0},
    }


def test_an_edit_of_the_plans_takes_effect(bench: _Bench) -> None:
    bench.edit("plans: [{credential: claude-anna, price_per_month: 90}]\n")
    assert bench.families("anna", "idle")["cliproxy_plan_price_per_month"] == {"claude-anna USD": 90.0}
    bench.edit("plans: [{credential: claude-anna, price_per_month: dear}]\n")
    assert bench.families("anna", "idle")["cliproxy_plan_price_per_month"] == {"claude-anna USD": 90.0}
    assert len(bench.board.problems) == 1


def test_an_api_key_has_no_plan(bench: _Bench) -> None:
    assert bench.families("anna", billing=Billing.METERED)["cliproxy_plan_price_per_month"] == {}


def test_a_plan_and_a_month_end_at_midnight_in_the_users_zone(tmp_path: Path) -> None:
    """In Berlin it is half past midnight on the first of December."""
    bench = _Bench(tmp_path, _PLANS, clock=TurnableClock(_NIGHT), zone=ZoneInfo("Europe/Berlin"))
    bench.book(
        Use(bench.now_ms - 31 * 60_000, account="anna", nano_usd=5 * 10**9),
        Use(bench.now_ms - 29 * 60_000, account="anna", nano_usd=2 * 10**9),
    )
    assert bench.families("anna") == {
        "cliproxy_plan_price_per_month": {"claude-anna USD": 200.0},
        "cliproxy_plan_value_usd": {"claude-anna": 2.0},
    }
    bench.ledger.close()


@pytest.mark.parametrize(("zone", "price"), [("UTC", 20), ("Europe/Berlin", 100)])
def test_a_plan_begins_on_its_first_day_in_the_users_zone(tmp_path: Path, zone: str, price: int) -> None:
    """The moment is in November in UTC, and in December in Berlin."""
    plans = "{credential: claude-*, price_per_month: 100, from: 2026-12-01}, {credential: '*', price_per_month: 20}"
    bench = _Bench(tmp_path, f"plans: [{plans}]", clock=TurnableClock(_NIGHT), zone=ZoneInfo(zone))
    assert bench.families("anna")["cliproxy_plan_price_per_month"] == {"claude-anna USD": price}
    bench.ledger.close()


def test_a_window_shows_its_bounds_and_what_changed(bench: _Bench) -> None:
    bench.board.refresh()
    worth = WindowWorth(usd=Capacity(41.0, 38.0, 46.0), tokens=None, changes=CapacityChanges(shrank=1))
    bench.board.current = replace(bench.board.current, worth={_WINDOW: worth})
    samples = [sample for family in limit_families(bench.board) for sample in family.samples]
    window = {"proxy": "p", "provider": "claude", "credential": "claude-anna", "scope": "", "window": "7d"}
    limit = {**window, "limit": "7d", "kind": "provider", "unit": "share"}

    assert [(each.name, each.labels, each.value) for each in samples] == [
        ("cliproxy_limit_capacity_usd", {**limit, "bound": "estimate"}, 41.0),
        ("cliproxy_limit_capacity_usd", {**limit, "bound": "low"}, 38.0),
        ("cliproxy_limit_capacity_usd", {**limit, "bound": "high"}, 46.0),
        ("cliproxy_limit_capacity_changes_total", {**window, "change": "shrank"}, 1.0),
        ("cliproxy_limit_capacity_changes_total", {**window, "change": "grew"}, 0.0),
    ]


def _book_a_cap(bench: _Bench) -> None:
    """By these readings the cap of 20 dollars is worth about 40 at API prices."""
    cap = 20 * 10**9
    resets_ms = bench.now_ms + 20 * 86_400_000
    for step in range(8):
        reading = Reading(
            "month", "", None, step / 10, resets_ms, "", bench.now_ms, False, "active",
            used_nano_usd=step * cap // 10, limit_nano_usd=cap,
        )  # fmt: skip
        bench.book(Use(bench.now_ms, account="anna", nano_usd=4 * 10**9, reading=reading))
        bench.clock.jump(3600)


def test_the_worth_of_a_cap_on_money_has_the_labels_of_its_window(bench: _Bench) -> None:
    _book_a_cap(bench)
    bench.board.refresh()
    families = {family.name: family.samples for family in limit_families(bench.board)}
    (used,) = families["cliproxy_limit_used_ratio"]
    capacity = families["cliproxy_limit_capacity_usd"]

    assert used.labels["unit"] == "usd"
    assert [each.labels for each in capacity] == [
        {**used.labels, "bound": bound} for bound in ("estimate", "low", "high")
    ]
    assert capacity[0].value == pytest.approx(40, rel=0.1)

    bench.families("anna")
    bench.board.refresh()
    assert list(bench.board.current.worth), "it is listed"
    bench.families()
    bench.board.refresh()
    assert list(bench.board.current.worth) == [], "it was deleted"
