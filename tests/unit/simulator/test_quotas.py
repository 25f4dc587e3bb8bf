"""The demo accounts' windows: even growth to a reset, and one truth in headers and in the vendors' pages."""

import json
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from exporter.quotas.headers import allowed_headers, read_headers
from exporter.quotas.reading import Reading
from exporter.simulator.quotas import (
    FIVE_HOURS,
    SEVEN_DAYS,
    claude_headers,
    codex_headers,
    is_exhausted,
    reading,
    vendor_answer,
)
from exporter.simulator.wire import Event, wire_record
from exporter.simulator.world import CLIENTS, CREDENTIALS, SHOWN, TROUBLED, Credential
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.traffic import Traffic

RECORDINGS = Path(__file__).parents[2] / "fixtures" / "cpa" / "v7.2.140" / "api-call"
START = float(int(1795503600 // FIVE_HOURS) * FIVE_HOURS)
BY_NAME = {credential.name: credential for credential in CREDENTIALS}


@pytest.mark.parametrize(
    ("passed", "ratio"), [(0.0, 0.0), (FIVE_HOURS / 4, 0.2125), (FIVE_HOURS / 2, 0.425), (FIVE_HOURS, 0.0)]
)
def test_a_window_fills_evenly_and_starts_over(passed: float, ratio: float) -> None:
    alice = BY_NAME["claude-alice"]  # fills her 5-hour window to 0.85

    assert reading(alice, FIVE_HOURS, START + passed).used_ratio == pytest.approx(ratio)


def test_a_reset_is_the_end_of_the_running_window() -> None:
    alice = BY_NAME["claude-alice"]

    assert reading(alice, FIVE_HOURS, START + 1).resets_at == START + FIVE_HOURS
    assert reading(alice, SEVEN_DAYS, START + 1).resets_at % SEVEN_DAYS == 0


@pytest.mark.parametrize(
    ("name", "passed", "full"),
    [
        ("claude-bob", 0.88, False),  # 0.88 * 1.12 = 0.99
        ("claude-bob", 0.90, True),  # 0.90 * 1.12 = 1.01
        ("claude-alice", 0.99, False),
        ("claude-key", 0.99, False),
    ],
)
def test_an_account_above_its_ceiling_is_exhausted(name: str, passed: float, full: bool) -> None:
    assert is_exhausted(BY_NAME[name], START + passed * FIVE_HOURS) is full


# --- accounts in trouble ----------------------------------------------------------------------------------------------

_DAY = 86_400
_IN_TROUBLE = {credential.trouble: credential for credential in TROUBLED}


@pytest.mark.parametrize("days", range(8))
def test_an_exhausted_account_is_exhausted_every_day(days: int) -> None:
    emil = _IN_TROUBLE["exhausted"]
    status, body = vendor_answer(emil, "https://api.kimi.com/coding/v1/usages", START + days * _DAY) or (0, "")

    assert (status, json.loads(body)["usage"]["remaining"]) == (200, "0")


def test_a_limit_that_shrinks_holds_a_third_less_on_every_second_day() -> None:
    noons = [START // _DAY * _DAY + (day + 0.5) * _DAY for day in range(4)]
    begun = [noon // FIVE_HOURS * FIVE_HOURS for noon in noons]
    used = [reading(_IN_TROUBLE["shrinks"], FIVE_HOURS, at + 3600).used_ratio for at in begun]

    assert [round(max(pair) / min(pair), 3) for pair in pairwise(used)] == [1.5, 1.5, 1.5]


@pytest.mark.parametrize("passed", [0.0, 0.5, 0.99])
def test_an_account_that_cools_too_long_waits_for_hours_after_its_window_was_reset(passed: float) -> None:
    at = START + passed * FIVE_HOURS
    ivan = _IN_TROUBLE["cools too long"]
    proxy = SteeredProxy(accounts=(ivan,), clock=TurnableClock(now=at), zone=UTC)
    (entry,) = proxy.auth_files()
    waits = datetime.fromisoformat(entry["next_retry_after"]).timestamp()

    assert (entry["status"], entry["unavailable"]) == ("error", True)
    assert waits - at > 2 * 3600
    assert waits - (reading(ivan, FIVE_HOURS, at).resets_at - FIVE_HOURS) > 2 * 3600


def test_clients_avoid_accounts_in_trouble_but_a_steady_job_does_not() -> None:
    traffic = Traffic(seed=1, zone=UTC)
    traffic.credentials = SHOWN
    called = {attempt.credential for attempt in traffic.batch(3000, ending=START)}
    steady = traffic.steady(since=START, until=START + 3600)

    assert called.isdisjoint(each.name for each in TROUBLED)
    assert {attempt.credential for attempt in steady} == {_IN_TROUBLE["shrinks"].name}
    assert {after.ended - before.ended for before, after in pairwise(steady)} == {180}
    assert len({attempt.tokens for attempt in steady}) == 1


def test_headers_name_the_window_that_decides() -> None:
    headers = claude_headers(BY_NAME["claude-bob"], START + 0.95 * FIVE_HOURS)

    assert headers["Anthropic-Ratelimit-Unified-Status"] == "rejected"
    assert headers["Anthropic-Ratelimit-Unified-Representative-Claim"] == "five_hour"
    assert headers["Anthropic-Ratelimit-Unified-Reset"] == headers["Anthropic-Ratelimit-Unified-5h-Reset"]
    assert float(headers["Anthropic-Ratelimit-Unified-5h-Utilization"]) > 1


@pytest.mark.parametrize(
    ("model", "windows"),
    [
        ("claude-opus-4-6", [("5h", ""), ("7d", ""), ("7d", "opus")]),
        ("claude-sonnet-4-5-20250929", [("5h", ""), ("7d", "")]),
    ],
)
def test_claude_reports_the_week_of_opus_only_when_opus_answers(model: str, windows: list[tuple[str, str]]) -> None:
    found = _read("claude-alice", model)

    assert [(each.window, each.scope) for each in found] == windows
    assert {each.resets_ms for each in found if each.window == "7d"} == {
        reading(BY_NAME["claude-alice"], SEVEN_DAYS, START).resets_at * 1000
    }


def test_codex_reports_the_main_windows_and_that_of_spark() -> None:
    found = _read("codex-carol", "gpt-5.4")

    assert [(each.window, each.scope) for each in found] == [("5h", ""), ("7d", ""), ("5h", "gpt-5.3-codex-spark")]
    assert len({each.used_ratio for each in found}) == 3


@pytest.mark.parametrize("name", ["claude-key", "kimi-frank", "xai-grace", "gemini-key"])
def test_other_accounts_send_no_windows(name: str) -> None:
    assert _read(name, BY_NAME[name].models[0].name) == []


def test_the_page_and_the_headers_agree_about_opus() -> None:
    alice = BY_NAME["claude-alice"]
    answer = vendor_answer(alice, "https://api.anthropic.com/api/oauth/usage", START + 600)
    assert answer is not None
    shown = json.loads(answer[1])["seven_day_opus"]["utilization"]

    (opus,) = [each for each in _read("claude-alice", "claude-opus-4-6") if each.scope]
    assert opus.used_ratio == pytest.approx(shown / 100, abs=0.001)


def _read(name: str, model: str) -> list[Reading]:
    """The exporter's readings from the record of an answer of ``model``, ten minutes after the start."""
    credential = BY_NAME[name]
    event = Event(
        client=CLIENTS[0],
        credential=credential,
        model=model,
        alias=model,
        started=START + 600,
        latency_ms=3000,
        request_id="r1",
        ttft_ms=500,
    )
    record = wire_record(event, UTC)
    found = read_headers(
        allowed_headers(record["response_headers"]),
        provider=record["provider"],
        model=model,
        answered_ms=0,  # so that a missing Date shows
        received_ms=int(START + 605) * 1000,
    )
    assert all(each.observed_ms == int(START + 600) * 1000 for each in found)
    return found


def test_codex_windows_have_absolute_and_relative_resets() -> None:
    at = START + 1000
    headers = codex_headers(BY_NAME["codex-carol"], at)

    assert int(headers["X-Codex-Primary-Reset-At"]) - int(headers["X-Codex-Primary-Reset-After-Seconds"]) == at
    assert headers["X-Codex-Plan-Type"] == "plus"


@pytest.mark.parametrize(
    ("name", "recording"),
    [
        ("claude-alice", "claude-usage"),
        ("codex-dave", "codex-usage"),
        ("kimi-frank", "kimi-usages"),
        ("antigravity-erin", "antigravity-quota-daily-cloudcode-pa"),
        ("xai-grace", "xai-billing-week"),
    ],
)
def test_a_vendor_page_holds_only_known_fields(name: str, recording: str) -> None:
    recorded = json.loads((RECORDINGS / f"{recording}.json").read_text())
    credential: Credential = BY_NAME[name]
    answer = vendor_answer(credential, recorded["request"]["body"]["url"], START + 600)
    assert answer is not None
    status, text = answer

    pattern = json.loads(recorded["body"]["body"])
    if "seven_day_opus" in pattern:
        pattern["seven_day_opus"] = pattern["seven_day_sonnet"]  # null in the recording; the weeks are alike
        # Newer than the recording.
        pattern["seven_day_breakdown"] = {"rows": [{"key": "", "display_name": "", "percent": 0}]}

    assert status == 200
    assert _paths(json.loads(text)) <= _paths(pattern)


def test_another_account_gets_no_page() -> None:
    url = "https://api.anthropic.com/api/oauth/usage"

    for credential in (None, BY_NAME["codex-carol"], BY_NAME["claude-key"]):
        answer = vendor_answer(credential, url, START)
        assert answer is not None
        assert answer[0] == 401
    assert vendor_answer(BY_NAME["claude-alice"], "https://elsewhere.example/", START) is None


def _paths(value: Any, above: str = "") -> set[str]:
    """All field paths of a JSON value; list elements share one."""
    if isinstance(value, dict):
        return {
            path for name, inner in value.items() for path in {f"{above}.{name}"} | _paths(inner, f"{above}.{name}")
        }
    return {path for inner in value for path in _paths(inner, above)} if isinstance(value, list) else set()
