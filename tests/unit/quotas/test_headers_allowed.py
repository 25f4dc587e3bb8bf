"""The list of headers that may be stored, as the parsers declare it: each needed header passes, and nothing similar."""

import json
import re
from typing import Any

import pytest

from exporter.quotas.all_providers import PROVIDERS
from exporter.quotas.headers import MAX_BYTES, MAX_HEADERS, allowed_headers, tells_of_quota
from tests.benches.headers import claude, codex, meta
from tests.fakes.recordings import ROOT, recorded, secrets

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
def test_headers_are_stored_if_they_give_a_share_or_a_refusal(headers: dict[str, str], tells: bool) -> None:
    assert tells_of_quota(allowed_headers(headers)) is tells


@pytest.mark.parametrize("provider", [name for name, each in PROVIDERS.items() if each.stored])
def test_a_parser_declares_patterns_that_fit_the_list(provider: str) -> None:
    prefixes = ("anthropic-ratelimit-unified-", "x-codex-", "x-base-model-inference-", "x-meta-")

    for pattern in PROVIDERS[provider].stored:
        assert pattern.removeprefix("(?:").startswith(prefixes)
        assert re.compile(pattern).groups == 0


# --- what may be stored -----------------------------------------------------------------------------------------------


def test_only_windows_and_the_date_of_every_recorded_header_map_are_kept() -> None:
    kept: set[str] = set()
    for path in sorted((ROOT / "v7.2.140" / "usage-queue").glob("*.json")):
        body = recorded(str(path.relative_to(ROOT))).get("body")
        for record in body if isinstance(body, list) else []:
            allowed = allowed_headers(record.get("response_headers") or {})
            kept |= set(allowed)
            text = json.dumps(allowed)
            assert not [secret for secret in secrets() if secret in text]

    assert kept == {
        "date",
        "anthropic-ratelimit-unified-reset",
        "anthropic-ratelimit-unified-status",
        "anthropic-ratelimit-unified-representative-claim",
        *(
            f"anthropic-ratelimit-unified-{slug}-{what}"
            for slug in ("5h", "7d", "7d_opus")
            for what in ("reset", "status", "utilization")
        ),
        "x-codex-plan-type",
        "x-codex-active-limit",
        "x-codex-bengalfox-limit-name",
        *(f"x-codex-bengalfox-primary-{what}" for what in ("reset-at", "used-percent", "window-minutes")),
        *(
            f"x-codex-{position}-{what}"
            for position in ("primary", "secondary")
            for what in ("reset-after-seconds", "reset-at", "used-percent", "window-minutes")
        ),
    }


def test_no_secret_passes_in_a_name_or_in_a_value_that_is_not_free_text() -> None:
    # The name of a group is the one free text; it is short, and the provider's own word for a limit.
    names = [*claude("5h", status="allowed"), *codex(), *codex("Bengalfox-Secondary")]
    names += ["Anthropic-Ratelimit-Unified-Status", "Anthropic-Ratelimit-Unified-Reset", "Retry-After", "Set-Cookie"]
    names += ["Anthropic-Ratelimit-Unified-Representative-Claim", "X-Codex-Active-Limit", "X-Codex-Plan-Type"]
    names += ["X-Codex-Allowed", "X-Codex-Limit-Reached", "X-Base-Model-Inference-Primary-Used-Percent", *meta()]
    names += ["Anthropic-Organization-Id", "Request-Id", "X-Codex-Credits-Balance", "Cf-Ray", "Openai-Organization"]
    for secret in secrets():
        planted = {name: [secret] for name in names} | {secret: ["1"], f"X-{secret}": ["1"]}
        assert secret not in json.dumps(allowed_headers(planted))


@pytest.mark.parametrize(
    "name",
    [
        "X-Codex-Credits-Balance",
        "X-Codex-Primary-Over-Secondary-Limit-Percent",
        "X-Codex-Turn-State",
        "Anthropic-Ratelimit-Unified-Upgrade-Paths",
        "Anthropic-Ratelimit-Unified-Overage-Utilization",
        "Anthropic-Ratelimit-Unified-Fallback-Percentage",
        "Anthropic-Ratelimit-Unified-5h-Token",
        "Anthropic-Ratelimit-Unified--Status",
        "X-Meta-Tier",
        "X-Meta-Weekly-Minutes",
        "X-Meta-Window-Token",
        "X-Base-Model-Inference-Token",
        "X-Base-Model-Inference-Primary-Token",
        "X-Codex-Allowed",
        "Prefix-Date",
        "Date ",
    ],
)
def test_a_header_that_is_not_needed_is_not_kept(name: str) -> None:
    assert allowed_headers({name: ["1"]}) == {}


@pytest.mark.parametrize("value", [None, 5, 0.5, True, {}, [], [None], [5], [["0.5"]], "0.5" * 100, "0.5\n"])
def test_a_value_that_is_not_a_short_text_is_not_kept(value: Any) -> None:
    kept = allowed_headers({"Anthropic-Ratelimit-Unified-5h-Utilization": value})

    assert kept == ({"anthropic-ratelimit-unified-5h-utilization": "0.5"} if value == "0.5\n" else {})


def test_kept_headers_are_bounded_in_number_and_bytes() -> None:
    short = {f"x-codex-g{number}-primary-used-percent": "1" for number in range(500)}
    long = {f"x-codex-{'g' * 20}{number}-limit-name": "N" * 32 for number in range(100, 500)}

    assert len(allowed_headers(short)) == MAX_HEADERS
    kept = allowed_headers(long)
    assert MAX_BYTES - 100 < sum(len(name) + len(value) for name, value in kept.items()) <= MAX_BYTES


def test_as_many_bytes_are_kept_as_fit_and_none_more() -> None:
    full = {f"x-codex-{'g' * 30}{number:02}-limit-name": "N" * 32 for number in range(98)} | {
        "x-codex-ggggggg-limit-name": "N" * 32
    }
    assert sum(len(name) + len(value) for name, value in full.items()) == MAX_BYTES
    assert allowed_headers(full) == full
    *kept, last = full
    longer = {name: full[name] for name in kept} | {last.replace("ggg-", "gggg-"): "N" * 32}
    assert list(allowed_headers(longer)) == kept


@pytest.mark.parametrize(("length", "kept"), [(64, True), (65, False)])
def test_a_moment_with_endless_digits_is_not_kept(length: int, kept: bool) -> None:
    value = "2026-08-21T11:00:05.".ljust(length - 1, "0") + "Z"
    name = f"{_CLAUDE}-5h-reset"

    assert allowed_headers({name: [value]}) == ({name: value} if kept else {})


def test_keeping_twice_has_the_same_result_as_once() -> None:
    once = allowed_headers(claude() | codex())

    assert allowed_headers(once) == once
