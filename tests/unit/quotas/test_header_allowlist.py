"""The list of headers that may be stored, as the parsers declare it: what each needs passes, and nothing near it."""

import re

import pytest

from exporter.quotas.header_allowlist import allowed_headers, tells_of_quota
from exporter.quotas.providers import PROVIDERS

_CLAUDE = "anthropic-ratelimit-unified"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("date", "Fri, 21 Aug 2026 10:00:05 GMT"),
        (f"{_CLAUDE}-reset", "1787310005"),
        (f"{_CLAUDE}-7d_opus-reset", "2026-08-21T11:00:05Z"),
        (f"{_CLAUDE}-5h-utilization", "0"),
        (f"{_CLAUDE}-iguana_necktie-surpassed-threshold", "0.75"),
        (f"{_CLAUDE}-status", "allowed_warning"),
        (f"{_CLAUDE}-5h-status", "rejected"),
        (f"{_CLAUDE}-representative-claim", "seven_day_opus"),
        ("x-codex-primary-used-percent", "12.5"),
        ("x-codex-g1-secondary-window-minutes", "10080"),
        ("x-base-model-inference-primary-reset-at", "1787310005"),
        ("x-codex-primary-reset-after-seconds", "0"),
        ("x-codex-allowed", "False"),
        ("x-codex-limit-reached", "true"),
        ("x-codex-plan-type", "pro"),
        ("x-codex-active-limit", "premium_1"),
        ("x-codex-bengalfox-limit-name", "GPT-5.3-Codex-Spark"),
        ("x-meta-window-minutes", "300"),
        ("x-meta-weekly-used-percent", "5"),
        ("x-meta-window-reset-at", "1787310005"),
    ],
)
def test_a_header_that_a_parser_needs_is_kept(name: str, value: str) -> None:
    assert allowed_headers({name.title(): [value]}) == {name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("date", "yesterday"),
        (f"{_CLAUDE}-5h-reset", "soon"),
        (f"{_CLAUDE}-5m-utilization", "0.5"),
        (f"{_CLAUDE}-99999h-utilization", "0.5"),
        (f"{_CLAUDE}-utilization", "0.5"),
        (f"{_CLAUDE}-5h-utilization", "nan"),
        (f"{_CLAUDE}-5h-utilization", "-1"),
        (f"{_CLAUDE}-5h-utilization-2", "0.5"),
        (f"{_CLAUDE}-5h-status", "Rejected"),
        (f"{_CLAUDE}-representative-claim", "sk-ant-api03-secret"),
        ("anthropic-ratelimit-tokens-reset", "1787310005"),
        ("x-codex-tertiary-used-percent", "12.5"),
        ("x-codex-primary-used-percent", "12,5"),
        (f"x-codex-{'g' * 33}-primary-used-percent", "12.5"),
        ("x-codex--primary-used-percent", "12.5"),
        ("x-codex-allowed", "no"),
        ("x-codex-plan-type", "Pro"),
        ("x-codex-limit-name", "Spark"),
        ("x-codex-bengalfox-limit-name", "someone@example.com"),
        ("x-codex-bengalfox-limit-name", "N" * 33),
        ("x-base-model-inference-allowed", "true"),
        ("x-base-model-inference-g1-primary-used-percent", "1"),
        ("x-meta-primary-used-percent", "5"),
        ("x-meta-weekly-window-minutes", "10080"),
        ("x-ratelimit-remaining-tokens", "5"),
        ("retry-after", "5"),
    ],
)
def test_a_header_that_only_resembles_a_needed_one_is_not_kept(name: str, value: str) -> None:
    assert allowed_headers({name: [value]}) == {}


@pytest.mark.parametrize(
    ("headers", "tells"),
    [
        ({f"{_CLAUDE}-5h-utilization": "0"}, True),
        ({f"{_CLAUDE}-5h-status": "rejected"}, True),
        ({f"{_CLAUDE}-5h-status": "allowed", f"{_CLAUDE}-5h-reset": "1787310005"}, False),
        ({"x-codex-primary-used-percent": "5"}, True),
        ({"x-codex-allowed": "false"}, True),
        ({"x-codex-allowed": "true", "x-codex-plan-type": "pro"}, False),
        ({"x-meta-weekly-used-percent": "5"}, True),
        ({"date": "Fri, 21 Aug 2026 10:00:05 GMT"}, False),
        ({}, False),
    ],
)
def test_headers_are_worth_storing_if_they_tell_a_share_or_a_refusal(headers: dict[str, str], tells: bool) -> None:
    assert tells_of_quota(allowed_headers(headers)) is tells


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_parser_declares_patterns_that_the_list_can_be_made_of(provider: str) -> None:
    declared = PROVIDERS[provider]

    for pattern in declared.stored:
        assert pattern.startswith(declared.prefixes) or pattern.startswith(f"(?:{declared.prefixes[0]}")
        assert re.compile(pattern).groups == 0
