"""Rows of ``rate_limit_configs`` as limits: the effect of each column, and the message for each mistake."""

from datetime import UTC, datetime
from typing import Any

import pytest

from exporter.ledger.labels import SeriesLabels
from exporter.limits.model import Limit, Thresholds, Unit
from exporter.limits.strategies import Strategy
from exporter.limits.supabase_limits import COLUMNS, anchor_of, limit_of, moment_text
from tests.benches.limits import STRATEGIES

_SEED = {
    "id": 1,
    "provider": "OpenAI",
    "tier_name": "Plus",
    "model_pattern": "gpt",
    "token_limit": 800_000,
    "request_limit": None,
    "window_minutes": 300,
    "reset_strategy": "rolling",
    "reset_anchor_timestamp": None,
}
_THRESHOLDS = Thresholds(warning=0.5, critical=0.6)
_NO_INTEGER = "Give a whole number."


def _read(**columns: Any) -> Limit | str:
    assert set(_SEED) == set(COLUMNS)
    return limit_of(_SEED | columns, zone=UTC, thresholds=_THRESHOLDS)


def _limit(**columns: Any) -> Limit:
    limit = _read(**columns)
    assert isinstance(limit, Limit), limit
    return limit


def test_a_row_is_a_limit_under_its_id() -> None:
    limit = _limit()
    assert (limit.id, limit.config_id, limit.name) == ("1", 1, "OpenAI Plus: gpt")
    assert (limit.strategy, limit.window_ms, limit.window) == (Strategy.ROLLING, 300 * 60_000, "5h")
    assert (limit.budgets, limit.thresholds) == (((Unit.TOKENS, 800_000),), _THRESHOLDS)
    assert _limit(window_minutes=300.0).window_ms == limit.window_ms, "a column that a user made by hand"


@pytest.mark.parametrize(
    ("model", "provider", "counts"),
    [("gpt-5", "openai", True), ("GPT-5", "codex", True), ("x/gpt-5", "gemini", True), ("o3", "openai", False)],
)
def test_the_pattern_alone_says_what_counts_whatever_the_provider(model: str, provider: str, counts: bool) -> None:
    usage = SeriesLabels(proxy="p", provider=provider, model=model, credential="", client="")
    assert _limit().matches(usage) is counts


@pytest.mark.parametrize(
    ("provider", "shown"), [("OpenAI", "openai"), ("Anthropic", "claude"), ("google", "gemini"), ("Qwen", "qwen")]
)
def test_a_provider_is_shown_under_our_name_for_it(provider: str, shown: str) -> None:
    assert _limit(provider=provider).shown_provider == shown


@pytest.mark.parametrize(
    ("columns", "name"),
    [({"tier_name": ""}, "OpenAI: gpt"), ({"provider": "", "tier_name": " "}, "gpt"), ({}, "OpenAI Plus: gpt")],
)
def test_the_name_is_made_of_the_filled_columns(columns: dict[str, Any], name: str) -> None:
    assert _limit(**columns).name == name


@pytest.mark.parametrize(
    ("tokens", "requests", "budgets"),
    [
        (5, 7, ((Unit.TOKENS, 5), (Unit.REQUESTS, 7))),
        (0, 7, ((Unit.REQUESTS, 7),)),
        (None, None, ()),
        (0, 0, ()),
        ("5", 7.0, ((Unit.TOKENS, 5), (Unit.REQUESTS, 7))),  # columns that users made by hand
    ],
)
def test_zero_or_nothing_means_no_budget(tokens: Any, requests: Any, budgets: Any) -> None:
    assert _limit(token_limit=tokens, request_limit=requests).budgets == budgets


@pytest.mark.parametrize("strategy", ["daily", "Weekly", "monthly"])
def test_the_calendar_ignores_window_minutes(strategy: str) -> None:
    limit = _limit(reset_strategy=strategy, window_minutes=-5)
    assert (limit.strategy, limit.window_ms) == (Strategy(strategy.lower()), None)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-24T17:30:00.25+00:00",
        "2026-11-25T00:30:00.250+07:00",
        "2026-11-24T17:30:00.250",
        "2026-11-24 17:30:00.25Z",
    ],
)
def test_an_anchor_is_read_in_every_form_and_written_back_exactly(text: str) -> None:
    moment = datetime(2026, 11, 24, 17, 30, 0, 250_000, tzinfo=UTC)
    anchor_ms = _limit(reset_anchor_timestamp=text).anchor_ms
    assert anchor_ms == round(moment.timestamp() * 1000)
    assert anchor_of({"reset_anchor_timestamp": moment_text(anchor_ms)}) == anchor_ms


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"reset_strategy": "fixed"},
            f"reset_strategy: 'fixed' is not accepted. Use {STRATEGIES}.",
        ),
        ({"reset_strategy": ""}, "reset_strategy: reset_strategy is missing. Add reset_strategy."),
        ({"model_pattern": " "}, "model_pattern: model_pattern is missing. Add model_pattern."),
        ({"model_pattern": "a\nb"}, "model_pattern: It holds a line break or control character. Remove it."),
        ({"provider": "\x1b[2J"}, "provider: It holds a line break or control character. Remove it."),
        (
            {"tier_name": "x" * 256},
            "tier_name: a text of 256 characters is not accepted. Give at most 255 characters.",
        ),
        ({"token_limit": -1}, "token_limit: '-1' is not accepted. Give 0 or more."),
        ({"request_limit": -1}, "request_limit: '-1' is not accepted. Give 0 or more."),
        ({"token_limit": 0.5}, f"token_limit: '0.5' is not accepted. {_NO_INTEGER}"),
        ({"token_limit": "many"}, f"token_limit: 'many' is not accepted. {_NO_INTEGER}"),
        ({"token_limit": float("inf")}, f"token_limit: 'inf' is not accepted. {_NO_INTEGER}"),
        ({"window_minutes": 0}, "window_minutes: '0' is not accepted. Give 1 or more."),
        ({"window_minutes": None}, "window_minutes: '0' is not accepted. Give 1 or more."),
        (
            {"window_minutes": 527_041, "reset_strategy": "session"},
            "window_minutes: '527041' is not accepted. Give 527040 or less.",
        ),
        (
            {"reset_anchor_timestamp": "infinity"},
            "reset_anchor_timestamp: 'infinity' is not a moment."
            " Write one such as 2026-11-24T18:30:00+01:00, or leave it empty for none.",
        ),
    ],
)
def test_a_mistake_is_reported_with_the_row_and_what_to_do(columns: dict[str, Any], sentence: str) -> None:
    assert _read(**columns) == f"Row 1 of rate_limit_configs is not in force: {sentence}"
