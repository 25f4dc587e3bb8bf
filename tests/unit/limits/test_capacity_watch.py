"""The worth of a window in a real ledger: readings and use as they are booked, through restarts and pruning."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import pytest
from structlog.testing import capture_logs

from exporter.errors import LedgerError
from exporter.limits.capacity import Capacity, WindowWorth
from exporter.normalize.inventory import Account
from exporter.quotas.reading import Reading
from exporter.records import Billing, CredentialFacts, Tokens
from tests.benches.limits import LimitBench, Use
from tests.fakes.guarding import TurnableClock

_MINUTE_MS, _HOUR_MS = 60_000, 3_600_000
_WEEK_MS = 168 * _HOUR_MS
_START_MS = int(datetime(2026, 11, 23, tzinfo=UTC).timestamp()) * 1000
_USD, _TOKENS = 200.0, 400_000_000


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LimitBench]:
    bench = LimitBench(tmp_path, clock=TurnableClock(_START_MS / 1000))
    yield bench
    bench.ledger.close()


def _reading(at_ms: int, used_ratio: float, resets_ms: int, *, window: str = "7d", scope: str = "") -> Reading:
    return Reading(
        window=window,
        scope=scope,
        window_seconds=_WEEK_MS // 1000,
        used_ratio=used_ratio,
        resets_ms=resets_ms,
        status="",
        observed_ms=at_ms,
        inferred=False,
        source="header",
    )


def _week(seed: int, number: int, *, cut: float = 1.0, filled: float = 0.8, account: str = "account-1") -> list[Use]:
    """60 requests of a week that fill a share of its window, each with a reading taken before the request counted."""
    rng = random.Random(seed)
    steps = [rng.expovariate(1) for _ in range(60)]
    begins_ms, resets_ms = _START_MS + number * _WEEK_MS, _START_MS + (number + 1) * _WEEK_MS
    moments = sorted(rng.sample(range(begins_ms, resets_ms - _HOUR_MS, 600_000), 60))
    uses, risen = [], 0.0
    for at_ms, step in zip(moments, steps, strict=True):
        share = filled * step / sum(steps)
        uses.append(
            Use(
                at_ms,
                account=account,
                tokens=Tokens(uncached=round(share * cut * _TOKENS)),
                nano_usd=round(share * cut * _USD * 1e9),
                latency_ms=30_000,
                reading=_reading(at_ms + 2_000, round(risen, 2), resets_ms),
            )
        )
        risen += share
    return uses


def _play(bench: LimitBench, uses: list[Use]) -> None:
    """Book each request when it ends, and evaluate now and then."""
    for number, use in enumerate(uses):
        bench.clock.jump((use.ts_ms + use.latency_ms - bench.now_ms) / 1000)
        bench.book(use)
        if number % 10 == 0:
            bench.board.refresh()


def _end(bench: LimitBench, week: int) -> None:
    bench.clock.jump((_START_MS + (week + 1) * _WEEK_MS - bench.now_ms) / 1000)


def _worth(bench: LimitBench, *, window: str = "7d", scope: str = "", credential: str = "") -> WindowWorth:
    bench.clock.jump(600)
    bench.board.refresh()
    (found,) = [
        worth
        for key, worth in bench.board.current.worth.items()
        if (key.window, key.scope) == (window, scope) and credential in ("", key.credential)
    ]
    return found


def _usd(worth: WindowWorth) -> Capacity:
    assert worth.usd is not None
    return worth.usd


def test_a_week_of_readings_shows_the_worth_of_the_window(bench: LimitBench) -> None:
    _play(bench, _week(1, 0))
    worth = _worth(bench)

    assert worth.tokens is not None
    assert _usd(worth).estimate == pytest.approx(_USD, rel=0.03)
    assert worth.tokens.estimate == pytest.approx(_TOKENS, rel=0.03)
    assert _usd(worth).low <= _USD <= _usd(worth).high
    assert worth.changes == (0, 0)


def test_it_survives_a_restart_and_pruning(bench: LimitBench) -> None:
    _play(bench, _week(2, 0))
    before = _usd(_worth(bench))
    bench.restart()
    assert _usd(_worth(bench)) == before
    bench.ledger.retention.prune(entries_before_ms=bench.now_ms, rejected_before_ms=0, stopping=lambda: False)
    bench.restart()
    after = _usd(_worth(bench))
    assert after.estimate == pytest.approx(_USD, rel=0.03), "the roll-up knows the use to a quarter of an hour"


def test_a_smaller_limit_is_reported_once_after_one_whole_window(bench: LimitBench) -> None:
    _play(bench, _week(3, 0))
    _end(bench, 0)
    cut = _week(4, 1, cut=0.85)
    _play(bench, cut)
    assert _worth(bench).changes == (0, 0), "the window still runs"
    _end(bench, 1)
    with capture_logs() as logged:
        worth = _worth(bench)
    assert worth.changes == (1, 0)
    assert [each["shrank"] for each in logged if each["event"] == "limit_capacity_changed"] == [True]
    assert _usd(worth).estimate == pytest.approx(_USD * 0.85, rel=0.03)
    bench.restart()
    with capture_logs() as logged:
        assert _worth(bench).changes == (1, 0)
    assert [each for each in logged if each["event"] == "limit_capacity_changed"] == []
    _play(bench, _week(5, 2, cut=0.85))
    _end(bench, 2)
    assert _worth(bench).changes == (1, 0)


def test_a_smaller_limit_is_logged_even_if_the_disk_fails_once_it_is_counted(
    bench: LimitBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    _play(bench, _week(3, 0))
    _end(bench, 0)
    _play(bench, _week(4, 1, cut=0.85))
    _end(bench, 1)
    bench.clock.jump(600)
    with capture_logs() as logged:
        with monkeypatch.context() as patch:
            patch.setattr(bench.ledger.quota_points, "changes", _fail)
            with pytest.raises(LedgerError):
                bench.board.refresh()
        assert [_worth(bench).changes for _ in range(2)] == [(1, 0)] * 2
    assert [each["shrank"] for each in logged if each["event"] == "limit_capacity_changed"] == [True]


def _fail() -> NoReturn:
    raise LedgerError("The disk reports an error.")


def test_use_outside_the_proxy_widens_the_interval_and_reports_no_change(bench: LimitBench) -> None:
    _play(bench, _week(6, 0))
    clean = _usd(_worth(bench))
    _end(bench, 0)
    rng = random.Random(7)
    _play(bench, [use for use in _week(7, 1) if rng.random() > 0.3])
    _end(bench, 1)
    worth = _worth(bench)

    assert worth.changes == (0, 0)
    assert _usd(worth).estimate == pytest.approx(_USD, rel=0.03)
    assert _usd(worth).low <= _USD <= _usd(worth).high
    assert _usd(worth).high - _usd(worth).low > 3 * (clean.high - clean.low)


def test_late_records_count_in_their_own_time(bench: LimitBench) -> None:
    """Every third record arrives with the one after it, in the wrong order."""
    uses = _week(8, 0)
    for place in range(0, 60, 3):
        first, late, next_ = uses[place : place + 3]
        _play(bench, [first, next_])
        bench.book(late)
    bench.restart()
    worth = _worth(bench)

    assert _usd(worth).estimate == pytest.approx(_USD, rel=0.03)
    assert _usd(worth).low <= _USD <= _usd(worth).high


def test_readings_that_are_late_repeated_or_falling_do_no_harm(bench: LimitBench) -> None:
    uses = _week(9, 0)
    _play(bench, uses)
    before = _worth(bench)
    for told in uses[10], uses[50], uses[-1]:
        assert told.reading is not None
        bench.book(Use(told.ts_ms, nano_usd=0, tokens=Tokens(), reading=told.reading))
    last = uses[-1].reading
    assert last is not None
    lower = _reading(last.observed_ms + 60_000, last.used_ratio - 0.01, _START_MS + _WEEK_MS)
    bench.book(Use(lower.observed_ms, nano_usd=0, tokens=Tokens(), reading=lower))
    after = _worth(bench)

    assert _usd(after).estimate == pytest.approx(_USD, rel=0.03)
    assert after.changes == before.changes


def test_a_fresh_reading_waits_for_its_records(bench: LimitBench) -> None:
    _play(bench, _week(10, 0))
    before = _usd(_worth(bench))
    at_ms = bench.now_ms
    early = _reading(at_ms, 0.95, _START_MS + _WEEK_MS)
    bench.book(Use(at_ms, account="account-1", nano_usd=0, tokens=Tokens(), reading=early))
    bench.clock.jump(120)
    bench.board.refresh()

    assert next(iter(bench.board.current.worth.values())).usd == before


@pytest.mark.parametrize(
    ("used_ratio", "resets_in_ms", "inferred"), [(1.0, _WEEK_MS, False), (0.5, 0, False), (0.99, _WEEK_MS, True)]
)
def test_full_ended_and_concluded_windows_are_no_points(
    bench: LimitBench, used_ratio: float, resets_in_ms: int, inferred: bool
) -> None:
    at_ms = bench.now_ms
    reading = Reading(
        window="7d",
        scope="",
        window_seconds=_WEEK_MS // 1000,
        used_ratio=used_ratio,
        resets_ms=at_ms + resets_in_ms,
        status="",
        observed_ms=at_ms,
        inferred=inferred,
        source="header",
        ratio_inferred=inferred,
    )
    bench.book(Use(at_ms, reading=reading))

    assert bench.ledger.quota_points.points(from_ms=0, until_ms=at_ms) == {}


def test_a_window_of_some_models_has_the_worth_of_their_use(bench: LimitBench) -> None:
    resets_ms = _START_MS + _WEEK_MS
    for step in range(11):
        at_ms = _START_MS + step * _HOUR_MS
        opus = _reading(at_ms, step * 0.05, resets_ms, scope="opus")
        bench.book(
            Use(at_ms, nano_usd=10 * 10**9, reading=opus),
            Use(at_ms + 1000, model="claude-sonnet-5", nano_usd=7 * 10**9),
        )
        bench.clock.jump(3600)
    assert _usd(_worth(bench, scope="opus")).estimate == pytest.approx(200)


def test_a_model_with_its_own_limit_does_not_count_in_the_main_window(bench: LimitBench) -> None:
    resets_ms = _START_MS + _WEEK_MS
    for step in range(11):
        at_ms = _START_MS + step * _HOUR_MS
        main = _reading(at_ms, step * 0.05, resets_ms)
        bench.book(
            Use(at_ms, provider="codex", model="gpt-5.3-codex", nano_usd=10 * 10**9, reading=main),
            Use(at_ms + 1000, provider="codex", model="gpt-5.3-codex-spark", nano_usd=7 * 10**9),
        )
        bench.clock.jump(3600)
    assert _usd(_worth(bench)).estimate == pytest.approx(200)


@pytest.mark.parametrize(
    ("provider", "scope", "model", "other"),
    [
        ("antigravity", "claude-gpt", "claude-sonnet-4-6", "gemini-3-flash"),
        ("antigravity", "claude-gpt", "gemini-claude-sonnet-4-5", "gemini-3-flash"),
        ("antigravity", "gemini", "gemini-3-pro-high", "claude-sonnet-4-6"),
        ("gemini-cli", "gemini-2.5-flash", "gemini-2.5-flash", "gemini-2.5-flash-lite"),
        ("kimi", "code", "kimi-for-coding", ""),
    ],
)
def test_a_window_of_a_group_of_models_has_the_worth_of_their_use(
    bench: LimitBench, provider: str, scope: str, model: str, other: str
) -> None:
    resets_ms = _START_MS + _WEEK_MS
    for step in range(11):
        at_ms = _START_MS + step * _HOUR_MS
        group = _reading(at_ms, step * 0.05, resets_ms, scope=scope)
        bench.book(Use(at_ms, provider=provider, model=model, nano_usd=10 * 10**9, reading=group))
        if other:
            bench.book(Use(at_ms + 1000, provider=provider, model=other, nano_usd=7 * 10**9))
        bench.clock.jump(3600)
    assert _usd(_worth(bench, scope=scope)).estimate == pytest.approx(200)


def test_use_counts_by_the_accounts_own_provider(bench: LimitBench) -> None:
    """A Kimi account that is called through ``/v1/messages`` is recorded as Claude's."""
    facts = CredentialFacts(provider="kimi", billing=Billing.SUBSCRIPTION)
    account = Account(facts=facts, identity=None, auth_index="account-1", auth_type="oauth")
    bench.ledger.take_inventory("p", [account])
    resets_ms = _START_MS + _WEEK_MS
    for step in range(11):
        at_ms = _START_MS + step * _HOUR_MS
        told = _reading(at_ms, step * 0.05, resets_ms, scope="code")
        bench.book(Use(at_ms, provider="claude", model="kimi-k2.5", nano_usd=10 * 10**9, reading=told))
        bench.clock.jump(3600)
    assert _usd(_worth(bench, scope="code")).estimate == pytest.approx(200)


@pytest.mark.parametrize(
    ("provider", "scope", "model"),
    [
        ("antigravity", "gemini-3-flash", "gemini-3-flash"),
        ("antigravity", "other", "gemini-3-flash"),
        ("gemini-cli", "other", "gemini-4-hydrogen"),
        ("a-plugin", "agents", "gemini-3-flash"),
    ],
)
def test_a_window_of_unknown_models_has_no_worth(bench: LimitBench, provider: str, scope: str, model: str) -> None:
    resets_ms = _START_MS + _WEEK_MS
    for step in range(11):
        at_ms = _START_MS + step * _HOUR_MS
        told = _reading(at_ms, step * 0.05, resets_ms, scope=scope)
        bench.book(Use(at_ms, provider=provider, model=model, nano_usd=10 * 10**9, reading=told))
        bench.clock.jump(3600)
    assert _worth(bench, scope=scope).usd is None


def test_each_account_has_its_own_worth(bench: LimitBench) -> None:
    one, two = _week(11, 0, account="one"), _week(12, 0, account="two", cut=0.5)
    _play(bench, sorted([*one, *two], key=lambda use: use.ts_ms))

    assert _usd(_worth(bench, credential="claude-one")).estimate == pytest.approx(_USD, rel=0.03)
    assert _usd(_worth(bench, credential="claude-two")).estimate == pytest.approx(_USD / 2, rel=0.03)
