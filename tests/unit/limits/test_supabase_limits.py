"""Rows of ``rate_limit_configs`` as limits: the effect of each column, and the message for each mistake."""

from datetime import UTC, datetime
from typing import Any

import pytest

from exporter.ledger.labels import SeriesLabels
from exporter.limits.model import Limit, Thresholds, Unit
from exporter.limits.strategies import Strategy
from exporter.limits.supabase_limits import COLUMNS, anchor_of, limit_of, moment_text

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
            "'fixed' is not a reset_strategy. Use one of: daily, weekly, monthly, rolling, session.",
        ),
        ({"reset_strategy": ""}, "'' is not a reset_strategy. Use one of: daily, weekly, monthly, rolling, session."),
        ({"model_pattern": " "}, "it has no model_pattern. Write a part of the models' names, or % for all models."),
        ({"model_pattern": "a\nb"}, "model_pattern holds a line break or control character. Remove it."),
        ({"provider": "\x1b[2J"}, "provider holds a line break or control character. Remove it."),
        ({"tier_name": "x" * 256}, "tier_name is longer than 255 characters. Shorten it."),
        ({"token_limit": -1}, "its token_limit is below 0. Write a budget above 0, or leave it empty for none."),
        ({"request_limit": -1}, "its request_limit is below 0. Write a budget above 0, or leave it empty for none."),
        ({"token_limit": 0.5}, "'0.5' is not a valid token_limit. Write a whole number."),
        ({"token_limit": "many"}, "'many' is not a valid token_limit. Write a whole number."),
        ({"token_limit": float("inf")}, "'inf' is not a valid token_limit. Write a whole number."),
        ({"window_minutes": 0}, "a rolling limit needs window_minutes from 1 to 527040 (366 days), not 0."),
        ({"window_minutes": None}, "a rolling limit needs window_minutes from 1 to 527040 (366 days), not 0."),
        (
            {"window_minutes": 527_041, "reset_strategy": "session"},
            "a session limit needs window_minutes from 1 to 527040 (366 days), not 527041.",
        ),
        (
            {"reset_anchor_timestamp": "infinity"},
            "'infinity' is not a reset_anchor_timestamp. Write a moment, or leave it empty for none.",
        ),
    ],
)
def test_a_mistake_is_reported_with_the_row_and_what_to_do(columns: dict[str, Any], sentence: str) -> None:
    assert _read(**columns) == f"Row 1 of rate_limit_configs is not in force: {sentence}"
