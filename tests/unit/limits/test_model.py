"""Which usage counts against a limit."""

from dataclasses import replace
from datetime import UTC
from typing import Any

import pytest

from exporter.ledger.labels import SeriesLabels
from exporter.limits.model import Limit, Unit
from exporter.limits.strategies import Strategy

_USAGE = SeriesLabels(
    proxy="office",
    provider="claude",
    model="claude-opus-4-6[1m]",
    credential="claude-max-ab12",
    client="alice",
)
_IN_HISTORY = "claude-ab12cd34ef"


_LIMIT = Limit(id="a", name="a", strategy=Strategy.DAILY, zone=UTC, budgets=((Unit.TOKENS, 1),))


def _matches(usage: SeriesLabels = _USAGE, **match: Any) -> bool:
    return replace(_LIMIT, **match).matches(usage, _IN_HISTORY)


def _with_model(model: str) -> SeriesLabels:
    return SeriesLabels(proxy="office", provider="claude", model=model, credential="c", client="alice")


def test_a_limit_that_names_nothing_counts_everything() -> None:
    assert _matches()


@pytest.mark.parametrize(
    ("field", "pattern", "counts"),
    [
        ("provider", "claude", True),
        ("provider", "CLAUDE", True),
        ("provider", "claud", False),
        ("provider", "clau*", False),
        ("proxy", "office", True),
        ("proxy", "off*", True),
        ("proxy", "Office", False),
        ("credential", "claude-max-ab12", True),
        ("credential", "claude-ab12cd34ef", True),
        ("credential", "claude-ab12*", False),
        ("credential", "claude-*", True),
        ("credential", "codex-*", False),
        ("client", "alice", True),
        ("client", "al?ce", True),
        ("client", "[a-b]lice", True),
        ("client", "Alice", False),
        ("client", "lic", False),
    ],
)
def test_names_are_exact_or_globs(field: str, pattern: str, counts: bool) -> None:
    named: dict[str, Any] = {field: pattern}
    assert _matches(**named) is counts


@pytest.mark.parametrize(
    ("models", "counts"),
    [
        (("claude-opus-4-6[1m]",), True),  # a glob would need a 1 or an m here
        (("CLAUDE-OPUS-4-6[1M]",), True),
        (("claude-opus-4-6",), False),
        (("claude-opus-*",), True),
        (("Claude-Opus-*",), True),
        (("claude-sonnet-*", "*opus*"), True),
        (("claude-sonnet-*", "haiku"), False),
        (("claude-opus-4-6[[]1m]",), True),
    ],
)
def test_a_model_is_one_of_several_names_or_globs_in_any_case(models: tuple[str, ...], counts: bool) -> None:
    assert _matches(models=models) is counts


def test_a_name_with_brackets_is_a_glob_unless_it_is_an_exact_name() -> None:
    assert _matches(_with_model("model-1"), models=("model-[12]",))
    assert not _matches(_with_model("model-3"), models=("model-[12]",))


@pytest.mark.parametrize(
    ("pattern", "model", "counts"),
    [
        ("claude", "anthropic/Claude-Opus", True),
        ("CLAUDE", "claude-opus", True),
        ("gpt-weekly", "gpt-5", False),
        ("c%s", "claude-opus", True),
        ("^claude", "claude-opus", False),
        ("opus_4", "opus-4", True),
        ("opus_4", "opus4", False),
        ("opus\\_4", "opus_4", True),
        ("opus\\_4", "opus-4", False),
        ("100\\%", "is-100%-pure", True),
        ("100\\%", "is-1000-pure", False),
        ("a\\\\b", "a\\b", True),
        ("[1m]", "opus[1m]", True),
        ("[1m]", "opus-1", False),
        (".", "opus-4", False),
        (".", "gpt-5.4", True),
        ("*", "opus", False),
        ("%", "", True),
        ("a%b", "a\nb", True),
        ("ä", "Ärger", True),
        ("opus\\", "opus-4", True),  # a backslash at the end escapes nothing
    ],
)
def test_a_pattern_of_the_predecessor_is_a_part_of_the_name_with_sql_wildcards(
    pattern: str, model: str, counts: bool
) -> None:
    assert _matches(_with_model(model), model_pattern=pattern) is counts


def test_everything_that_is_named_must_match() -> None:
    assert _matches(provider="claude", proxy="office", models=("*opus*",), model_pattern="opus", client="alice")
    others: dict[str, Any] = {"provider": "codex", "proxy": "home", "models": ("gpt*",), "client": "bob"}
    for field, other in others.items():
        named: dict[str, Any] = {"provider": "claude", "models": ("*opus*",), field: other}
        assert not _matches(**named)
