"""The pools of accounts, and when a cooling account has room again, in a scrape over a real ledger."""

import re
from datetime import UTC
from pathlib import Path

import pytest
from msgspec.structs import replace

from exporter.limits.limit_file import watch_limit_file
from exporter.normalize.inventory import Account
from exporter.quotas.reading import OVERAGE, Reading
from exporter.sources.proxy_status import ProxyStatus
from tests.unit.metrics.conftest import Bench, account

_HOUR_MS = 3_600_000


def _reading(bench: Bench, used: float, *, resets: float) -> Reading:
    """A window of 5 hours that resets in ``resets`` hours, read an hour ago."""
    now_ms = int(bench.clock.now() * 1000)
    resets_ms = now_ms + round(resets * _HOUR_MS)
    return Reading("5h", "", 5 * 3600, used, resets_ms, "", now_ms - _HOUR_MS, inferred=False, source="auth_files")


def _retry_ms(bench: Bench, hours: float) -> int:
    return int(bench.clock.now() * 1000) + round(hours * _HOUR_MS)


def _samples(bench: Bench, *accounts: Account, whole: bool = True) -> dict[str, float]:
    """The samples about pools and room after an inventory: times in hours from now, states without zeros."""
    taken = bench.ledger.take_inventory("p", accounts, whole=whole)
    bench.statuses = [ProxyStatus(name="p", accounts=tuple(taken))]
    bench.limits.refresh()
    found: dict[str, float] = {}
    for name, block, value in re.findall(r"^cliproxy_(pool\w+|credential_room\w+){(.*)} (\S+)$", bench.scrape(), re.M):
        label = " ".join(re.findall(r'(?:state|provider)="(.*?)"', block))
        if name == "pool_accounts":
            found |= {label: float(value)} if float(value) else {}
        else:
            short = name.removesuffix("_timestamp_seconds")
            found[f"{short} {label}"] = round((float(value) - bench.clock.now()) / 3600, 2)
    return found


def test_a_pool_has_the_accounts_of_a_provider_that_may_work(bench: Bench) -> None:
    assert _samples(
        bench,
        account("a.json", status="active", readings=(_reading(bench, 0.9, resets=2),)),
        account("b.json", status="active", readings=(_reading(bench, 1.0, resets=3),)),
        account("c.json", status="error", unavailable=True, retry_ms=_retry_ms(bench, 1)),
        account("d.json", status="disabled", disabled=True),
        account("e.json", provider="codex", status="active"),
        account("key", status=None),
    ) == {
        "claude usable": 1,
        "claude exhausted": 1,
        "claude cooling": 1,
        "codex unknown": 1,
        "pool_next_back claude": 1,
        # The pace is 145 % in 2 hours: 100 % of b, and half of the 90 % that a had used in 2 hours an hour ago.
        "pool_empty claude": 0.14,
    }


def test_a_window_that_ends_becomes_unknown_at_the_next_evaluation(bench: Bench) -> None:
    listed = account("a.json", status="active", readings=(_reading(bench, 1.0, resets=0.5),))
    assert _samples(bench, listed) == {"claude exhausted": 1, "pool_next_back claude": 0.5, "pool_empty claude": 0}
    bench.clock.jump(1801)
    bench.limits.refresh()
    text = bench.scrape()
    assert 'state="unknown"} 1.0' in text
    assert "cliproxy_pool_empty_timestamp_seconds{" not in text


def _week(bench: Bench, used: float, *, resets: float, scope: str = "") -> Reading:
    reading = _reading(bench, used, resets=resets)
    return replace(reading, window="7d", scope=scope, window_seconds=7 * 86_400)


def test_a_window_that_has_ended_begins_again_in_the_forecast(bench: Bench) -> None:
    busy = account("a.json", status="active", readings=(_reading(bench, 0.9, resets=4.2),))
    ended = _reading(bench, 0.3, resets=-0.5)
    idle = account("b.json", status="active", readings=(ended, _week(bench, 0.2, resets=84)))
    # The pace is 90 % in 0.8 hours. Both share it until the busy one has used its last 10 %; the other has 90 % left.
    assert _samples(bench, busy, idle) == {"claude usable": 2, "pool_empty claude": 0.98}


def test_a_week_that_counts_dollars_uses_up_its_account_like_any_other(bench: Bench) -> None:
    """The plans of companies have such a week."""
    week = replace(_week(bench, 1.0009, resets=20), used_nano_usd=100_090_000_000, limit_nano_usd=100_000_000_000)
    retry_ms = _retry_ms(bench, 30)
    cooling = account("b.json", status="error", unavailable=True, retry_ms=retry_ms, readings=(week,))
    assert _samples(bench, account("a.json", status="active", readings=(week,)), cooling) == {
        "claude exhausted": 2,
        "pool_next_back claude": 20,
        "pool_empty claude": 0,
        "credential_room claude": 20,
    }


def test_a_budget_of_your_own_that_is_used_up_takes_no_account_out_of_its_pool(bench: Bench, tmp_path: Path) -> None:
    """Its provider answers on, and nothing holds requests back."""
    file = tmp_path / "limits.yaml"
    file.write_text("limits: [{id: own, tokens: 1, strategy: daily, per: credential}]", encoding="utf-8")
    bench.limits.file = watch_limit_file(file, zone=UTC)
    listed = account("a.json", auth_index="index-1", status="active", readings=(_reading(bench, 0.5, resets=2),))
    bench.list_accounts(listed)
    bench.book()
    assert _samples(bench, listed) == {"claude usable": 1}
    assert _shown(bench) == ["2.0", "0.5"]


def test_a_cap_on_money_of_no_known_length_uses_up_no_account(bench: Bench) -> None:
    cap = replace(_week(bench, 1.0, resets=20), window="month", window_seconds=None, limit_nano_usd=1)
    assert _samples(bench, account("a.json", status="active", readings=(cap,))) == {"claude unknown": 1}


def test_an_account_whose_main_windows_have_ended_is_usable_although_a_models_window_is_used_up(bench: Bench) -> None:
    ended = _reading(bench, 0.3, resets=-0.5)
    full = _week(bench, 1.0, resets=20, scope="opus")
    assert _samples(bench, account("a.json", status="active", readings=(ended, full))) == {"claude usable": 1}


@pytest.mark.parametrize(("read_since", "state"), [(False, "usable"), (True, "exhausted")])
def test_an_ended_window_of_some_models_has_room_until_a_later_answer_leaves_it_out(
    bench: Bench, read_since: bool, state: str
) -> None:
    ended = replace(_reading(bench, 0.3, resets=-0.5), scope="gemini")
    full = _week(bench, 1.0, resets=20, scope="claude-gpt")
    if read_since:
        full = replace(full, observed_ms=int(bench.clock.now() * 1000))
    accounts = account("a.json", provider="antigravity", status="active", readings=(ended, full))
    samples = _samples(bench, accounts)
    assert {name: number for name, number in samples.items() if " " in name and "pool" not in name} == {
        f"antigravity {state}": 1
    }


def test_a_cooling_account_still_shows_since_when_it_has_room_after_that_reset(bench: Bench) -> None:
    reading = _reading(bench, 1.0, resets=0.5)
    listed = account("a.json", status="error", unavailable=True, retry_ms=_retry_ms(bench, 9), readings=(reading,))
    assert _samples(bench, listed)["credential_room claude"] == 0.5
    bench.clock.jump(2 * 3600)
    assert _samples(bench, listed)["credential_room claude"] == -1.5


def test_an_account_whose_use_beyond_a_window_is_paid_is_usable(bench: Bench) -> None:
    paid = replace(_reading(bench, 1.02, resets=3), status=OVERAGE)
    assert _samples(bench, account("a.json", status="active", readings=(paid,))) == {"claude usable": 1}
    assert _shown(bench) == ["1.02"]


def test_of_two_logins_of_one_account_the_working_one_counts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    cooling = account("a.json", status="error", unavailable=True, retry_ms=_retry_ms(bench, 1))
    working = account("b.json", status="active")
    monkeypatch.setattr(bench.shown_names, "credential", lambda _: "one")
    assert _samples(bench, working, cooling) == {"claude unknown": 1}
    assert _samples(bench, cooling, working) == {"claude unknown": 1}


def _shown(bench: Bench) -> list[str]:
    """The shares of all windows after an evaluation."""
    bench.limits.refresh()
    return re.findall(r"^cliproxy_limit_used_ratio{.*} (\S+)$", bench.scrape(), re.M)


def test_the_windows_of_an_account_go_with_it(bench: Bench) -> None:
    full = account("a.json", status="active", readings=(_reading(bench, 1.0, resets=3),))
    other = account("b.json", status="active", readings=(_reading(bench, 0.5, resets=3),))
    _samples(bench, full, other)
    assert sorted(_shown(bench)) == ["0.5", "1.0"]

    bench.reopen()
    bench.statuses = [ProxyStatus(name="p")]
    assert len(_shown(bench)) == 2, "nobody has asked the proxy yet"
    _samples(bench, other, whole=False)
    assert len(_shown(bench)) == 2, "one of its lists could not be read"

    key = account("key", status=None, readings=(_reading(bench, 0.25, resets=3),))
    _samples(bench, other, key)
    assert _shown(bench) == ["0.5", "0.25"]
    _samples(bench, full, other)
    assert _shown(bench) == ["1.0", "0.5"], "it is back, and the key is gone"
    _samples(bench, account("key", status=None))
    assert _shown(bench) == ["0.25"], "only a key is left"
    _samples(bench)
    assert _shown(bench) == [], "nothing is left"
    bench.statuses = []
    assert _shown(bench) == [], "a command, which polls no proxy"

    _samples(bench, full, other, key)
    bench.ledger.register("a new name of the proxy")
    bench.limits.polled = ["a new name of the proxy"]
    assert _shown(bench) == []
    bench.limits.polled = ["p", "a new name of the proxy"]
    assert len(_shown(bench)) == 3
    bench.limits.polled = ["a proxy of another ledger"]
    assert len(_shown(bench)) == 3, "a command reads the ledger of the demo"
    bench.limits.polled = []
    assert len(_shown(bench)) == 3, "a command needs no proxy"
