"""Problems in words: everything that an operator should know has a headline and advice."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exporter.ledger.amounts import Amounts
from exporter.ledger.shown_names import Misfit
from exporter.ledger.views.totals import Flow
from exporter.ledger.views.usage import Usage
from exporter.limits.board import Board
from exporter.normalize.inventory import Account
from exporter.records import Billing, CredentialFacts
from exporter.sources.base import Source
from exporter.sources.proxy_status import STATES, ProxyStatus
from exporter.sources.usage_queue import UsageQueue
from exporter.sources.usage_snapshot import UsageSnapshot
from exporter.web.credential_states import CredentialState, credential_states
from exporter.web.overview import MOST_REJECTED, Figures
from exporter.web.problems import Problem, find_problems
from tests.benches.books import Books

_NOW_MS = 1_793_000_000_000
_WELL = ProxyStatus(name="home", state="ok", sentence="It is read.")


def _figures(**more: Any) -> Figures:
    nothing: dict[str, Any] = {"unpriced": {}, "by_default": {}, "rejected": {}}
    return Figures(
        day=date(2026, 11, 24),
        periods={},
        tables={},
        spark=[],
        billings=(),
        **(nothing | more),
    )


def _shown_names(*, file_problem: str = "", misfits: Sequence[Misfit] = ()) -> SimpleNamespace:
    return SimpleNamespace(file_problem=file_problem, misfits=misfits)


def _find(**more: Any) -> list[Problem]:
    usual: dict[str, Any] = {
        "statuses": [_WELL],
        "flows": {"home": Flow()},
        "credentials": [],
        "figures": _figures(),
        "ledger_problem": "",
        "prices": SimpleNamespace(problems=[]),
        "limits": SimpleNamespace(problems=[], current=SimpleNamespace(unmatched=())),
        "shown_names": _shown_names(),
        "folded": 0,
        "moment": lambda ms: f"<{ms}>",
        "now_ms": 0,
        "history": None,
    }
    return list(find_problems(**(usual | more)))


def _headlines(problems: list[Problem]) -> list[str]:
    return [" ".join(filter(None, (each.kind, each.subject, each.title))) for each in problems]


def test_without_problems_there_is_nothing_to_report() -> None:
    assert _find() == []


def test_a_gap_is_shown_for_a_day() -> None:
    flow = Flow(retention_gaps=3, gap_ms=_NOW_MS, gap_seconds=4000)
    [gap] = _find(flows={"home": flow}, now_ms=_NOW_MS + 86_000_000)
    assert _headlines([gap]) == [f"Proxy home was not read for 1 h 6 min until <{_NOW_MS}>"]
    assert "redis-usage-queue-retention-seconds: 3600" in gap.text
    assert _find(flows={"home": flow}, now_ms=_NOW_MS + 86_400_000) == []


def test_a_longer_retention_is_advised_unless_it_is_the_longest_already() -> None:
    flow = Flow(retention_gaps=1, gap_ms=_NOW_MS, gap_seconds=4000)
    for seconds in (60, 3600):
        [gap] = _find(statuses=[replace(_WELL, retention_seconds=seconds)], flows={"home": flow}, now_ms=_NOW_MS)
        assert "unless it was off." in gap.text
        assert ("Set redis-usage-queue-retention-seconds" in gap.text) == (seconds < 3600)


def test_a_loss_in_the_future_is_not_shown_because_its_clock_was_ahead() -> None:
    flow = Flow(retention_gaps=1, gap_ms=_NOW_MS, gap_seconds=4000, missed=5, missed_ms=_NOW_MS)
    assert _find(flows={"home": flow}, now_ms=_NOW_MS - 1) == []


def test_a_time_without_a_subscription_is_not_called_a_time_without_reading() -> None:
    status = replace(_WELL, source_is_pushed=True)
    flow = Flow(retention_gaps=1, gap_ms=_NOW_MS, gap_seconds=4000)
    [gap] = _find(statuses=[status], flows={"home": flow}, now_ms=_NOW_MS)
    assert _headlines([gap]) == [f"Proxy home was not subscribed to for 1 h 6 min until <{_NOW_MS}>"]
    assert "retention" not in gap.text


def test_missed_records_are_shown_for_a_day_after_the_last_one() -> None:
    flow = Flow(missed=1200, missed_ms=_NOW_MS)
    found = _find(flows={"home": flow}, now_ms=_NOW_MS + 86_000_000)
    assert _headlines(found) == [
        f"Proxy home counted about 1,200 records that never arrived, the last ones at <{_NOW_MS}>"
    ]
    assert _find(flows={"home": flow}, now_ms=_NOW_MS + 86_400_000) == []


@pytest.mark.parametrize(
    ("source", "why"), [(UsageQueue, "another program read them"), (UsageSnapshot, "COLLECTOR_INTERVAL_SECONDS")]
)
def test_the_reason_for_missing_records_depends_on_the_source(source: type[Source], why: str) -> None:
    status = ProxyStatus(name="home", state="ok", sentence="Read.", source_is_cumulative=source.is_cumulative)
    [missed] = _find(statuses=[status], flows={"home": Flow(missed=5, missed_ms=_NOW_MS)}, now_ms=_NOW_MS)
    assert why in missed.text


@pytest.mark.parametrize("state", [state for state in STATES if state not in ("ok", "starting")])
def test_each_state_of_a_proxy_has_its_headline_and_its_sentence(state: str) -> None:
    [problem] = _find(statuses=[_WELL, ProxyStatus(name="away", state=state, sentence="Do this.")])

    assert (problem.severity, problem.subject, problem.text) == ("problem", "away", "Do this.")
    assert problem.title
    assert [state.headline for state in STATES.values()].count(problem.title) == 1


def _credential(state: str, *, up: bool | None = False, retry_ms: int | None = None) -> CredentialState:
    return CredentialState(proxy="home", name="c1", provider="claude", plan="", state=state, up=up, retry_ms=retry_ms)


@pytest.mark.parametrize(
    ("given", "headline"),
    [
        pytest.param({"statuses": [ProxyStatus(name="new")]}, "Proxy new has not been asked yet", id="starting"),
        pytest.param({"ledger_problem": "Free some space."}, "The ledger cannot be read", id="ledger"),
        pytest.param(
            {"flows": {"home": Flow(pending=1)}}, "Proxy home has 1 record that is stored and not booked yet", id="one"
        ),
        pytest.param(
            {"flows": {"home": Flow(pending=1200)}},
            "Proxy home has 1,200 records that are stored and not booked yet",
            id="pending",
        ),
        pytest.param(
            {"credentials": [_credential("cooling down", retry_ms=5)]},
            "Account c1 cools down until <5>",
            id="cooling down",
        ),
        pytest.param({"credentials": [_credential("disabled")]}, "Account c1 is disabled", id="disabled"),
        pytest.param({"credentials": [_credential("unavailable")]}, "Account c1 is unavailable", id="unavailable"),
        pytest.param(
            {"credentials": [_credential("partly failing", up=True)]},
            "Account c1 fails for some models",
            id="partly",
        ),
        pytest.param(
            {"figures": _figures(rejected={"home": {"bad_timestamp": 2, "malformed_json": 1}})},
            "Proxy home sent 3 records that could not be booked",
            id="rejected",
        ),
        pytest.param(
            {"figures": _figures(rejected={"home": {"bad_timestamp": MOST_REJECTED + 1}})},
            "Proxy home sent more than 10,000 records that could not be booked",
            id="very many rejected",
        ),
        pytest.param(
            {"figures": _figures(unpriced={"m": 1})}, "1 request of this month is not fully priced", id="unpriced"
        ),
        pytest.param(
            {"figures": _figures(by_default={"m": Usage({Billing.METERED: Amounts(nano_usd=2 * 10**9)})})},
            "$2.00 of metered cost this month is a guess",
            id="guessed",
        ),
        pytest.param(
            {
                "figures": _figures(
                    by_default={
                        "m": Usage({Billing.METERED: Amounts(nano_usd=2 * 10**9)}),
                        "n": Usage({Billing.SUBSCRIPTION: Amounts(nano_usd=3 * 10**9)}),
                    }
                )
            },
            "$2.00 of metered cost and $3.00 of subscription value this month are a guess",
            id="guessed, apart",
        ),
        pytest.param({"folded": 7}, "7 combinations of labels are counted under “other”", id="folded"),
    ],
)
def test_each_problem_has_its_headline(given: dict[str, Any], headline: str) -> None:
    problems = _find(**given)

    assert _headlines(problems) == [headline]
    assert all(each.text.endswith((".", ":")) for each in problems)


def test_problems_come_before_notes() -> None:
    found = _find(
        statuses=[ProxyStatus(name="new"), ProxyStatus(name="away", state="unreachable", sentence="Do this.")],
        folded=1,
        ledger_problem="Free some space.",
    )

    assert [each.severity for each in found] == ["problem", "problem", "note", "note"]
    assert [each.subject for each in found] == ["away", "", "new", ""]


def test_what_waits_at_any_proxy_comes_before_what_was_lost() -> None:
    flow = Flow(pending=1, retention_gaps=1, gap_ms=_NOW_MS, gap_seconds=4000)
    found = _find(flows={"home": flow, "office": flow}, now_ms=_NOW_MS)
    assert [each.subject for each in found] == ["home", "office", "home", "office"]
    assert ["stored" in each.title for each in found] == [True, True, False, False]


@pytest.mark.parametrize(
    ("account", "state", "up", "retry_ms"),
    [
        pytest.param({"status": "active"}, "up", True, None, id="active"),
        pytest.param({"status": None}, "not reported", None, None, id="an API key"),
        pytest.param({"status": "disabled", "disabled": True}, "disabled", False, None, id="disabled"),
        pytest.param(
            {"status": "error", "unavailable": True, "retry_ms": _NOW_MS + 1},
            "cooling down",
            False,
            _NOW_MS + 1,
            id="waiting",
        ),
        pytest.param(
            {"status": "error", "unavailable": True, "retry_ms": _NOW_MS - 1}, "up", True, None, id="the wait is over"
        ),
        pytest.param({"status": "error", "unavailable": True}, "unavailable", False, None, id="its end is unknown"),
        pytest.param({"status": "error"}, "partly failing", True, None, id="one model waits"),
    ],
)
def test_each_state_of_a_credential_is_described(
    *, tmp_path: Path, account: dict[str, Any], state: str, up: bool | None, retry_ms: int | None
) -> None:
    books = Books(tmp_path)
    facts = CredentialFacts(provider="claude", billing=Billing.SUBSCRIPTION)
    listed = Account(
        facts=facts, identity=("file", "f" * 32), auth_index="a", auth_type="oauth", success=5, failed=2, **account
    )
    accounts = tuple(books.ledger.take_inventory("p", [listed]))
    statuses = [ProxyStatus(name="p", accounts=accounts)]
    [found] = credential_states(statuses, Board(), ledger=books.ledger, shown_names=books.shown_names, now_ms=_NOW_MS)

    assert (found.state, found.up, found.retry_ms) == (state, up, retry_ms)
    assert found.attempts is not None
    assert (found.attempts.success, found.attempts.failed) == (5, 2)


def test_a_credential_is_named_with_its_proxy_if_there_are_several() -> None:
    notes = _find(statuses=[_WELL, replace(_WELL, name="office")], credentials=[_credential("disabled", up=False)])
    assert _headlines(notes) == ["Account c1 (home) is disabled"]


def test_aliases_that_fit_nothing_or_several_are_one_note_each() -> None:
    misfits = [
        Misfit("laptop", False, ("client-0123456789",)),
        Misfit("ci", False, ()),
        Misfit("team", True, ("team-claude", "team-codex")),
    ]
    nothing, several = _find(shown_names=_shown_names(misfits=misfits))
    assert nothing.title == "2 of the aliases name nothing that is known so far"
    assert nothing.names == ("laptop (nearest: client-0123456789)", "ci")
    assert several.title == "1 of the aliases names several accounts"
    assert several.names == ("team: team-claude, team-codex",)


def test_requests_that_are_not_fully_priced_usually_cost_more() -> None:
    [problem] = _find(figures=_figures(unpriced={"m": 1}))
    assert "their service tier" in problem.text
    assert "usually higher" in problem.text


def test_the_problem_of_a_price_list_is_shown_in_its_own_words() -> None:
    sentence = "The price feed gave no complete answer. Prices that were fetched before stay in use."
    assert [problem.text for problem in _find(prices=SimpleNamespace(problems=[sentence]))] == [sentence]


def test_an_unused_edit_of_the_aliases_is_a_problem() -> None:
    (problem,) = _find(shown_names=_shown_names(file_problem="The last edit is not used."))
    assert (problem.severity, problem.title, problem.text) == (
        "problem",
        "The aliases have a mistake",
        "The last edit is not used.",
    )
