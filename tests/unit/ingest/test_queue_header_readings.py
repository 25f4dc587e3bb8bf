"""Providers' windows from the body of a pop to the board of limits: recorded answers through a real intake."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import FILE_NAME
from exporter.limits.model import LimitWindow
from exporter.limits.present import LimitRow
from exporter.metrics.limits import limit_families
from exporter.normalize.inventory import read_auth_files
from exporter.quotas.reading import MAX_WINDOWS
from tests.benches.booking import GOOD, PSEUDONYMS, intake_of, parts_of
from tests.benches.limits import LimitBench
from tests.fakes.guarding import TurnableClock
from tests.fakes.recordings import batch_bodies, body_of, secrets

_NOW = int(datetime(2026, 11, 24, 15, 27, 25, tzinfo=UTC).timestamp())
_FIVE, _SEVEN = 1_795_536_000_000, 1_795_651_200_000
"""The ends of the recorded windows: 16:00 the same day, and a day and a third later."""
_CLAUDE = "Anthropic-Ratelimit-Unified-"


class _Bench(LimitBench):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(folder, clock=TurnableClock(_NOW))

    def take(self, *records: Mapping[str, Any]) -> None:
        self.take_body(json.dumps(records).encode())

    def take_body(self, body: bytes) -> None:
        intake_of(self.ledger, clock=self.clock).take(body)

    def used(self, credential: str = "") -> dict[tuple[str, str, str], float]:
        """The used shares, by credential, window and scope."""
        return {
            (window.credential, window.window, window.scope): window.used_ratio
            for window in self.windows()
            if credential in ("", window.credential)
        }

    def early_resets(self) -> dict[str, int]:
        self.windows()
        return {labels[-1]: number for labels, number in self.board.current.early_resets.items()}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    bench = _Bench(tmp_path)
    yield bench
    bench.ledger.close()


def _record(bench: LimitBench, *, account: str = "0123456789abcdef", **headers: str) -> dict[str, Any]:
    """A request that has just been answered, with Claude's headers: ``u5h="0.5", r5h="17955…"``."""
    moment = datetime.fromtimestamp(bench.clock.now(), UTC)
    names = {"u": "Utilization", "r": "Reset", "s": "Status"}
    told = {f"{_CLAUDE}{name[1:]}-{names[name[0]]}": [value] for name, value in headers.items()}
    told["Date"] = [moment.strftime("%a, %d %b %Y %H:%M:%S GMT")]
    return GOOD | {
        "timestamp": moment.isoformat(),
        "auth_index": account,
        "request_id": f"{bench.clock.now()}",
        "response_headers": told,
    }


def _one(windows: list[LimitWindow]) -> LimitWindow:
    (window,) = windows
    return window


# --- recorded ---------------------------------------------------------------------------------------------------------


def test_stale_headers_are_read_for_the_account_that_they_came_from_and_for_no_other(bench: _Bench) -> None:
    bench.take_body(body_of("v7.2.140/usage-queue/stale-headers.json"))
    assert bench.used() == {
        ("claude-df46", "5h", ""): 1.0,
        ("claude-df46", "7d", ""): 0.0505,
        ("codex-61c0", "5h", ""): 1.0,
        ("codex-61c0", "7d", ""): 0.05,
        ("codex-61c0", "5h", "gpt-5.3-codex-spark"): 0.0,
    }


def test_a_window_has_its_span_its_kind_and_the_moment_of_the_answer(bench: _Bench) -> None:
    bench.take_body(body_of("v7.2.140/usage-queue/stale-headers.json"))
    window = next(each for each in bench.windows() if (each.provider, each.window) == ("claude", "5h"))
    assert (window.proxy, window.limit, window.kind, window.unit) == ("p", "5h", "provider", "share")
    assert (window.start_ms, window.reset_ms) == (_FIVE - 18_000_000, _FIVE)
    assert window.observed_ms == (_NOW - 6) * 1000
    assert (window.used, window.budget) == (None, None)


def test_only_windows_of_the_recorded_headers_reach_the_disk(bench: _Bench) -> None:
    for batch in ("stale-headers", "claude-oauth", "codex-oauth", "failures-by-status", "retries-and-failover"):
        for body in batch_bodies("v7.2.140", batch):
            bench.take_body(body)
    assert bench.used()
    bench.restart()
    planted = [*secrets(), "req_000000b8", "0a11ce00-0000-4000-8000-00000000beef", "__cf_bm"]
    for file in bench.folder.iterdir():
        content = file.read_bytes()
        assert [secret for secret in planted if secret.encode() in content] == [], file.name


def test_a_batch_that_waits_to_be_booked_holds_only_headers_with_windows(bench: _Bench, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def die(_: set[str]) -> bool:
        raise KilledError

    body = body_of("v7.2.140/usage-queue/stale-headers.json")
    with pytest.raises(KilledError):
        QueueIngest("p", parts_of(bench.ledger, clock=bench.clock), die).take(body)
    (stored,) = bench.ledger.pending("p")
    kept = b"\n".join(stored.lines).lower()
    assert b"unified-5h-utilization" in kept
    for gone in (b"organization", b"set-cookie", b"request-id", b"overage", b"retry-after"):
        assert gone not in kept
    bench.restart()
    intake_of(bench.ledger, clock=bench.clock).work_off()
    assert {key[0] for key in bench.used()} == {"claude-df46", "codex-61c0"}
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        assert connection.execute("select count(*) from batch").fetchone() == (0,)


# --- until its reset --------------------------------------------------------------------------------------------------


def test_a_reading_survives_a_restart_until_its_reset_and_is_then_absent(bench: _Bench) -> None:
    bench.take(_record(bench, u5h="0.5", r5h=str(_FIVE // 1000), u7d="0.2", r7d=str(_SEVEN // 1000)))
    bench.restart()
    assert bench.used() == {("claude-0123", "5h", ""): 0.5, ("claude-0123", "7d", ""): 0.2}
    bench.clock.jump(_FIVE / 1000 - _NOW - 1)
    assert ("claude-0123", "5h", "") in bench.used()
    bench.clock.jump(1)
    assert bench.used() == {("claude-0123", "7d", ""): 0.2}, "absent, not 0"
    bench.restart()
    assert bench.used() == {("claude-0123", "7d", ""): 0.2}
    bench.take(_record(bench, u5h="0.01", r5h=str(_FIVE // 1000 + 18_000)))
    assert bench.used()[("claude-0123", "5h", "")] == 0.01
    assert bench.early_resets() == {"5h": 0, "7d": 0}, "the ordinary reset"


def test_a_window_that_is_not_mentioned_is_kept(bench: _Bench) -> None:
    bench.take(_record(bench, u5h="0.5", r5h=str(_FIVE // 1000), u7d_opus="0.7", r7d_opus=str(_SEVEN // 1000)))
    bench.clock.advance(60)
    bench.take(_record(bench, u5h="0.6", r5h=str(_FIVE // 1000)))
    assert bench.used() == {("claude-0123", "5h", ""): 0.6, ("claude-0123", "7d", "opus"): 0.7}


@pytest.mark.parametrize("status", [500, 502, 401, 404, 408, 0])
def test_an_error_changes_nothing(bench: _Bench, status: int) -> None:
    bench.take(_record(bench, u5h="0.5", r5h=str(_FIVE // 1000)))
    bench.clock.advance(60)
    failed = _record(bench, u5h="0.01", r5h=str(_FIVE // 1000)) | {"failed": True, "fail": {"status_code": status}}
    bench.take(failed, failed | {"response_headers": None, "request_id": "other"})
    assert bench.used() == {("claude-0123", "5h", ""): 0.5}


def test_a_response_that_two_accounts_show_is_read_for_the_first_one_only(bench: _Bench) -> None:
    """A proxy may record an attempt that died before an answer with the answer to the attempt before it."""
    refused = _record(bench, u5h="1.0", r5h=str(_FIVE // 1000)) | {"failed": True, "fail": {"status_code": 429}}
    bench.take(refused, refused | {"auth_index": "f" * 16, "request_id": "other"})
    assert bench.used() == {("claude-0123", "5h", ""): 1.0}


@pytest.mark.parametrize(
    "headers",
    [
        {"u5h": "nan", "r5h": "1795536000"},
        {"u5h": "-1", "r5h": "1795536000"},
        {"u5h": "", "r5h": "1795536000"},
        {"u5h": "0.9"},
        {"r5h": "1795536000", "s5h": "allowed"},
        {"u99999h": "0.9", "r99999h": "1795536000"},
    ],
)
def test_headers_that_cannot_be_read_are_not_zero(bench: _Bench, headers: dict[str, str]) -> None:
    bench.take(_record(bench, **headers))
    assert bench.used() == {}


def test_shares_above_1_and_resets_in_milliseconds_are_understood(bench: _Bench) -> None:
    bench.take(_record(bench, u5h="1.13", r5h=str(_FIVE)))
    window = _one(bench.windows())
    assert (window.used_ratio, window.reset_ms) == (1.13, _FIVE)


def test_an_early_reset_is_counted_and_the_count_survives_a_restart(bench: _Bench) -> None:
    bench.take(_record(bench, u5h="0.9", r5h=str(_FIVE // 1000)))
    bench.clock.advance(60)
    bench.take(_record(bench, u5h="0.1", r5h=str(_FIVE // 1000)))
    assert (bench.used(), bench.early_resets()) == ({("claude-0123", "5h", ""): 0.1}, {"5h": 0})
    bench.restart()
    bench.clock.advance(60)
    bench.take(_record(bench, u5h="0.2", r5h=str(_FIVE // 1000)))
    assert bench.early_resets() == {"5h": 1}, "it stayed low, and the fall was remembered over the restart"
    bench.restart()
    bench.clock.advance(60)
    bench.take(_record(bench, u5h="0.3", r5h=str(_FIVE // 1000)))
    assert bench.early_resets() == {"5h": 1}


@pytest.mark.parametrize(
    ("shares", "counted"),
    [
        ((0.97, 0.7, 0.97, 0.7, 0.97), 0),
        ((0.97, 0.7, 0.97, 0.7, 0.7), 1),
        ((0.97, 0.0, 0.5), 1),
        ((0.97, 0.7, 0.4, 0.4), 2),
        ((0.97, 0.7), 0),
        ((0.97, 0.7, 0.965), 0),
    ],
    ids=["it swings", "it settles", "used further", "given back twice", "once is not enough", "rounded"],
)
def test_an_early_reset_counts_when_the_lower_share_stays(
    bench: _Bench, shares: tuple[float, ...], counted: int
) -> None:
    for share in shares:
        bench.take(_record(bench, u7d=str(share), r7d=str(_SEVEN // 1000 + (86_400 if share < 0.9 else 0))))
        bench.restart()
        bench.clock.advance(20)
    assert bench.early_resets() == {"7d": counted}


@pytest.mark.parametrize("minutes", [20, 40], ids=["before the announced reset", "after it"])
def test_a_window_that_was_emptied_early_and_begun_anew_was_reset_early(bench: _Bench, minutes: int) -> None:
    """While nothing of it is used, its reset moves with the clock."""
    bench.take(_record(bench, u5h="0.9", r5h=str(_FIVE // 1000)))
    bench.clock.advance(60)
    emptied_at = int(bench.clock.now())
    bench.take(_record(bench, u5h="0", r5h=str(emptied_at + 18_000)))
    bench.clock.advance(60 * minutes)
    began_at = int(bench.clock.now()) if minutes == 20 else emptied_at
    bench.take(_record(bench, u5h="0.02", r5h=str(began_at + 18_000)))
    assert bench.early_resets() == {"5h": 1}


def test_the_same_answer_again_does_not_confirm_a_fall(bench: _Bench) -> None:
    bench.take(_record(bench, u5h="0.9", r5h=str(_FIVE // 1000)))
    bench.clock.advance(60)
    low = _record(bench, u5h="0.1", r5h=str(_FIVE // 1000))
    bench.take(low, low | {"request_id": "the image tool's"})
    assert bench.early_resets() == {"5h": 0}


def test_a_fall_that_only_the_next_window_confirms_is_the_ordinary_reset(bench: _Bench) -> None:
    bench.take(_record(bench, u5h="0.9", r5h=str(_FIVE // 1000)))
    bench.clock.advance(60)
    bench.take(_record(bench, u5h="0.7", r5h=str(_FIVE // 1000)))
    bench.clock.jump(_FIVE / 1000 - bench.clock.now() + 60)
    bench.take(_record(bench, u5h="0.1", r5h=str(_FIVE // 1000 + 18_000)))
    assert bench.early_resets() == {"5h": 0}


# --- windows without an end -------------------------------------------------------------------------------------------


def test_a_reading_made_after_its_own_reset_stays_until_a_newer_one(bench: _Bench) -> None:
    reset = str(_NOW - 3600)
    bench.take(_record(bench, u7d="0.98", r7d=reset))
    bench.clock.advance(3)
    bench.take(_record(bench, u7d="1", r7d=reset))
    bench.restart()
    bench.clock.advance(3 * 86_400)
    window = _one(bench.windows())
    assert (window.used_ratio, window.start_ms, window.reset_ms) == (1.0, None, None)
    assert (window.pace(bench.now_ms), window.exhausted_ms(bench.now_ms)) == (None, None)
    row = LimitRow(window, bench.now_ms)
    assert (row.resets, row.exhausted, row.window.level) == ("reset unknown", "used up", "critical")
    bench.take(_record(bench, u7d="1", r7d=reset))
    assert _one(bench.windows()).observed_ms == bench.now_ms, "days after its reset"
    bench.clock.advance(60)
    ends = int(bench.clock.now()) + 500_000
    bench.take(_record(bench, u7d="0.02", r7d=str(ends)))
    window = _one(bench.windows())
    assert (window.used_ratio, window.reset_ms) == (0.02, ends * 1000)
    assert bench.early_resets() == {"7d": 0}


def test_readings_after_a_reset_continue_where_the_ones_before_it_ended(bench: _Bench) -> None:
    reset = str(_NOW + 60)
    bench.take(_record(bench, u5h="0.98", r5h=reset))
    bench.clock.advance(60)
    assert bench.used() == {}
    bench.take(_record(bench, u5h="1", r5h=reset))
    assert bench.used() == {("claude-0123", "5h", ""): 1.0}
    bench.clock.advance(60)
    bench.take(_record(bench, u5h="0.5"))
    assert bench.used() == {("claude-0123", "5h", ""): 0.5}, "a newer one, although it has no reset at all"


def test_a_window_that_has_not_started_is_shown_without_a_reset(bench: _Bench) -> None:
    for _ in range(3):
        bench.take(_record(bench, u5h="0", r5h=str(int(bench.clock.now()) + 18_000)))
        bench.restart()
        bench.clock.advance(7 * 3600)
    window = _one(bench.windows())
    assert (window.used_ratio, window.start_ms, window.reset_ms) == (0.0, None, None)
    row = LimitRow(window, bench.now_ms)
    assert (row.resets, row.pace, row.exhausted, row.window.level) == ("not started", "\N{EN DASH}", "\N{EN DASH}", "")
    bench.take(_record(bench, u5h="0.01", r5h=str(int(bench.clock.now()) + 18_000)))
    assert _one(bench.windows()).reset_ms == (int(bench.clock.now()) + 18_000) * 1000
    assert bench.early_resets() == {"5h": 0}


def test_a_rejection_without_a_share_is_full_and_stays_so_over_a_restart(bench: _Bench) -> None:
    bench.take(_record(bench, s5h="rejected", r5h=str(_FIVE // 1000)))
    bench.restart()
    window = _one(bench.windows())
    assert (window.used_ratio, window.reset_ms, window.inferred) == (1.0, _FIVE, True)
    samples = {family.name: family.samples for family in limit_families(bench.board)}
    (sample,) = samples["cliproxy_limit_inferred"]
    assert (sample.value, sample.labels) == (1, samples["cliproxy_limit_used_ratio"][0].labels)
    bench.clock.advance(60)
    bench.take(_record(bench, u5h="0.4", r5h=str(_FIVE // 1000)))
    assert not _one(bench.windows()).inferred
    assert not {family.name: family.samples for family in limit_families(bench.board)}["cliproxy_limit_inferred"]


def test_a_refused_codex_account_is_full_until_one_of_its_windows_is_read(bench: _Bench) -> None:
    def codex(**headers: str) -> dict[str, Any]:
        told = {f"X-Codex-{name.replace('_', '-')}": [value] for name, value in headers.items()}
        record = _record(bench) | {"provider": "codex", "model": "gpt-5.5", "executor_type": "CodexExecutor"}
        return record | {"response_headers": record["response_headers"] | told}

    bench.take(codex(Allowed="false"))
    bench.clock.advance(86_400)
    bench.restart()
    window = _one(bench.windows())
    assert (window.window, window.used_ratio, window.inferred) == ("account", 1.0, True)
    ends = str(int(bench.clock.now()) + 3600)
    bench.take(codex(Primary_Used_Percent="3", Primary_Window_Minutes="300", Primary_Reset_At=ends))
    window = _one(bench.windows())
    assert (window.window, window.used_ratio) == ("5h", 0.03)


def test_a_late_record_does_not_turn_a_window_back(bench: _Bench) -> None:
    early = _record(bench, u5h="0.2", r5h=str(_FIVE // 1000))
    bench.clock.advance(120)
    bench.take(_record(bench, u5h="0.4", r5h=str(_FIVE // 1000)))
    bench.take(early)
    assert (bench.used(), bench.early_resets()) == ({("claude-0123", "5h", ""): 0.4}, {"5h": 0})


def test_an_answer_that_ends_last_in_a_poll_does_not_hide_one_that_began_later(bench: _Bench) -> None:
    long_stream = _record(bench, u5h="0.2", r5h=str(_FIVE // 1000))
    bench.clock.advance(10)
    short = _record(bench, u5h="0.4", r5h=str(_FIVE // 1000))
    bench.clock.advance(10)
    bench.take(short, long_stream)
    assert bench.used() == {("claude-0123", "5h", ""): 0.4}


def test_the_last_of_several_answers_of_one_second_counts(bench: _Bench) -> None:
    answers = [_record(bench, u5h=used, r5h=str(_FIVE // 1000)) for used in ("0.2", "0.4", "0.3")]
    bench.take(*answers)
    assert bench.used() == {("claude-0123", "5h", ""): 0.3}
    for answer in answers:
        del answer["response_headers"]["Date"]
    bench.clock.advance(60)
    bench.take(
        *(answer | {"timestamp": datetime.fromtimestamp(bench.clock.now(), UTC).isoformat()} for answer in answers)
    )
    assert bench.used() == {("claude-0123", "5h", ""): 0.3}


@pytest.mark.parametrize(
    ("ttft_ms", "latency_ms", "after_ms"),
    [(900, 4000, 900), (0, 4000, 4000), (0, 0, 0)],
    ids=["the first token", "the end", "the start"],
)
def test_an_undated_answer_is_dated_by_its_record(bench: _Bench, ttft_ms: int, latency_ms: int, after_ms: int) -> None:
    answer = _record(bench, u5h="0.2", r5h=str(_FIVE // 1000)) | {"ttft_ms": ttft_ms, "latency_ms": latency_ms}
    del answer["response_headers"]["Date"]
    started_ms = bench.now_ms
    bench.clock.advance(60)
    bench.take(answer)
    assert _one(bench.windows()).observed_ms == started_ms + after_ms


# --- credentials ------------------------------------------------------------------------------------------------------


def _inventory(bench: _Bench, *files: Mapping[str, Any]) -> None:
    body = json.dumps({"files": files}).encode()
    read = read_auth_files(body, PSEUDONYMS.of, received_ms=bench.now_ms)
    assert not read.unread
    bench.ledger.take_inventory("p", read.accounts)


def test_two_credentials_that_turn_out_to_be_one_have_one_series_of_each_window(bench: _Bench) -> None:
    _inventory(bench, {"name": "a.json", "provider": "claude", "auth_index": "aaaaaaaaaaaaaaaa"})
    bench.take(_record(bench, account="aaaaaaaaaaaaaaaa", u5h="0.9", r5h=str(_FIVE // 1000)))
    bench.clock.advance(60)
    bench.take(_record(bench, account="aaaaaaaaaaaaaaaa", u5h="0.3", r5h=str(_FIVE // 1000)))
    bench.clock.advance(60)
    bench.take(_record(bench, account="aaaaaaaaaaaaaaaa", u5h="0.4", r5h=str(_FIVE // 1000)))
    # The proxy was upgraded: the account has another index, and records with it arrive before the inventory is read.
    bench.clock.advance(60)
    bench.take(_record(bench, account="bbbbbbbbbbbbbbbb", u5h="0.5", r5h=str(_FIVE // 1000)))
    assert len(bench.windows()) == 2
    _inventory(bench, {"name": "a.json", "provider": "claude", "auth_index": "bbbbbbbbbbbbbbbb"})
    assert _one(bench.windows()).used_ratio == 0.5, "the newer one"
    assert bench.early_resets() == {"5h": 1}
    bench.clock.advance(60)
    bench.take(_record(bench, account="bbbbbbbbbbbbbbbb", u5h="0.6", r5h=str(_FIVE // 1000)))
    assert _one(bench.windows()).used_ratio == 0.6
    bench.restart()
    assert _one(bench.windows()).used_ratio == 0.6


def test_a_flood_of_scopes_is_bounded_and_makes_room_when_windows_have_ended(bench: _Bench) -> None:
    def flood(prefix: str, ends: int) -> None:
        letters = [f"{prefix}{chr(97 + number // 26)}{chr(97 + number % 26)}" for number in range(40)]
        for scope in letters:
            bench.take(_record(bench, **{f"u7d_{scope}": "0.5", f"r7d_{scope}": str(ends)}))

    flood("x", _FIVE // 1000)
    assert len(bench.windows()) == MAX_WINDOWS
    bench.restart()
    flood("y", _SEVEN // 1000)
    assert {scope[0] for _, _, scope in bench.used()} == {"x"}, "what runs is not pushed out"
    bench.clock.jump(_FIVE / 1000 - _NOW)
    assert bench.windows() == []
    flood("z", _SEVEN // 1000)
    assert len(bench.windows()) == MAX_WINDOWS
    bench.restart()
    assert {scope[0] for _, _, scope in bench.used()} == {"z"}


def test_windows_of_one_account_take_no_room_from_another(bench: _Bench) -> None:
    for number in range(40):
        scope = f"s{chr(97 + number // 26)}{chr(97 + number % 26)}"
        bench.take(_record(bench, **{f"u7d_{scope}": "0.5", f"r7d_{scope}": str(_SEVEN // 1000)}))
    bench.take(_record(bench, account="fedcba9876543210", u5h="0.5", r5h=str(_FIVE // 1000)))
    assert bench.used("claude-fedc") == {("claude-fedc", "5h", ""): 0.5}


# --- signals in auth-files --------------------------------------------------------------------------------------------


def test_signals_of_auth_files_are_read_as_headers_are(bench: _Bench) -> None:
    observed = datetime.fromtimestamp(_NOW - 60, UTC).isoformat()
    signals = {f"{_CLAUDE}5h-Utilization": "0.4", f"{_CLAUDE}5h-Reset": str(_FIVE // 1000)}
    opus = {f"{_CLAUDE}7d_opus-Utilization": "0.8", f"{_CLAUDE}7d_opus-Reset": str(_SEVEN // 1000)}
    file = {
        "name": "a.json",
        "provider": "claude",
        "auth_index": "aaaaaaaaaaaaaaaa",
        "quota": {"observed_at": observed, "signals": signals | {"Set-Cookie": "planted-cookie-5513"}},
        "model_quotas": {"claude-opus-4-6": {"observed_at": observed, "signals": opus}},
    }
    _inventory(bench, file)
    (credential,) = {key[0] for key in bench.used()}
    assert bench.used() == {(credential, "5h", ""): 0.4, (credential, "7d", "opus"): 0.8}
    before = bench.windows()
    bench.clock.advance(30)
    _inventory(bench, file)
    assert bench.windows() == before, "the same signals at the next poll are no news"
    bench.clock.advance(30)
    bench.take(_record(bench, account="aaaaaaaaaaaaaaaa", u5h="0.5", r5h=str(_FIVE // 1000)))
    _inventory(bench, file)
    assert bench.used()[(credential, "5h", "")] == 0.5, "what is newer holds, whichever came last"
    assert b"planted-cookie" not in (bench.folder / FILE_NAME).read_bytes()


def test_one_answer_read_from_signals_and_from_a_record_does_not_confirm_a_fall(bench: _Bench) -> None:
    bench.take(_record(bench, u5h="0.9", r5h=str(_FIVE // 1000)))
    bench.clock.advance(60)
    seen = {
        "observed_at": datetime.fromtimestamp(bench.clock.now(), UTC).isoformat(),
        "signals": {f"{_CLAUDE}5h-Utilization": "0.1", f"{_CLAUDE}5h-Reset": str(_FIVE // 1000)},
    }
    _inventory(bench, {"name": "a.json", "provider": "claude", "auth_index": "0123456789abcdef", "quota": seen})
    bench.clock.advance(5)
    bench.take(_record(bench, u5h="0.1", r5h=str(_FIVE // 1000)))
    assert bench.early_resets() == {"5h": 0}
    bench.clock.advance(60)
    bench.take(_record(bench, u5h="0.1", r5h=str(_FIVE // 1000)))
    assert bench.early_resets() == {"5h": 1}


@pytest.mark.parametrize(
    "quota", [None, [], "x", 5, {"signals": None}, {"signals": []}, {"observed_at": {}, "signals": {}}]
)
def test_odd_signals_change_nothing_and_the_inventory_is_still_read(bench: _Bench, quota: object) -> None:
    _inventory(
        bench,
        {
            "name": "a.json",
            "provider": "claude",
            "auth_index": "aaaaaaaaaaaaaaaa",
            "quota": quota,
            "model_quotas": quota,
        },
    )
    assert bench.windows() == []
    assert bench.ledger.name_store.is_listed("p", "aaaaaaaaaaaaaaaa")
