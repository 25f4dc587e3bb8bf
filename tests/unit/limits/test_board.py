"""The board of limits over a real ledger: windows through resets, restarts, pruning and aliases."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr

from exporter.errors import LedgerError
from exporter.ledger.name_store import Series
from exporter.limits.model import Unit
from exporter.limits.supabase_limits import SupabaseLimits
from exporter.normalize.inventory import Account
from exporter.quotas.reading import Reading
from exporter.records import Billing, CredentialFacts
from exporter.settings.proxies import Aliases, ClientAlias
from tests.benches.limits import LimitBench, Use
from tests.fakes.guarding import TurnableClock

_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000
_NOON_MS = int(datetime(2026, 11, 25, 12, 0, tzinfo=UTC).timestamp()) * 1000  # a Wednesday
_LIMITS = """\
    limits:
    - {id: day, tokens: 1000, strategy: daily}
    - {id: week, tokens: 1000, strategy: weekly}
    - {id: month, tokens: 1000, strategy: monthly}
    - {id: rolling, tokens: 1000, strategy: rolling, window_minutes: 300}
    - {id: session, tokens: 1000, strategy: session, window_minutes: 300}
    - {id: client, tokens: 1000, usd: 1, strategy: daily, per: client}
    - {id: account, tokens: 1000, strategy: session, window_minutes: 300, per: credential}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LimitBench]:
    bench = LimitBench(tmp_path, _LIMITS, clock=TurnableClock(_NOON_MS / 1000))
    yield bench
    bench.ledger.close()


def _prune(bench: LimitBench, before_ms: int) -> None:
    bench.ledger.retention.prune(entries_before_ms=before_ms, rejected_before_ms=0, stopping=lambda: False)


def _session(bench: LimitBench) -> tuple[int | None, int | None, float | None]:
    window = bench.window("session")
    return window.start_ms, window.reset_ms, window.used


_ROW = {
    "id": 7, "provider": "Anthropic", "tier_name": "", "model_pattern": "gpt", "token_limit": 5, "request_limit": None,
    "window_minutes": 200 * 1440, "reset_strategy": "rolling", "reset_anchor_timestamp": None,
}  # fmt: skip


def _add_row(bench: LimitBench) -> None:
    """Keep one more limit in Supabase."""
    bench.ledger.limits.take_configs([_ROW], settled={})
    bench.board.stored = SupabaseLimits(bench.ledger.limits, zone=UTC)
    bench.board.refresh()


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_opens_with_a_request_and_ends_after_its_length(bench: LimitBench) -> None:
    assert _session(bench) == (None, None, 0)
    opened_ms = bench.now_ms - _MINUTE_MS
    bench.book(Use(opened_ms), Use(opened_ms + 7))
    assert _session(bench) == (opened_ms, opened_ms + 5 * _HOUR_MS, 220)
    bench.clock.jump(5 * 3600 - 61)
    assert _session(bench) == (opened_ms, opened_ms + 5 * _HOUR_MS, 220)
    bench.clock.jump(1)
    assert _session(bench) == (None, None, 0), "over, and nobody has opened the next one"


def test_a_request_at_the_very_end_opens_the_next_session(bench: LimitBench) -> None:
    opened_ms = bench.now_ms
    bench.book(Use(opened_ms), Use(opened_ms + 5 * _HOUR_MS))
    bench.clock.jump(5 * 3600)
    assert _session(bench) == (opened_ms + 5 * _HOUR_MS, opened_ms + 10 * _HOUR_MS, 110)


def test_records_that_are_not_requests_open_no_session_but_their_tokens_count(bench: LimitBench) -> None:
    bench.book(Use(bench.now_ms - 1000, counted=False))
    assert _session(bench) == (None, None, 0)
    bench.book(Use(bench.now_ms - 2000))
    assert _session(bench)[2] == 220


def test_a_late_record_moves_the_start_no_further_than_the_end_of_the_last_session(bench: LimitBench) -> None:
    first_ms = bench.now_ms
    bench.book(Use(first_ms))
    assert _session(bench)[0] == first_ms
    bench.clock.jump(6 * 3600)
    bench.book(Use(bench.now_ms))
    assert _session(bench)[0] == first_ms + 6 * _HOUR_MS
    bench.book(Use(first_ms + 5 * _HOUR_MS - 1))
    assert _session(bench)[0] == first_ms + 6 * _HOUR_MS, "it belongs to the session that has ended"
    bench.book(Use(first_ms + 5 * _HOUR_MS))
    assert _session(bench)[0] == first_ms + 5 * _HOUR_MS
    bench.restart()
    bench.book(Use(first_ms - _DAY_MS))
    assert _session(bench)[0] == first_ms + 5 * _HOUR_MS, "an older one still opens nothing after a restart"


def test_a_late_record_can_end_the_session_that_it_moves(bench: LimitBench) -> None:
    bench.book(Use(bench.now_ms))
    assert _session(bench)[0] == bench.now_ms
    bench.book(Use(bench.now_ms - 4 * _HOUR_MS))
    bench.clock.jump(3600)
    bench.book(Use(bench.now_ms))
    opened_ms = bench.now_ms
    assert _session(bench) == (opened_ms, opened_ms + 5 * _HOUR_MS, 110)


@pytest.mark.parametrize("ahead_seconds", [5 * 3600, 40 * 86_400], ids=["hours", "days"])
@pytest.mark.parametrize("is_used", [False, True], ids=["unused", "used"])
def test_a_clock_that_was_ahead_for_a_while_ends_no_session(
    ahead_seconds: int, is_used: bool, bench: LimitBench
) -> None:
    bench.book(Use(bench.now_ms))
    opened = _session(bench)
    bench.clock.jump(ahead_seconds)
    if is_used:
        bench.book(Use(bench.now_ms))
    bench.windows()
    bench.clock.jump(5 * 3600)
    assert _session(bench) == (None, None, 0)

    bench.clock.jump(-ahead_seconds - 5 * 3600 + 600)
    assert _session(bench) == opened
    assert opened[0] == _NOON_MS
    bench.clock.jump(-1200)
    assert bench.window("session").start_ms is None, "it begins in ten minutes"
    bench.clock.jump(1200)
    bench.restart()
    assert _session(bench) == opened


@pytest.mark.parametrize(
    ("source", "hours", "unasked", "is_shown"),
    [
        pytest.param("active", 5, {"p"}, False, id="a window that has not started, which nobody asks about any more"),
        pytest.param("active", 5, {"q"}, True, id="the same of a proxy whose accounts are asked about"),
        pytest.param("active", 1, {"p"}, True, id="one that has started and will end"),
        pytest.param("header", 5, {"p"}, True, id="one that the next request renews"),
    ],
)
def test_a_window_that_only_a_question_could_renew_is_hidden_while_nobody_asks(
    tmp_path: Path, source: str, hours: int, unasked: set[str], is_shown: bool
) -> None:
    bench = LimitBench(tmp_path)
    resets_ms = bench.now_ms + hours * _HOUR_MS
    bench.book(Use(bench.now_ms, reading=Reading("5h", "", 5 * 3600, 0.0, resets_ms, "", bench.now_ms, False, source)))
    bench.ledger.quotas.unasked = unasked
    assert bool(bench.windows("5h")) is is_shown
    bench.ledger.quotas.unasked = ()
    assert bench.windows("5h")


def test_a_reading_from_a_clock_that_was_ahead_gives_way_to_a_newer_one(bench: LimitBench) -> None:
    def read(used_ratio: float) -> list[float]:
        reading = Reading("5h", "", 5 * 3600, used_ratio, _NOON_MS + _HOUR_MS, "", bench.now_ms, False, "header")
        bench.book(Use(bench.now_ms, reading=reading))
        return [window.used_ratio for window in bench.windows("5h")]

    assert read(0.2) == [0.2]
    bench.clock.jump(8 * 3600)
    assert read(0.3) == [0.3]
    bench.clock.jump(-8 * 3600 + 60)
    assert read(0.4) == [0.4]
    bench.restart()
    assert [window.used_ratio for window in bench.windows("5h")] == [0.4]
    bench.clock.jump(-120)
    assert read(0.35) == [0.4], "two minutes make no difference: providers' clocks are not ours"


def test_each_credential_has_its_own_session(bench: LimitBench) -> None:
    bench.book(Use(bench.now_ms - 2 * _HOUR_MS, account="one"), Use(bench.now_ms - _HOUR_MS, account="two"))
    starts = {window.credential: window.start_ms for window in bench.windows("account")}
    assert starts == {"claude-one": bench.now_ms - 2 * _HOUR_MS, "claude-two": bench.now_ms - _HOUR_MS}


# --- pruning ----------------------------------------------------------------------------------------------------------


def test_calendar_windows_are_exact_after_their_entries_were_pruned(bench: LimitBench) -> None:
    bench.book(*(Use(_NOON_MS - hours * _HOUR_MS + 12_345) for hours in range(1, 24 * 24)))
    before = {id_: bench.window(id_).used for id_ in ("day", "week", "month")}
    assert before == {"day": 12 * 110, "week": 60 * 110, "month": (24 * 24 - 1) * 110}
    _prune(bench, _NOON_MS)
    bench.restart()
    assert {id_: bench.window(id_).used for id_ in before} == before


def test_an_open_session_keeps_its_start_when_its_entries_are_pruned(bench: LimitBench) -> None:
    opened_ms = _NOON_MS - 2 * _HOUR_MS + 12_345
    bench.book(Use(opened_ms), Use(_NOON_MS - 1000))
    assert _session(bench)[0] == opened_ms
    _prune(bench, _NOON_MS - _HOUR_MS)
    bench.restart()
    start_ms, reset_ms, _ = _session(bench)
    assert (start_ms, reset_ms) == (opened_ms, opened_ms + 5 * _HOUR_MS)


def test_an_ended_session_is_not_reopened_by_what_pruning_left(bench: LimitBench) -> None:
    bench.book(Use(_NOON_MS - 4 * _HOUR_MS + 12_345))
    _session(bench)
    bench.clock.jump(2 * 3600)
    _prune(bench, bench.now_ms)
    assert _session(bench) == (None, None, 0)
    bench.restart()
    assert _session(bench) == (None, None, 0)


def test_the_session_of_a_new_limit_is_known_to_the_quarter_hour_after_pruning(bench: LimitBench) -> None:
    bench.book(Use(_NOON_MS - 2 * _HOUR_MS + 12_345))
    _prune(bench, _NOON_MS)
    assert _session(bench) == (_NOON_MS - 2 * _HOUR_MS, _NOON_MS + 3 * _HOUR_MS, 110)


# --- manual resets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["day", "week", "month", "rolling", "session"])
def test_a_reset_starts_the_window_now_and_survives_a_restart(bench: LimitBench, limit: str) -> None:
    bench.book(Use(_NOON_MS - 1000))
    before = bench.window(limit)
    assert before.used == 110
    bench.board.reset(limit)
    (window,) = [each for each in bench.board.current.windows if each.limit == limit]
    assert (window.used, window.used_ratio, window.start_ms) == (0, 0, _NOON_MS)
    assert window.reset_ms == before.reset_ms, "its end does not move"
    bench.restart()
    bench.book(Use(_NOON_MS - 1), Use(_NOON_MS))
    assert bench.window(limit).used == 110, "from that moment on"


def test_a_reset_ends_with_its_window(bench: LimitBench) -> None:
    bench.board.reset("day")
    bench.clock.jump(86_400)
    assert bench.window("day").start_ms == _NOON_MS + 12 * _HOUR_MS


def test_a_reset_of_one_limit_does_not_reset_another(bench: LimitBench) -> None:
    bench.book(Use(_NOON_MS - 1000))
    bench.board.reset("day")
    assert (bench.window("day").used, bench.window("week").used) == (0, 110)


def test_a_reset_of_a_limit_per_client_resets_all_clients(bench: LimitBench) -> None:
    bench.book(Use(_NOON_MS - 1000, client="ann"), Use(_NOON_MS - 1000, client="bob"))
    bench.board.reset("client")
    windows = [window for window in bench.board.current.windows if window.limit == "client"]
    assert {(window.scope, window.unit): window.used for window in windows} == {
        (client, unit): 0 for client in ("client-ann", "client-bob") for unit in (Unit.TOKENS, Unit.USD)
    }


def test_a_limit_per_client_that_nobody_has_used_is_known_and_can_be_reset(bench: LimitBench) -> None:
    assert bench.board.reset("client") is not None
    assert bench.board.reset("no-such-limit") is None


def test_a_reset_that_cannot_be_stored_is_an_error_and_changes_nothing(bench: LimitBench) -> None:
    bench.book(Use(_NOON_MS - 1000))
    before = bench.windows()
    bench.ledger.close()
    with pytest.raises(LedgerError):
        bench.board.reset("day")
    assert list(bench.board.current.windows) == before
    bench.restart()
    assert bench.window("day").used == 110


def test_a_reset_that_is_planned_holds_once_its_time_has_come(tmp_path: Path) -> None:
    limit = "{id: day, tokens: 1000, strategy: daily, reset_anchor_timestamp: 2026-11-25T13:00:00Z}"
    bench = LimitBench(tmp_path, f"limits: [{limit}]", clock=TurnableClock(_NOON_MS / 1000))
    bench.book(Use(_NOON_MS - 1000))
    assert (bench.window("day").start_ms, bench.window("day").used) == (_NOON_MS - 12 * _HOUR_MS, 110)
    bench.clock.jump(3600)
    assert (bench.window("day").start_ms, bench.window("day").used) == (_NOON_MS + _HOUR_MS, 0)
    bench.ledger.close()


# --- limits of two origins --------------------------------------------------------------------------------------------


def test_of_two_limits_with_one_id_the_files_is_in_force_and_a_problem_says_so(tmp_path: Path) -> None:
    bench = LimitBench(tmp_path, "limits: [{id: '7', tokens: 1000, strategy: daily}]")
    assert bench.board.problems == []
    _add_row(bench)
    assert bench.window("7").budget == 1000
    (problem,) = bench.board.problems
    assert problem.startswith("The limits file and the table rate_limit_configs both have a limit 7; the file's is in")
    bench.ledger.close()


def test_the_thresholds_of_the_file_hold_for_limits_in_supabase(tmp_path: Path) -> None:
    bench = LimitBench(tmp_path, "defaults: {warning: 0.5}")
    _add_row(bench)
    assert bench.window("7").thresholds.warning == 0.5
    bench.edit("defaults: {warning: 0.25}")
    assert bench.window("7").thresholds.warning == 0.25
    bench.ledger.close()


# --- how long entries stay --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "longest_ms"),
    [
        ("{id: a, tokens: 1, strategy: daily}", 25 * _HOUR_MS),
        ("{id: a, tokens: 1, strategy: monthly}", 31 * _DAY_MS + _HOUR_MS),
        ("{id: a, tokens: 1, strategy: session, window_minutes: 61}", 61 * _MINUTE_MS),
        (
            "{id: a, tokens: 1, strategy: weekly}, {id: b, tokens: 1, strategy: rolling, window_minutes: 144000},"
            " {id: c, tokens: 1, strategy: daily}",
            100 * _DAY_MS,
        ),
    ],
    ids=["a day of 25 hours", "a month with such a day", "a session", "the longest of three"],
)
def test_entries_stay_as_long_as_the_longest_window_of_a_limit(tmp_path: Path, limits: str, longest_ms: int) -> None:
    night = datetime(2026, 10, 25, 12, tzinfo=UTC).timestamp()  # in Berlin, clocks have been set back
    bench = LimitBench(tmp_path, f"limits: [{limits}]", clock=TurnableClock(night), zone=ZoneInfo("Europe/Berlin"))
    assert bench.board.longest_window_ms == longest_ms
    _add_row(bench)
    assert bench.board.longest_window_ms == 200 * _DAY_MS, "that of a limit in Supabase"
    bench.ledger.close()


def test_without_a_limit_no_entry_has_to_stay(tmp_path: Path) -> None:
    bench = LimitBench(tmp_path)
    assert bench.board.longest_window_ms == 0
    bench.ledger.close()


# --- labels -----------------------------------------------------------------------------------------------------------


def test_an_alias_renames_a_window_and_keeps_its_session(bench: LimitBench) -> None:
    bench.book(Use(_NOON_MS - 2000, client="ann"))
    assert [window.scope for window in bench.windows("client")] == ["client-ann"] * 2
    bench.aliases = Aliases(clients=(ClientAlias(key=SecretStr("ann"), alias="Ann"),))
    bench.restart()
    assert [(window.scope, window.used) for window in bench.windows("client")] == [("Ann", 110), ("Ann", 0.001)]


def test_a_limit_has_the_labels_that_it_names(tmp_path: Path) -> None:
    own = "provider: CODEX, proxy: 'p*', credential: 'codex-*'"
    limits = f"{{id: all, tokens: 5, strategy: daily}}, {{id: own, tokens: 5, strategy: daily, {own}}}"
    bench = LimitBench(tmp_path, f"limits: [{limits}]", clock=TurnableClock(_NOON_MS / 1000))
    _add_row(bench)
    bench.book(Use(_NOON_MS - 1, provider="codex", model="gpt-5"), Use(_NOON_MS - 1, provider="openai", model="gpt-5"))
    # One in Supabase names a provider for people. Its pattern alone decides what counts.
    shown = {each.limit: (each.provider, each.proxy, each.credential, each.used) for each in bench.windows()}
    assert shown == {
        "all": ("", "", "", 220),
        "own": ("codex", "p*", "codex-*", 110),
        "7": ("claude", "", "", 220),
    }
    bench.ledger.close()


def test_a_limit_per_credential_has_the_label_of_the_accounts_own_provider(bench: LimitBench) -> None:
    """A Kimi account that is called through ``/v1/messages`` is recorded as Claude's."""
    bench.book(Use(_NOON_MS - 1, account="one"))
    assert [window.provider for window in bench.windows("account")] == ["claude"], "no inventory has named it yet"
    facts = CredentialFacts(provider="kimi", billing=Billing.SUBSCRIPTION)
    bench.ledger.take_inventory("p", [Account(facts=facts, identity=None, auth_index="one", auth_type="oauth")])
    (window,) = bench.windows("account")
    assert (window.provider, window.used) == ("kimi", 110)


def test_two_clients_under_one_name_show_the_one_that_runs_out_first(bench: LimitBench) -> None:
    bench.aliases = Aliases(clients=(ClientAlias(key=SecretStr("ann"), alias="client-bob"),))
    bench.restart()
    bench.book(Use(_NOON_MS - 1, client="ann"), Use(_NOON_MS - 1, client="bob"), Use(_NOON_MS - 2, client="bob"))
    windows = bench.windows()
    assert len({window.labels for window in windows}) == len(windows)
    assert [window.used for window in windows if (window.limit, window.unit) == ("client", "tokens")] == [220]


def test_use_that_is_folded_counts_under_its_own_names_and_no_others(tmp_path: Path) -> None:
    limits = "".join(
        f"- {{id: {per}, tokens: 1000, strategy: daily, per: {per}}}\n" for per in ("client", "model", "credential")
    )
    bench = LimitBench(tmp_path, f"limits:\n{limits}", clock=TurnableClock(_NOON_MS / 1000), max_label_sets=1)
    for name in ("alice", "bob"):
        bench.book(Use(bench.now_ms, client=name, model=f"model-{name}", account=f"account-{name}"))

    assert [len(bench.windows(per)) for per in ("client", "model", "credential")] == [2, 2, 2]
    assert {window.used for window in bench.windows()} == {110}
    bench.ledger.close()


def test_only_those_nearest_to_exhaustion_of_very_many_clients_are_shown(bench: LimitBench) -> None:
    bench.book(*(Use(_NOON_MS - 1, client=f"c{number}", nano_usd=number) for number in range(300)))
    bench.book(Use(_NOON_MS - 1, client="c7"))
    windows = bench.windows("client")
    assert len(windows) == 2 * 200
    assert windows[0].scope == "client-c7"


def test_limits_nearest_to_exhaustion_come_first(bench: LimitBench) -> None:
    bench.book(Use(_NOON_MS - 6 * _HOUR_MS), Use(_NOON_MS - 1000))
    bench.windows()
    ratios = [window.used_ratio for window in bench.board.current.nearest_first()]
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] > ratios[-1]


@pytest.mark.parametrize(
    "gone", [Series(99, 1, 1, 99), Series(1, 99, 1, 99), Series(1, 1, 99, 99)], ids=["route", "credential", "client"]
)
def test_a_label_set_that_a_full_disk_takes_back_meanwhile_is_passed_over(bench: LimitBench, gone: Series) -> None:
    """A rollback loads routes, credentials and clients before the label sets that had been added with them."""
    told = Reading("5h", "", 5 * 3600, 0.5, bench.now_ms + _HOUR_MS, "", bench.now_ms, False, "header")
    bench.book(Use(bench.now_ms - 1000, reading=told))
    bench.clock.jump(600)
    before = {window.labels: window.used_ratio for window in bench.windows()}
    bench.restart()
    bench.ledger.name_store.series = {99: gone, **bench.ledger.name_store.series}

    assert {window.labels: window.used_ratio for window in bench.windows()} == before
    assert [key.provider for key in bench.board.current.worth] == ["claude"]
