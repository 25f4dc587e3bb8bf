"""What the proxy is asked to call, with the account's ids and no token; and what answers contain besides windows."""

import json

import pytest

from exporter.quotas.base import AccountIds, AccountState, Balance, Report
from tests.benches.asked import call_of

_CODEX, _ANTIGRAVITY = call_of("codex"), call_of("antigravity")
_MONEY = (Balance("credits", 5),)
_IDS = AccountIds(account_id="acct-carol-planted-77", project_id="planted-project-417")


def test_a_call_is_the_body_of_the_proxys_api_call() -> None:
    assert call_of("claude").request("df4617d25936b81a", AccountIds()) == {
        "auth_index": "df4617d25936b81a",
        "method": "GET",
        "url": "https://api.anthropic.com/api/oauth/usage",
        "header": {
            "Authorization": "Bearer $TOKEN$",
            "anthropic-beta": "oauth-2025-04-20",
            "User-Agent": "claude-code/2.1.0",
            "Content-Type": "application/json",
        },
        "data": "",
    }


def test_the_account_is_named_if_it_is_known() -> None:
    known, unknown = _CODEX.request("a", _IDS), _CODEX.request("a", AccountIds())

    assert known is not None
    assert unknown is not None
    assert known["header"]["Chatgpt-Account-Id"] == "acct-carol-planted-77"
    assert "Chatgpt-Account-Id" not in unknown["header"]


def test_the_data_is_a_text_with_the_project() -> None:
    request = _ANTIGRAVITY.request("a", _IDS)

    assert request is not None
    assert json.loads(request["data"]) == {"project": "planted-project-417"}


@pytest.mark.parametrize("project", ["", 'p","x":"', "p\nq", "Project", "p" * 200, "$TOKEN$", "a b"])
def test_an_invalid_project_is_not_sent(project: str) -> None:
    assert _ANTIGRAVITY.request("a", AccountIds(project_id=project)) is None


@pytest.mark.parametrize("account", ["a\r\nHost: other.example", "a b", "x" * 65, "$TOKEN$", "é"])
def test_an_invalid_account_is_not_sent(account: str) -> None:
    request = _CODEX.request("a", AccountIds(account_id=account))

    assert request is not None
    assert "Chatgpt-Account-Id" not in request["header"]


def test_the_ids_of_an_account_are_not_written_anywhere() -> None:
    assert "planted" not in f"{_IDS} {_IDS!r} {[_IDS]}"


def test_values_that_an_answer_does_not_mention_stay() -> None:
    full = AccountState().after(Report(plan="max", balances=_MONEY, reset_credits=0, elsewhere_ratio=0.0), now_ms=5)

    assert full == AccountState(plan="max", balances=_MONEY, reset_credits=0, elsewhere_ratio=0.0, elsewhere_ms=5)
    assert full.after(Report(), now_ms=9) == full


def test_values_in_an_answer_count_from_then_on() -> None:
    told = AccountState(plan="pro", reset_credits=3, elsewhere_ratio=0.5, elsewhere_ms=1)

    changed = told.after(Report(plan="max", reset_credits=2, elsewhere_ratio=0.25), now_ms=9)

    assert changed == AccountState(plan="max", reset_credits=2, elsewhere_ratio=0.25, elsewhere_ms=9)
