"""When a provider is asked again: what each answer leads to, and what survives a clock that was set."""

import pytest

from exporter.quotas.pacing import HOUR, MINUTE, RESULTS, Asked, begun, ended, lane_free_ms, pace_of

NOW = 1_795_000_000_000
CLAUDE, KIMI = pace_of("claude"), pace_of("kimi")


def _waits(result: str, *, retry_after: float | None = None, times: int = 1, provider: str = "claude") -> list[float]:
    """Minutes until the account may be asked again after each of so many equal results."""
    pace, asked, now_ms, waits = pace_of(provider), Asked(), NOW, []
    for _ in range(times):
        asked = ended(begun(asked, pace, now_ms=now_ms), pace, result, now_ms=now_ms, retry_after=retry_after, seed="a")
        waits.append((asked.next_ms - now_ms) / 60_000)
        now_ms = asked.next_ms
    return waits


def test_paces() -> None:
    assert (CLAUDE.account, CLAUDE.lane) == (10 * MINUTE, 3 * MINUTE)
    assert (pace_of("codex").account, pace_of("codex").lane) == (10 * MINUTE, MINUTE)
    assert (KIMI.account, KIMI.lane) == (15 * MINUTE, MINUTE)


@pytest.mark.parametrize(("provider", "minutes"), [("claude", 10), ("codex", 10), ("kimi", 15), ("xai", 15)])
def test_an_account_that_answers_is_asked_at_its_interval_and_never_sooner(provider: str, minutes: int) -> None:
    waits = _waits("ok", times=200, provider=provider)

    assert min(waits) >= minutes
    assert max(waits) <= minutes * 1.2
    assert len({round(wait, 3) for wait in waits}) > 100, "accounts must not stay in step"


def test_the_jitter_is_the_same_for_the_same_seed_and_moment() -> None:
    first, again = (ended(begun(Asked(), KIMI, now_ms=NOW), KIMI, "ok", now_ms=NOW, seed="7") for _ in range(2))
    other = ended(begun(Asked(), KIMI, now_ms=NOW), KIMI, "ok", now_ms=NOW, seed="8")

    assert first == again
    assert first.next_ms != other.next_ms


@pytest.mark.parametrize("seconds", [1.0, 90.0, 1_600.0, 7_200.0, 6 * 24 * 3_600.0])
def test_a_stated_wait_is_obeyed_by_the_account(seconds: float) -> None:
    (wait,) = _waits("rate_limited", retry_after=seconds)

    assert wait * 60 > max(seconds, CLAUDE.account)


def test_a_stated_wait_without_sense_does_not_silence_an_account_for_ever() -> None:
    (wait,) = _waits("rate_limited", retry_after=1e12)

    assert 7 * 24 * 60 <= wait <= 9 * 24 * 60


@pytest.mark.parametrize("retry_after", [None, 0.0])
def test_without_a_stated_wait_hours_pass_and_they_double(retry_after: float | None) -> None:
    waits = [wait / 60 for wait in _waits("rate_limited", retry_after=retry_after, times=7)]

    for wait, hours in zip(waits, [1, 2, 4, 8, 16, 24, 24], strict=True):
        assert hours <= wait <= hours * 1.2


def test_a_success_ends_the_doubling() -> None:
    asked = Asked(failures=5, result="rate_limited")
    asked = ended(begun(asked, CLAUDE, now_ms=NOW), CLAUDE, "ok", now_ms=NOW)
    asked = ended(begun(asked, CLAUDE, now_ms=NOW), CLAUDE, "rate_limited", now_ms=NOW)

    assert asked.next_ms - NOW <= 1.2 * HOUR * 1000


def test_a_refused_account_rests_for_four_hours() -> None:
    assert all(4 * 60 <= wait <= 4.8 * 60 for wait in _waits("refused", times=3))


def test_what_nobody_answers_is_tried_once_a_day() -> None:
    assert all(wait >= 24 * 60 for wait in _waits("unsupported", times=2))


@pytest.mark.parametrize("result", ["server_error", "unreachable", "bad_answer"])
def test_after_faults_the_pause_doubles_up_to_an_hour(result: str) -> None:
    for wait, minutes in zip(_waits(result, times=5), [10, 20, 40, 60, 60], strict=True):
        assert minutes <= wait <= minutes * 1.2


@pytest.mark.parametrize("result", RESULTS)
def test_no_result_lets_an_account_or_a_lane_be_asked_before_its_time(result: str) -> None:
    asked = ended(begun(Asked(), CLAUDE, now_ms=NOW), CLAUDE, result, now_ms=NOW + 500)

    assert asked.next_ms >= NOW + CLAUDE.account * 1000
    assert asked.lane_ms >= NOW + CLAUDE.lane * 1000


@pytest.mark.parametrize(("retry_after", "seconds"), [(900.0, 900), (86_400.0, 3_600), (None, 3_600), (10.0, 180)])
def test_a_lane_rests_with_its_account_but_not_for_longer_than_an_hour(
    retry_after: float | None, seconds: int
) -> None:
    asked = ended(begun(Asked(), CLAUDE, now_ms=NOW), CLAUDE, "rate_limited", now_ms=NOW, retry_after=retry_after)

    assert seconds * 1000 <= lane_free_ms([Asked(), asked]) - NOW <= (seconds + 10) * 1000


def test_a_lane_that_nobody_used_is_free() -> None:
    assert lane_free_ms([]) == 0


def test_a_call_that_never_ended_counts_as_one() -> None:
    asked = begun(Asked(), CLAUDE, now_ms=NOW)

    assert asked.next_ms == NOW + 600_000
    assert lane_free_ms([asked]) == NOW + 180_000


def test_a_clock_that_was_set_back_keeps_the_waits_and_no_more() -> None:
    asked = ended(begun(Asked(), CLAUDE, now_ms=NOW), CLAUDE, "refused", now_ms=NOW, seed="a")
    earlier = NOW - 365 * 86_400_000

    moved = asked.at(earlier)

    assert moved.next_ms - earlier == asked.next_ms - NOW
    assert moved.lane_ms - earlier == asked.lane_ms - NOW
    assert asked.at(NOW + 5_000) == asked
