"""Providers' windows from response headers: what recorded answers and auth-files give, and for which moment."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from exporter.normalize.redact import takes_windows
from exporter.quotas.headers import allowed_headers, read_headers
from exporter.quotas.reading import Reading
from tests.benches.headers import (
    DATE,
    DAY_MS,
    NOW,
    NOW_MS,
    SPARK,
    claude,
    codex,
    meta,
    named,
    read_one,
    signalled,
    signals,
)
from tests.fakes.recordings import ROOT, batch_bodies, batches, recorded

# --- recorded answers -------------------------------------------------------------------------------------------------


def _main(used_5h: float, used_7d: float) -> list[tuple[str, str, float]]:
    return [("5h", "", used_5h), ("7d", "", used_7d)]


def _with_spark(used_5h: float, used_7d: float) -> list[tuple[str, str, float]]:
    return [*_main(used_5h, used_7d), ("5h", SPARK, 0)]


def _with_opus(used_5h: float, used_7d: float, opus: float) -> list[tuple[str, str, float]]:
    return [*_main(used_5h, used_7d), ("7d", "opus", opus)]


# For each file, the records that give windows, by their place in the body. All others give none.
_RECORDED: dict[str, dict[int, list[tuple[str, str, float]]]] = {
    "claude-oauth": {
        0: _main(0.1001, 0.05),
        1: _main(0.1001, 0.0501),
        2: _main(0.1002, 0.0501),
        3: _with_opus(0.1001, 0.05, 0.0333),
        4: _with_opus(0.1001, 0.0501, 0.0334),
        5: _with_opus(0.1002, 0.0501, 0.0334),
    },
    "codex-oauth": dict.fromkeys(range(6), _with_spark(0.1, 0.05)),
    # A broken stream is a failure without a status of the upstream; three were answered to the end.
    "broken-streams": {6: _main(0.1008, 0.0504), 7: _with_spark(0.101, 0.05), 12: _with_spark(0.101, 0.05)},
    # 403 and 429; the 400, 401, 500 and 529 have headers too, but the proxy may have made up their status.
    "failures-by-status": {
        11: _main(0.1003, 0.0502),
        12: _main(0.1004, 0.0502),
        13: _with_spark(0.1, 0.05),
        14: _with_spark(0.1, 0.05),
        23: _main(1.0, 0.0502),
        24: _main(1.0, 0.0502),
        25: _with_spark(1.0, 0.05),
        26: _with_spark(1.0, 0.05),
    },
    "retries-and-failover": {2: _with_spark(1.0, 0.05), 3: _with_spark(0.1, 0.05), 6: _main(0.1007, 0.0504)},
    # The second account of each pair died without an answer and shows the first one's headers.
    "stale-headers": {0: _main(1.0, 0.0505), 2: _with_spark(1.0, 0.05)},
    "cooldown": {0: _main(1.0, 0.0501)},
    "oddities": {
        0: _with_spark(0.101, 0.051),
        1: _main(0.1011, 0.0505),
        2: _main(0.1011, 0.0506),
        3: _with_spark(0.101, 0.051),
        4: _with_spark(0.101, 0.051),
        5: _with_spark(0.101, 0.051),
        6: _with_spark(0.101, 0.051),  # the image tool's second record has the same response, so the same windows
    },
    "antigravity-oauth": {},
    "claude-apikey": {},
    "codex-apikey": {},
    "cooldown-refused": {},
    "gemini-apikey": {},
    "kimi-oauth": {},  # recorded as claude, without claude's headers
    "open-proxy": {},
    "openai-compat": {},
    "vertex-apikey": {},
    "xai": {},
}
_RESETS_MS = {"5h": 1_795_536_000_000, "7d": 1_795_651_200_000}


def _of_record(record: dict[str, Any]) -> list[Reading]:
    if not takes_windows(record["failed"], record["fail"]["status_code"]):
        return []
    started_ms = int(datetime.fromisoformat(record["timestamp"]).timestamp() * 1000)
    return read_headers(
        allowed_headers(record.get("response_headers") or {}),
        provider=record["provider"],
        model=record["model"],
        answered_ms=started_ms + (record.get("ttft_ms") or record["latency_ms"]),
        received_ms=started_ms + 5_000,
    )


def test_the_windows_of_every_batch_with_a_truth_file_are_written_down() -> None:
    assert {batch for batch in batches("v7.2.140") if batch != "seeded"} <= set(_RECORDED)


@pytest.mark.parametrize("batch", list(_RECORDED))
def test_a_recorded_batch_gives_the_windows_in_its_headers(batch: str) -> None:
    records = recorded(f"v7.2.140/usage-queue/{batch}.json")["body"]
    readings = {place: _of_record(record) for place, record in enumerate(records)}

    assert {place: named(found) for place, found in readings.items() if found} == _RECORDED[batch]
    for found in readings.values():
        for reading in found:
            assert reading.resets_ms == _RESETS_MS[reading.window]
            assert (reading.inferred, reading.source) == (False, "header")


def test_seeded_traffic_gives_windows_for_accounts_of_two_providers_and_opus_only_for_opus() -> None:
    truth = recorded("v7.2.140/usage-queue/seeded.truth.json")
    accounts = {
        served["auth_index"]: served["credential"].partition("-")[0]
        for served in truth["served"]
        if served["kind"] == "oauth" and served["credential"].startswith(("claude-", "codex-"))
    }
    seen = 0
    for body in batch_bodies("v7.2.140", "seeded"):
        for record in json.loads(body):
            found = {(reading.window, reading.scope) for reading in _of_record(record)}
            account = accounts.get(record["auth_index"])
            expected: set[tuple[str, str]] = set()
            if account is not None and not record["failed"]:
                expected = {("5h", ""), ("7d", "")}
                if account == "codex":
                    expected.add(("5h", SPARK))
                if "opus" in record["model"]:
                    expected.add(("7d", "opus"))
                seen += 1
            assert found == expected
    assert seen > 30


def test_the_status_of_a_full_window_is_kept() -> None:
    record = recorded("v7.2.140/usage-queue/stale-headers.json")["body"][0]

    assert [(reading.window, reading.status) for reading in _of_record(record)] == [
        ("5h", "rejected"),
        ("7d", "allowed"),
    ]


@pytest.mark.parametrize("version", ["v7.1.0", "v8-constructed"])
def test_other_versions_give_windows_only_if_they_send_headers(version: str) -> None:
    path = (
        "v8-constructed/usage-queue.json" if version == "v8-constructed" else f"{version}/usage-queue/claude-oauth.json"
    )
    found = [len(_of_record(record)) for record in recorded(path)["body"]]

    assert found == ([0] * 6 if version == "v7.1.0" else [2, 2, 2, 3, 3])


def test_recorded_auth_files_have_no_signals_and_give_no_windows() -> None:
    entries = 0
    for path in sorted(ROOT.glob("*/auth-files-*.json")):
        for entry in recorded(str(path.relative_to(ROOT)))["body"]["files"]:
            entries += 1
            assert signalled(entry, received_ms=1_795_534_000_000) == []
    assert entries > 0


# --- the moment of a reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("date", "times", "observed_ms"),
    [
        (DATE, {}, NOW_MS),
        ("", {"answered_ms": NOW_MS - 4100}, NOW_MS - 4100),
        ("yesterday", {"answered_ms": NOW_MS - 4100}, NOW_MS - 4100),
        ("Thu, 20 Aug 2026 10:00:06 GMT", {}, NOW_MS),
        ("Thu, 20 Aug 2026 10:00:07 GMT", {}, NOW_MS - DAY_MS + 2000),
        ("Fri, 21 Aug 2026 10:05:07 GMT", {}, NOW_MS + 302_000),
        ("Fri, 21 Aug 2026 10:05:08 GMT", {}, NOW_MS),
        ("", {"answered_ms": NOW_MS + 40_000_000}, NOW_MS + 2000),
    ],
    ids=[
        "the Date header",
        "the proxy's clock",
        "a Date that is none",
        "more than a day behind",
        "a day behind",
        "five minutes ahead",
        "more than five minutes ahead: it would shut out all readings until then",
        "a proxy whose clock is ahead of ours",
    ],
)
def test_a_reading_has_the_moment_of_the_answer(date: str, times: dict[str, int], observed_ms: int) -> None:
    headers = codex(reset_at=None, reset_after_seconds="60") | {"Date": date}
    reading = read_one(headers, provider="codex", model="gpt-5.4", **times)

    assert reading.observed_ms == observed_ms
    assert reading.resets_ms == observed_ms + 60_000


# --- signals of auth-files --------------------------------------------------------------------------------------------


def test_signals_of_an_account_and_its_models_give_the_newest_of_each_window() -> None:
    entry = {
        "provider": "claude",
        "quota": signals(claude("7d", utilization="0.30") | claude("5h"), "2026-08-21T09:50:00+00:00"),
        "model_quotas": {
            "claude-opus-4-6": signals(claude("7d", utilization="0.31") | claude("7d_opus")),
            "claude-sonnet-4-5": signals(claude("7d", utilization="0.29"), "2026-08-21T09:40:00Z"),
        },
    }
    found = signalled(entry, received_ms=NOW_MS + 60_000)

    assert named(found) == [("5h", "", 0.21), ("7d", "", 0.31), ("7d", "opus", 0.21)]
    assert [reading.observed_ms for reading in found] == [NOW_MS - 605_000, NOW_MS, NOW_MS]
    assert {reading.source for reading in found} == {"auth_files"}


def test_newer_signals_count_even_if_less_is_used() -> None:
    """The week has begun anew since the other model answered."""
    entry = {
        "provider": "claude",
        "quota": signals(claude("7d", utilization="0.90"), "2026-08-21T09:50:00Z"),
        "model_quotas": {"claude-opus-4-6": signals(claude("7d", utilization="0.02"))},
    }

    assert named(signalled(entry)) == [("7d", "", 0.02)]


def test_signals_of_codex_are_scoped_by_their_model() -> None:
    entry = {
        "type": "codex",
        "quota": signals(codex(used_percent="1")),
        "model_quotas": {"gpt-5.4": signals(codex()), SPARK: signals(codex(used_percent="0"))},
    }

    assert named(signalled(entry)) == [("5h", "", 0.125), ("5h", SPARK, 0.0)]


def test_an_idle_accounts_signals_may_be_days_old() -> None:
    headers = claude("7d", reset=str(NOW + 5 * 86_400))
    del headers["Date"]
    entry = {"provider": "claude", "quota": signals(headers)}

    (reading,) = signalled(entry, received_ms=NOW_MS + 4 * DAY_MS)
    assert reading.observed_ms == NOW_MS


@pytest.mark.parametrize("observed_at", [None, "", "never", "2027-01-01T00:00:00Z", "2025-01-01T00:00:00Z", 5, ["x"]])
def test_signals_without_a_moment_use_the_date_or_are_left_out(observed_at: Any) -> None:
    headers = claude()
    with_date = signalled({"provider": "claude", "quota": signals(headers, observed_at)})
    del headers["Date"]
    without = signalled({"provider": "claude", "quota": signals(headers, observed_at)})

    assert [reading.observed_ms for reading in with_date] == [NOW_MS]
    assert without == []


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"provider": "claude", "quota": None, "model_quotas": None},
        {"provider": "claude", "quota": [], "model_quotas": [1]},
        {"provider": "claude", "quota": {"signals": [1], "observed_at": "2026-08-21T10:00:05Z"}},
        {"provider": "claude", "quota": {"exceeded": True, "next_recover_at": "2026-08-21T11:00:05Z"}},
        {"provider": "claude", "model_quotas": {"m": None, "n": {"signals": None}}},
        {"provider": "kimi", "quota": {"signals": {"Date": DATE}, "observed_at": "2026-08-21T10:00:05Z"}},
    ],
)
def test_an_entry_without_signals_gives_nothing(entry: dict[str, Any]) -> None:
    assert signalled(entry) == []


def test_signals_of_meta_are_read_as_its_headers_are() -> None:
    entry = {"type": "meta", "quota": signals(meta(), datetime.fromtimestamp(NOW, UTC).isoformat())}

    assert named(signalled(entry)) == [("5h", "", 1.045), ("7d", "", 0.31)]
