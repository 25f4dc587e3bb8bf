"""What providers were asked about accounts, in a scrape over a real ledger."""

import pytest

from exporter.metrics.credentials import quota_families
from exporter.quotas.base import AccountState
from exporter.quotas.pacing import LastAsked
from exporter.quotas.reading import Reading
from exporter.sources.proxy_status import ProxyStatus
from tests.unit.metrics.conftest import Bench, account

_DAY_MS = 86_400_000


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_logins_with_the_same_labels_the_working_one_counts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int]
) -> None:
    logins = [account("a.json", status="disabled", disabled=True), account("b.json", status="active")]
    taken = bench.ledger.take_inventory("p", logins)
    bench.statuses = [ProxyStatus(name="p", accounts=tuple(taken[place] for place in order))]
    monkeypatch.setattr(bench.shown_names, "credential", lambda _: "one")
    now_ms = bench.clock.now_ms()
    bench.ledger.quota_asks.outlook = {taken[1][0]: LastAsked(next_ms=now_ms + 60_000, result="ok")}
    families = quota_families(bench.ledger, bench.shown_names, lambda: bench.statuses, bench.clock)

    labels = {"proxy": "p", "credential": "one", "provider": "claude"}
    assert [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples] == [
        ("cliproxy_quota_next_fetch_timestamp_seconds", labels, now_ms / 1000 + 60),
        ("cliproxy_quota_last_result_info", {**labels, "result": "ok"}, 1.0),
    ]


def test_the_share_of_a_week_that_was_used_elsewhere_shows_in_that_week_only(bench: Bench) -> None:
    """It was told two days before the week ended."""
    told_ms, ends_ms = bench.clock.now_ms(), bench.clock.now_ms() + 2 * _DAY_MS
    week = Reading("7d", "", 7 * 86_400, 0.5, ends_ms, "", told_ms, inferred=False, source="active")
    taken = bench.ledger.take_inventory("p", [account("a.json", status="active", readings=(week,))])
    bench.statuses = [ProxyStatus(name="p", accounts=tuple(taken))]
    shown = "cliproxy_quota_elsewhere_ratio{"

    def told(at_ms: int) -> None:
        bench.ledger.quota_asks.told = {taken[0][0]: AccountState(elsewhere_ratio=0.25, elsewhere_ms=at_ms)}

    told(ends_ms - 7 * _DAY_MS - 1)
    assert shown not in bench.scrape(), "that was another week"
    told(told_ms)
    assert f'{shown}credential="claude-069e",provider="claude",proxy="p"}} 0.25' in bench.scrape()
    bench.clock.jump(2 * 86_400 - 1)
    assert shown in bench.scrape()
    bench.clock.jump(1)
    assert shown not in bench.scrape(), "that week has ended"


def test_an_account_that_was_not_asked_yet_has_no_last_result(bench: Bench) -> None:
    taken = bench.ledger.take_inventory("p", [account("a.json", status="active")])
    bench.statuses = [ProxyStatus(name="p", accounts=tuple(taken))]
    bench.ledger.quota_asks.outlook = {taken[0][0]: LastAsked(next_ms=5000)}
    text = bench.scrape()

    assert 'cliproxy_quota_next_fetch_timestamp_seconds{credential="claude-069e",provider="claude",proxy="p"} 5' in text
    assert "cliproxy_quota_last_result_info{" not in text
