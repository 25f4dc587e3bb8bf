"""The targets and the frequency of calls are fixed in code, and calls only read."""

from urllib.parse import urlsplit

import pytest

from exporter.quotas.base import AccountIds, Call
from tests.benches.asked import ASKED, CALLS

_HOSTS = {
    "api.anthropic.com",
    "api.kimi.ai",
    "api.kimi.com",
    "chatgpt.com",
    "cli-chat-proxy.grok.com",
    "cloudcode-pa.googleapis.com",
    "daily-cloudcode-pa.googleapis.com",
    "daily-cloudcode-pa.sandbox.googleapis.com",
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.url)
def test_a_call_reads_a_page_of_the_provider_itself(call: Call) -> None:
    parts = urlsplit(call.url)

    assert (parts.scheme, parts.port, parts.username) == ("https", None, None)
    assert parts.hostname in _HOSTS
    assert "$" not in call.url
    # Google reads by POST; these three methods change nothing.
    reads = ("retrieveUserQuotaSummary", "retrieveUserQuota", "fetchAvailableModels", "loadCodeAssist")
    request = call.request("i1", AccountIds(project_id="p1"))
    assert request is not None
    assert request["method"] == "GET" or (request["method"] == "POST" and call.url.rpartition(":")[2] in reads)
    assert not any(
        word in call.url.lower() for word in ("consume", "/reset", "completions", "generate", "onboard", "token")
    )


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.url)
def test_the_token_is_in_one_header_only(call: Call) -> None:
    # CPA 7 replaces it only in headers; in a body the words would reach the provider.
    assert "$TOKEN$" not in f"{call.headers} {call.data}"
    # A compressed answer would come back mangled.
    assert "accept-encoding" not in map(str.lower, call.headers)


def test_accounts_are_asked_as_rarely_as_their_providers_demand() -> None:
    assert {name: {one.gap_seconds for one in questions} for name, questions in ASKED.items()} == {
        "antigravity": {60},
        "claude": {180},
        "codex": {60},
        "gemini-cli": {60},
        "kimi": {60},
        "kimi-ai": {60},
        "xai": {60},
    }
    assert {name: [one.every_seconds for one in questions] for name, questions in ASKED.items()} == {
        "antigravity": [900, 43_200],
        "claude": [600, 43_200],
        "codex": [600, 43_200],
        "gemini-cli": [900, 43_200],
        "kimi": [900],
        "kimi-ai": [900],
        "xai": [900, 900, 43_200],
    }
