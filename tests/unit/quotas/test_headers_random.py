"""Whatever a header or an auth-file holds, the windows read from it are sane."""

import math
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.normalize.redact import response_identity
from exporter.quotas.headers import MAX_HEADERS, allowed_headers, read_headers
from exporter.quotas.reading import MAX_WINDOWS, Reading
from exporter.quotas.values import scope_named
from tests.benches.headers import DATE, DAY_MS, NOW, NOW_MS, SPARK, claude, codex, meta, signalled

_TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["nan", "1e309", "-1", "1.13", "0", "300", str(NOW), str(NOW_MS), DATE, "9999-12-31T23:59:59Z"]),
    st.sampled_from(["0001-01-01T00:00:00+14:00", "rejected", "seven_day_opus", "GPT-5.3-Codex-Spark", "2026-W34-5"]),
    st.floats().map(str),
    st.integers().map(str),
)
_NAMES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(sorted({*claude(), *claude("7d_opus"), *codex(), *codex("Wombat-Secondary")})),
    st.sampled_from(["X-Codex-Wombat-Limit-Name", "X-Codex-Primary-Reset-After-Seconds", "Request-Id", "date"]),
    st.sampled_from(["Anthropic-Ratelimit-Unified-Reset", "Anthropic-Ratelimit-Unified-Representative-Claim"]),
    st.sampled_from([*meta(), "X-Codex-Allowed", "X-Base-Model-Inference-Primary-Window-Minutes"]),
)
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=8,
)


def _is_sane(reading: Reading) -> bool:
    return (
        math.isfinite(reading.used_ratio)
        and 0 <= reading.used_ratio <= 1000
        and (reading.window_seconds is None or 0 < reading.window_seconds <= 366 * 86_400)
        and (reading.resets_ms is None or abs(reading.resets_ms - reading.observed_ms) <= 62 * DAY_MS)
        and reading.status in ("", "allowed", "warning", "rejected")
        and scope_named(reading.scope) == reading.scope
    )


@given(
    st.dictionaries(_NAMES, _ANYTHING, max_size=12),
    st.sampled_from(["claude", "codex", "meta", "other"]),
    st.one_of(st.sampled_from(["gpt-5.4", SPARK, ""]), st.text(max_size=30)),
    st.integers(min_value=-(10**15), max_value=10**15),
)
def test_whatever_a_record_holds_the_windows_are_sane(
    headers: dict[str, Any], provider: str, model: str, answered_ms: int
) -> None:
    allowed = allowed_headers(headers)
    assert len(allowed) <= MAX_HEADERS
    assert all(isinstance(value, str) and value.isascii() and value.isprintable() for value in allowed.values())
    assert isinstance(response_identity(headers), str)
    for given_headers in (allowed, headers):
        found = read_headers(
            given_headers,
            provider=provider,
            model=model,
            answered_ms=answered_ms,
            received_ms=NOW_MS,
        )
        assert len(found) <= MAX_WINDOWS
        assert len({(reading.window, reading.scope) for reading in found}) == len(found)
        assert all(_is_sane(reading) for reading in found)


@given(
    st.fixed_dictionaries(
        {"provider": st.sampled_from(["claude", "codex"])},
        optional={"quota": _ANYTHING, "model_quotas": st.dictionaries(_NAMES, _ANYTHING, max_size=3) | _ANYTHING},
    ),
    st.dictionaries(_NAMES, _TEXTS, max_size=8),
)
def test_whatever_an_entry_holds_the_windows_are_sane(entry: dict[str, Any], signals: dict[str, str]) -> None:
    observed = datetime.fromtimestamp(NOW, UTC).isoformat()
    for given_entry in (entry, entry | {"quota": {"signals": signals, "observed_at": observed}}):
        assert all(_is_sane(reading) for reading in signalled(given_entry))
