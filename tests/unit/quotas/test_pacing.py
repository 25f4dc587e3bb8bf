"""When a provider is asked again: the effect of each answer, and of a clock that was set."""

import pytest

from exporter.quotas.base import NEXT_WAY, Question, Refusal, Report
from exporter.quotas.pacing import LastAsked
from tests.benches.asked import call_of

_CALLS = (call_of("claude"), call_of("codex"))
NOW = 1_795_000_000_000
MINUTE, HOUR = 60_000, 3_600_000
QUESTION = Question(600, _CALLS[:1], gap_seconds=180)


def _asked(
    refusal: Refusal | None,
    *,
    retry_after: int | None = None,
    before: LastAsked | None = None,
    question: Question = QUESTION,
) -> LastAsked:
    report = Report(refusal=refusal, retry_after_s=retry_after)
    return (before or LastAsked()).begun(question, now_ms=NOW).ended(question, report, now_ms=NOW, seed="a")


def _waits(refusal: Refusal | None, *, times: int) -> list[float]:
    """Milliseconds until the question may be asked again, after each of ``times`` equal answers."""
    waits: list[float] = []
    last, now_ms = LastAsked(), NOW
    for _ in range(times):
        last = last.begun(QUESTION, now_ms=now_ms).ended(QUESTION, Report(refusal=refusal), now_ms=now_ms, seed="a")
        waits.append(last.next_ms - now_ms)
        now_ms = last.next_ms
    return waits


def test_an_account_that_answers_is_asked_at_its_interval_and_never_sooner() -> None:
    waits = _waits(None, times=200)

    assert min(waits) >= 10 * MINUTE
    assert max(waits) <= 12 * MINUTE
    assert len(set(waits)) > 100, "accounts must not stay in step"


def test_the_jitter_is_the_same_for_the_same_seed_and_moment() -> None:
    begun = LastAsked().begun(QUESTION, now_ms=NOW)

    first, again, other = (begun.ended(QUESTION, Report(), now_ms=NOW, seed=seed) for seed in (7, 7, 8))

    assert first == again
    assert first.next_ms != other.next_ms


@pytest.mark.parametrize("refusal", [Refusal.RATE_LIMITED, Refusal.UNAVAILABLE, Refusal.FORBIDDEN])
@pytest.mark.parametrize("seconds", [1, 90, 1_600, 7_200, 6 * 24 * 3_600])
def test_a_stated_wait_is_obeyed_by_the_account(seconds: int, refusal: Refusal) -> None:
    assert _asked(refusal, retry_after=seconds).next_ms - NOW > max(seconds * 1000, 10 * MINUTE)
    two = Question(600, _CALLS, gap_seconds=180)
    assert _asked(refusal, retry_after=seconds, question=two).next_ms - NOW > max(seconds * 1000, 3 * MINUTE)


def test_an_absurd_stated_wait_does_not_silence_an_account_forever() -> None:
    wait = _asked(Refusal.RATE_LIMITED, retry_after=10**12).next_ms - NOW

    assert 7 * 24 * HOUR <= wait <= 9 * 24 * HOUR


@pytest.mark.parametrize("retry_after", [None, 0])
def test_without_a_stated_wait_the_pause_is_hours(retry_after: int | None) -> None:
    assert HOUR <= _asked(Refusal.RATE_LIMITED, retry_after=retry_after).next_ms - NOW <= 1.2 * HOUR


def test_the_hours_double_up_to_a_day() -> None:
    for wait, hours in zip(_waits(Refusal.RATE_LIMITED, times=20), [1, 2, 4, 8, 16, *[24] * 15], strict=True):
        assert hours * HOUR <= wait <= hours * HOUR * 1.2


def test_a_success_ends_the_doubling() -> None:
    well = _asked(None, before=LastAsked(failures=5, result="rate_limited"))

    assert _asked(Refusal.RATE_LIMITED, before=well).next_ms - NOW <= 1.2 * HOUR


@pytest.mark.parametrize("refusal", [Refusal.UNAUTHORIZED, Refusal.FORBIDDEN])
def test_a_refused_account_rests_for_four_hours(refusal: Refusal) -> None:
    assert all(4 * HOUR <= wait <= 4.8 * HOUR for wait in _waits(refusal, times=3))


@pytest.mark.parametrize(
    ("refusal", "renewed_ms", "rests"),
    [
        (Refusal.UNAUTHORIZED, NOW + 1, False),
        (Refusal.FORBIDDEN, NOW + 1, False),
        (Refusal.UNAUTHORIZED, NOW, True),
        (Refusal.UNAUTHORIZED, NOW + 2 * HOUR, True),  # by a clock that is ahead: it would look new after each refusal
        (Refusal.RATE_LIMITED, NOW + 1, True),
    ],
)
def test_a_login_that_was_renewed_after_its_refusal_need_not_rest(
    refusal: Refusal, renewed_ms: int, rests: bool
) -> None:
    last = _asked(refusal)

    due_ms = last.due_ms(QUESTION, renewed_ms=renewed_ms, now_ms=NOW + HOUR)

    assert due_ms == (last.next_ms if rests else NOW + 10 * MINUTE)


@pytest.mark.parametrize("refusal", [Refusal.NOT_FOUND, Refusal.OUTDATED])
def test_a_missing_page_is_tried_once_a_day(refusal: Refusal) -> None:
    assert all(wait >= 24 * HOUR for wait in _waits(refusal, times=2))


@pytest.mark.parametrize("refusal", [Refusal.UNAVAILABLE, Refusal.UNREADABLE])
def test_after_faults_the_pause_doubles_up_to_an_hour(refusal: Refusal) -> None:
    for wait, minutes in zip(_waits(refusal, times=5), [10, 20, 40, 60, 60], strict=True):
        assert minutes * MINUTE <= wait <= minutes * MINUTE * 1.2


def test_a_rare_question_is_not_asked_more_often_after_a_fault() -> None:
    rare = Question(12 * 3_600, _CALLS[:1], gap_seconds=180)

    assert _asked(Refusal.UNAVAILABLE, question=rare).next_ms - NOW >= 12 * HOUR


def test_without_a_project_the_first_way_comes_next_which_may_need_none() -> None:
    """The first way is the proxy's own quota API, if there is one."""
    question = Question(600, (None, *_CALLS), gap_seconds=180)
    failed = _asked(Refusal.UNAVAILABLE, question=question)
    assert failed.way == 1

    assert _asked(Refusal.NO_PROJECT, before=failed, question=question).way == 0


@pytest.mark.parametrize("refusal", [None, *Refusal])
def test_no_result_allows_a_question_about_an_account_or_in_a_lane_before_its_time(refusal: Refusal | None) -> None:
    last = _asked(refusal)

    assert last.next_ms >= NOW + 10 * MINUTE
    was_called = refusal not in (Refusal.UNSUPPORTED, Refusal.NO_PROJECT)
    assert last.lane_ms >= NOW + (3 * MINUTE if was_called else 0)
    assert last.result == (refusal or "ok")


@pytest.mark.parametrize(("retry_after", "seconds"), [(900, 900), (86_400, 3_600), (None, 3_600), (10, 180)])
def test_a_lane_rests_with_its_account_but_not_for_longer_than_an_hour(retry_after: int | None, seconds: int) -> None:
    last = _asked(Refusal.RATE_LIMITED, retry_after=retry_after)

    assert seconds * 1000 <= last.lane_ms - NOW <= (seconds + 10) * 1000


@pytest.mark.parametrize("refusal", sorted(NEXT_WAY))
def test_the_next_way_is_tried_after_the_gap_and_the_last_one_ends_the_round(refusal: Refusal) -> None:
    two = Question(600, _CALLS, gap_seconds=180)

    first = _asked(refusal, question=two)
    last = _asked(refusal, question=two, before=first)

    assert (first.way, first.failures) == (1, 0)
    assert 3 * MINUTE <= first.next_ms - NOW <= 4 * MINUTE
    assert (last.way, last.failures) == (0, 1)
    assert last.next_ms - NOW >= 10 * MINUTE


def test_the_way_that_answered_is_remembered() -> None:
    two = Question(600, _CALLS, gap_seconds=180)

    assert _asked(None, question=two, before=LastAsked(way=1)).way == 1


def test_a_call_that_never_ended_counts_as_a_call() -> None:
    begun = LastAsked().begun(QUESTION, now_ms=NOW)

    assert begun.next_ms == NOW + 10 * MINUTE
    assert begun.lane_ms == NOW + 3 * MINUTE


def test_a_clock_that_was_set_back_keeps_the_waits_and_no_more() -> None:
    last = _asked(Refusal.UNAUTHORIZED)
    earlier = NOW - 365 * 24 * HOUR

    moved = last.at(earlier)

    assert moved.next_ms - earlier == last.next_ms - NOW
    assert moved.lane_ms - earlier == last.lane_ms - NOW
    assert last.at(NOW + 5_000) == last
