"""Questions to providers and their answers survive a restart; a refusal changes no figure."""

from pathlib import Path

import msgspec
import pytest

from exporter.errors import LedgerError
from exporter.ledger.ledger import Ledger
from exporter.normalize.inventory import Account
from exporter.quotas.base import AccountState, Balance, Refusal, Report
from exporter.quotas.pacing import LastAsked
from exporter.quotas.reading import ACCOUNT, Answer
from exporter.records import CredentialFacts
from tests.benches import booking

NOW = 1_795_000_000_000
LAST = LastAsked(asked_ms=NOW, next_ms=NOW + 600_000, lane_ms=NOW + 180_000, way=1, result="ok", failures=2)
ANSWER = Answer({}, NOW)
CREDENTIAL = 1


def open_ledger(folder: Path, provider: str = "claude") -> Ledger:
    """The ledger in a folder, which knows the account."""
    ledger = booking.open_ledger(folder)
    if not ledger.name_store.credentials:
        account = Account(
            facts=CredentialFacts(provider=provider), identity=("file", "f"), auth_index="7", auth_type="oauth"
        )
        assert [id_ for id_, _ in ledger.take_inventory("p", [account])] == [CREDENTIAL]
    return ledger


def _shares(ledger: Ledger) -> dict[tuple[str, str], float]:
    return {key[1:]: quota.reading.used_ratio for key, quota in ledger.quotas.current().items()}


def _report(share: float, **more: object) -> Report:
    return Report(readings=(ANSWER.reading(18_000, "", share, NOW + 3_600_000),), **more)  # type: ignore[arg-type]  # named


def test_a_restart_remembers_questions_and_answers(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    report = _report(0.4, plan="max", balances=(Balance("credits", 12_000_000_000),), elsewhere_ratio=0.3)
    ledger.quota_asks.take(CREDENTIAL, {(CREDENTIAL, 0): LAST}, report, now_ms=NOW)
    ledger.quota_asks.save((CREDENTIAL, 1), LastAsked(asked_ms=NOW))
    ledger.close()

    again = open_ledger(tmp_path)

    assert again.quota_asks.asked == {(CREDENTIAL, 0): LAST, (CREDENTIAL, 1): LastAsked(asked_ms=NOW)}
    assert again.quota_asks.told == {
        CREDENTIAL: AccountState(
            plan="max", balances=(Balance("credits", 12_000_000_000),), elsewhere_ratio=0.3, elsewhere_ms=NOW
        )
    }
    assert _shares(again) == {("5h", ""): 0.4}
    again.close()


def test_a_question_that_failed_after_a_long_sleep_of_the_machine_changes_no_window(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.quota_asks.take(CREDENTIAL, {}, _report(0.4), now_ms=NOW)
    before = ledger.quotas.current()
    ledger.quota_asks.save((CREDENTIAL, 0), LastAsked(asked_ms=NOW - 3_600_000))

    assert ledger.quotas.current() == before
    ledger.close()


def test_a_cap_on_money_keeps_its_amounts(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    window = ANSWER.reading(30 * 86_400, "extra-usage", 0.024, NOW + 86_400_000)
    cap = msgspec.structs.replace(window, used_nano_usd=1_200_000_000, limit_nano_usd=50_000_000_000)
    ledger.quota_asks.take(CREDENTIAL, {}, Report(readings=(cap,)), now_ms=NOW)
    ledger.close()

    again = open_ledger(tmp_path)

    (quota,) = again.quotas.current().values()
    assert quota.reading == cap
    again.close()


_MONTH, _WEEK, _SESSION = 30 * 86_400, 7 * 86_400, 5 * 3_600


@pytest.mark.parametrize(
    ("provider", "minutes_later", "second", "shown"),
    [
        ("codex", 61, (_SESSION, _WEEK), {"5h", "7d"}),
        ("kimi", 61, (_SESSION, _WEEK), {"5h", "7d"}),
        ("codex", 59, (_SESSION,), {"5h", "month"}),  # one answer may leave a value out
        ("claude", 61, (_WEEK,), {"7d", "month"}),  # an answer lists the windows of one model
    ],
)
def test_the_windows_of_a_former_plan_disappear(
    tmp_path: Path, provider: str, minutes_later: int, second: tuple[int, ...], shown: set[str]
) -> None:
    ledger = open_ledger(tmp_path, provider)
    later_ms = NOW + minutes_later * 60_000
    for at_ms, lengths in [(NOW, (_MONTH,)), (later_ms, second)]:
        answer = Answer({}, at_ms, "header")
        readings = tuple(answer.reading(length, "", 0.9, NOW + _MONTH * 900) for length in lengths)
        ledger.quota_asks.take(CREDENTIAL, {}, Report(readings=readings), now_ms=at_ms)

    assert {window for window, _ in _shares(ledger)} == shown
    ledger.close()


def test_a_refused_account_keeps_its_windows(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, "codex")
    ledger.quota_asks.take(CREDENTIAL, {}, _report(0.4), now_ms=NOW)
    later = Answer({}, NOW + 3_599_000 * 2, "header")
    refusal = later.reading(None, "", None, later.observed_ms, name=ACCOUNT)

    ledger.quota_asks.take(CREDENTIAL, {}, Report(readings=(refusal,)), now_ms=later.observed_ms)

    assert _shares(ledger) == {("5h", ""): 0.4, (ACCOUNT, ""): 1.0}
    ledger.close()


@pytest.mark.parametrize("refusal", list(Refusal))
def test_a_refusal_changes_no_shown_figure(tmp_path: Path, refusal: Refusal) -> None:
    ledger = open_ledger(tmp_path)
    ledger.quota_asks.take(CREDENTIAL, {}, _report(0.4, plan="pro", reset_credits=2), now_ms=NOW)
    told = ledger.quota_asks.told

    ledger.quota_asks.take(CREDENTIAL, {(CREDENTIAL, 0): LAST}, Report(refusal=refusal), now_ms=NOW + 1)

    assert _shares(ledger) == {("5h", ""): 0.4}
    assert ledger.quota_asks.told == told
    ledger.close()


def test_a_ledger_that_cannot_be_written_shows_only_what_is_on_disk(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.close()

    with pytest.raises(LedgerError):
        ledger.quota_asks.take(CREDENTIAL, {}, _report(0.4, plan="pro"), now_ms=NOW)

    assert _shares(ledger) == {}
    assert ledger.quota_asks.told == {}


@pytest.mark.parametrize(
    ("told", "listed", "plan"),
    [
        ("max", "", "max"),
        ("team", "plus", "team"),
        ("other", "edu", "edu"),
        ("other", "", "other"),
        ("", "plus", "plus"),
    ],
)
def test_a_plan_is_what_the_provider_reported_last(tmp_path: Path, told: str, listed: str, plan: str) -> None:
    ledger = open_ledger(tmp_path)
    ledger.quota_asks.take(CREDENTIAL, {}, Report(plan=told), now_ms=NOW)

    assert ledger.quota_asks.plan_of(CREDENTIAL, listed) == plan
    assert ledger.quota_asks.plan_of(CREDENTIAL + 1, listed) == listed
    ledger.close()


def test_a_cap_that_the_user_has_switched_off_disappears_after_an_hour(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    cap = ANSWER.reading(None, "extra-usage", 0.98, name="month", money=(49 * 10**9, 50 * 10**9))
    ledger.quota_asks.take(CREDENTIAL, {}, Report(readings=(*_report(0.4).readings, cap)), now_ms=NOW)
    other = Answer({}, NOW + 3_600_000).reading(18_000, "", 0.5, NOW + 7_200_000)
    ledger.quota_asks.take(CREDENTIAL, {}, Report(readings=(other,)), now_ms=NOW + 3_600_000)
    ledger.quota_asks.take(CREDENTIAL, {}, Report(plan="max"), now_ms=NOW + 3_600_001)
    assert _shares(ledger) == {("5h", ""): 0.5, ("month", "extra-usage"): 0.98}

    later = msgspec.structs.replace(other, observed_ms=NOW + 3_600_001)
    ledger.quota_asks.take(CREDENTIAL, {}, Report(readings=(later,)), now_ms=NOW + 3_600_001)

    assert _shares(ledger) == {("5h", ""): 0.5}
    ledger.close()
    again = open_ledger(tmp_path)
    assert _shares(again) == {("5h", ""): 0.5}
    again.close()
