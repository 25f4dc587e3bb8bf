"""Which messages people receive about a limit, and how often."""

import dataclasses

from exporter.ledger.store.limits import Told
from exporter.limits.model import CONFIGURED, PROVIDER, SHARE, LimitWindow, Thresholds
from exporter.limits.notices import Kind, LimitWatch, text_of, title_of

MINUTE = 60_000
START = 1_790_000_000_000
HOURS_5 = 300 * MINUTE


def _window(share: float, *, start_ms: int | None = START, **changes: object) -> LimitWindow:
    window = LimitWindow(
        proxy="home", limit="5h", kind=PROVIDER, provider="claude", credential="claude-alice", scope="", window="5h",
        unit=SHARE, used_ratio=share, thresholds=Thresholds(), start_ms=start_ms,
        reset_ms=None if start_ms is None else start_ms + HOURS_5, observed_ms=START,
    )  # fmt: skip
    return dataclasses.replace(window, **changes)  # type: ignore[arg-type]


class _Watch(LimitWatch):
    """A watch that keeps what it sent."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, ...], Told] = {}
        super().__init__(self.told)


def _told(watch: _Watch, window: LimitWindow, at_ms: int) -> list[Kind]:
    """The messages that are sent at this moment."""
    due = list(watch.due(window, at_ms))
    for _, told in due:
        watch.told[window.labels] = told
    return [kind for kind, _ in due]


def _message(window: LimitWindow, at_ms: int) -> tuple[str, str]:
    """Title and text of the only message about a window that nobody has heard of."""
    ((kind, _),) = LimitWatch({}).due(window, at_ms)
    return title_of(kind, window), text_of(kind, window, at_ms)


def test_each_level_of_a_window_is_announced_once() -> None:
    watch = _Watch()
    late = START + 290 * MINUTE

    kinds = [_told(watch, _window(used), late) for used in (0.79, 0.8, 0.85, 0.79, 0.85, 0.95, 0.99, 0.85, 0.99)]

    assert kinds == [[], [Kind.WARNING], [], [], [], [Kind.CRITICAL], [], [], []]


def test_a_jump_over_a_level_announces_only_the_worse_one() -> None:
    assert _told(_Watch(), _window(1.0), START + 290 * MINUTE) == [Kind.CRITICAL]


def test_the_next_window_is_announced_again_even_if_nobody_saw_it_empty() -> None:
    watch = _Watch()
    _told(watch, _window(0.96), START + 290 * MINUTE)

    later = START + HOURS_5
    assert _told(watch, _window(0.97, start_ms=START + 4 * MINUTE), later) == [], "the same reset, told less exactly"
    assert _told(watch, _window(0.97, start_ms=later), later + 290 * MINUTE) == [Kind.CRITICAL]


def test_a_provider_that_alternates_between_two_windows_is_announced_once_for_each() -> None:
    watch = _Watch()
    late, day = START + 290 * MINUTE, 1440 * MINUTE

    kinds = [
        _told(watch, _window(used, start_ms=start_ms), late)
        for _ in range(4)
        for used, start_ms in ((0.97, START), (0.85, START + day))
    ]

    assert [kind for some in kinds for kind in some] == [Kind.CRITICAL, Kind.WARNING, Kind.CRITICAL]


def test_the_next_window_is_announced_again_after_a_message_without_a_reset() -> None:
    watch = _Watch()
    late = START + 290 * MINUTE
    _told(watch, _window(0.85), late)
    assert _told(watch, _window(0.96, reset_ms=None), late) == [Kind.CRITICAL]

    assert _told(watch, _window(0.96, start_ms=START + HOURS_5), late + HOURS_5) == [Kind.CRITICAL]


def test_a_limit_has_recovered_after_three_minutes_below_its_level() -> None:
    watch = _Watch()
    late = START + 280 * MINUTE
    steps = [(0.81, 0), (0.79, 1), (0.79, 3), (0.81, 4), (0.5, 5), (0.5, 7), (0.5, 8), (0.5, 20), (0.81, 21)]

    kinds = [_told(watch, _window(used, start_ms=START), late + minute * MINUTE) for used, minute in steps]

    assert kinds == [[Kind.WARNING], [], [], [], [], [], [Kind.BACK], [], [Kind.WARNING]]


def test_a_limit_that_recovered_before_has_to_recover_for_as_long_again() -> None:
    watch = _Watch()
    late = START + 280 * MINUTE
    steps = [(0.81, 0), (0.79, 1), (0.79, 4), (0.81, 5), (0.79, 6), (0.81, 7), (0.79, 8), (0.79, 11)]

    kinds = [_told(watch, _window(used), late + minute * MINUTE) for used, minute in steps]

    assert kinds == [[Kind.WARNING], [], [Kind.BACK], [Kind.WARNING], [], [], [], [Kind.BACK]]


def test_running_out_early_is_announced_once_after_five_minutes() -> None:
    watch = _Watch()
    began = START + 60 * MINUTE
    steps = [(0.5, 0), (0.5, 4), (0.52, 5), (0.55, 6), (0.6, 40)]

    kinds = [_told(watch, _window(used), began + minute * MINUTE) for used, minute in steps]

    assert kinds == [[], [], [Kind.EARLY], [], []]


def test_a_clock_that_is_set_back_delays_nothing_for_longer_than_it_would_last_anyway() -> None:
    watch = _Watch()
    began = START + 60 * MINUTE
    steps = [(0.8, 120), (0.5, 121), (0.5, 0), (0.5, 2), (0.5, 3), (0.5, 5)]

    kinds = [_told(watch, _window(used), began + minute * MINUTE) for used, minute in steps]

    assert kinds == [[Kind.WARNING], [], [], [], [Kind.BACK], [Kind.EARLY]]


def test_each_message_that_was_due_while_no_service_took_it_is_sent_once() -> None:
    told: dict[tuple[str, ...], Told] = {}
    window, began = _window(0.5), START + 60 * MINUTE
    told[window.labels] = Told("critical", reset_ms=START)
    watch = LimitWatch(told)
    list(watch.due(window, began))  # both conditions begin, and no service takes a message for 20 minutes

    kinds = []
    for minute in range(20, 60):
        for kind, after in watch.due(window, began + minute * MINUTE):
            kinds.append(kind)
            told[window.labels] = after

    assert kinds == [Kind.BACK, Kind.EARLY]


def test_little_slow_or_fresh_use_does_not_run_out_early() -> None:
    for used, minute in ((0.39, 31), (0.41, 103), (0.9, 14)):
        watch = _Watch()
        window = _window(used, thresholds=Thresholds(warning=0.95, critical=0.99))
        assert [_told(watch, window, START + (minute + later) * MINUTE) for later in (0, 15)] == [[], []]


def test_a_window_at_a_level_is_not_said_to_run_out_early_too() -> None:
    watch = _Watch()
    assert [_told(watch, _window(0.85), START + minute * MINUTE) for minute in (60, 80)] == [[Kind.WARNING], []]


def test_a_restart_does_not_repeat_messages() -> None:
    window = _window(0.85)

    assert list(LimitWatch({window.labels: Told("warning", reset_ms=window.reset_ms)}).due(window, START)) == []


def test_a_message_that_could_not_be_sent_is_due_again() -> None:
    watch = _Watch()

    assert [len(list(watch.due(_window(0.9), START + minute))) for minute in (0, 1)] == [1, 1]


def test_the_message_says_what_the_alert_says() -> None:
    title, text = _message(_window(0.84), START + 240 * MINUTE)

    assert title == "claude-alice: 5h limit 84% used"
    assert text == (
        "84% used (warning from 80% on). Resets in 1 h. Pace 1.05: at this rate, used up in 45 min."
        " Proxy home. Provider claude. Account claude-alice."
    )


def test_a_message_says_what_is_known_of_a_providers_window() -> None:
    window, late = _window(0.84, scope="opus"), START + 240 * MINUTE
    assert [title_of(kind, window) for kind in (Kind.EARLY, Kind.BACK)] == [
        "claude-alice: 5h limit for opus runs out before it resets",
        "claude-alice: 5h limit for opus is available again",
    ]
    assert text_of(Kind.BACK, window, late) == (
        "84% used. Resets in 1 h. Proxy home. Provider claude. Account claude-alice. Only opus."
    )
    assert " Pace 0.75. Proxy home." in text_of(Kind.EARLY, _window(0.6), late)

    refused = _window(1.0, credential="", start_ms=None, inferred=True)
    assert _message(refused, late) == (
        "claude: 5h limit 100% used",
        "100% used (critical from 95% on). It is not known when it resets. The provider refuses requests and does not"
        " say what share is used. Proxy home. Provider claude.",
    )


def test_an_exhausted_limit_has_no_forecast() -> None:
    _, text = _message(_window(1.2), START + 240 * MINUTE)

    assert " Pace 1.50. Proxy home." in text


def test_a_session_that_has_ended_says_nothing_of_a_reset() -> None:
    ended = _window(
        0.0, kind=CONFIGURED, limit="people", unit="requests", used=0, budget=80, credential="", start_ms=None,
        reset_ms=None,
    )  # fmt: skip

    assert text_of(Kind.BACK, ended, START) == "0% used of 80 requests. Proxy home. Provider claude."


def test_a_users_own_budget_is_named_with_its_unit() -> None:
    window = _window(
        0.805, kind=CONFIGURED, limit="people-day", window="24h", unit="usd", used=8.05, budget=10.0, scope="maria",
        credential="", provider="", proxy="", reset_ms=None,
    )  # fmt: skip
    title, text = _message(window, START)
    _, small = _message(dataclasses.replace(window, budget=0.25), START)

    assert small.startswith("80.5% used of 0.25 USD ")
    assert title == "people-day for maria: 80.5% of its USD used"
    assert text == (
        "80.5% used of 10 USD (warning from 80% on). No reset: use that is older than 24h no longer counts. Only maria."
    )


def test_a_limit_has_the_name_that_people_gave_it() -> None:
    window = _window(
        0.96, kind=CONFIGURED, limit="7", name="OpenAI Pro: gpt", unit="tokens", used=96.0, budget=100.0, credential="",
        provider="", proxy="",
    )  # fmt: skip
    assert [title_of(kind, window) for kind in (Kind.CRITICAL, Kind.EARLY, Kind.BACK)] == [
        "OpenAI Pro: gpt: 96% of its tokens used",
        "OpenAI Pro: gpt: tokens run out before it resets",
        "OpenAI Pro: gpt: tokens are available again",
    ]
    own = dataclasses.replace(window, credential="claude-bob", scope="maria")
    assert title_of(Kind.CRITICAL, own) == "OpenAI Pro: gpt of claude-bob for maria: 96% of its tokens used"
