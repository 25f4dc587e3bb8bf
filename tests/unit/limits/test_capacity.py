"""The worth of a window, by simulation: a provider with a known capacity, and readings in whole percents."""

import math
import random
from collections.abc import Callable, Iterable
from itertools import accumulate

import pytest

from exporter.limits.capacity import Capacity, Change, Evidence, Point, capacity_of, change_in, evidence_of

_HOUR_MS = 3_600_000
_WEEK_MS = 168 * _HOUR_MS
_USD = 240.0
_SEEDS = range(20)

Outside = Callable[[random.Random, int], list[float]]
"""For each reading of a window, the share of the use before it that did not go through the proxy."""


def _none(_: random.Random, steps: int) -> list[float]:
    return [0.0] * steps


def _now_and_then(rng: random.Random, steps: int) -> list[float]:
    return [float(rng.random() < 0.3) for _ in range(steps)]


def _in_sessions(rng: random.Random, steps: int) -> list[float]:
    """Three of ten stretches, chosen at random, are somebody else's."""
    tenths = [0.0] * 7 + [1.0] * 3
    rng.shuffle(tenths)
    return [tenths[step * 10 // steps] for step in range(steps)]


def _beside(rng: random.Random, steps: int) -> list[float]:
    """Somebody else always uses a little, and sometimes more."""
    return [rng.uniform(0.0, 0.6) for _ in range(steps)]


def _windows(
    seed: int,
    *capacities: float,
    points: int = 60,
    length_ms: int = _WEEK_MS,
    filled: float = 0.8,
    outside: Outside = _none,
    outside_from: int = 0,
    measured: float = 0.0,
    rounded: Callable[[float], float] = lambda share: round(share, 2),
) -> list[Point]:
    """The readings of successive windows, each with its capacity, evenly used only in the long run.

    ``measured`` is the factor by which the value at API prices may differ from the provider's count, each time.
    """
    rng = random.Random(seed)
    found: list[Point] = []
    before = 0.0
    for number, capacity in enumerate(capacities):
        steps = [rng.expovariate(1) for _ in range(points)]
        shares = outside(rng, points) if number >= outside_from else _none(rng, points)
        used = [filled * capacity * step / sum(steps) for step in steps]
        moments = sorted(rng.sample(range(length_ms), points))
        for at_ms, amount, share, risen in zip(moments, used, shares, accumulate(used), strict=True):
            before += amount * (1 - share) * (1 + rng.uniform(-measured, measured))
            ratio = rounded(risen / capacity)
            found.append(Point(number * length_ms + at_ms, ratio, (number + 1) * length_ms, before))
    return found


def _capacity_or_none(points: Iterable[Point]) -> Capacity | None:
    return capacity_of(evidence_of(points))


def _change(points: Iterable[Point], *, now_ms: int) -> Change | None:
    return change_in(evidence_of(points), now_ms=now_ms)


def _capacity(points: Iterable[Point]) -> Capacity:
    found = _capacity_or_none(points)
    assert found is not None
    assert found.low <= found.estimate <= found.high
    return found


def _is_off(capacity: Capacity, truth: float = _USD) -> float:
    return abs(capacity.estimate / truth - 1)


def _width(capacity: Capacity) -> float:
    return (capacity.high - capacity.low) / capacity.estimate


def _ended(points: list[Point]) -> int:
    return points[-1].resets_ms


# --- the estimate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filled", [0.3, 0.6, 0.95])
@pytest.mark.parametrize(
    "rounded",
    [lambda share: round(share, 2), lambda share: math.floor(share * 100) / 100],
    ids=["to the nearest percent", "down"],
)
def test_a_week_of_sixty_readings_shows_the_capacity(filled: float, rounded: Callable[[float], float]) -> None:
    for seed in _SEEDS:
        capacity = _capacity(_windows(seed, _USD, filled=filled, rounded=rounded))

        assert _is_off(capacity) < 0.03
        assert capacity.low <= _USD <= capacity.high


def test_short_windows_with_few_readings_show_it_together() -> None:
    for seed in _SEEDS:
        capacity = _capacity(_windows(seed, *[_USD] * 20, points=3, length_ms=5 * _HOUR_MS, filled=0.3))

        assert _is_off(capacity) < 0.03
        assert capacity.low <= _USD <= capacity.high


def test_little_use_makes_a_wide_interval() -> None:
    point = Point(0, 0.1, _WEEK_MS, 0.0)
    assert _capacity_or_none([point, Point(1000, 0.14, _WEEK_MS, 4.0)]) is None
    little = _capacity([point, Point(1000, 0.16, _WEEK_MS, 6.0)])
    more = _capacity([point, Point(1000, 0.6, _WEEK_MS, 50.0)])

    assert little.estimate == more.estimate == pytest.approx(100.0)
    assert (little.low, little.high) == pytest.approx((6 / 0.07, 6 / 0.05))
    assert (more.low, more.high) == pytest.approx((50 / 0.51, 50 / 0.49))


def test_requests_under_way_widen_the_interval_and_keep_the_estimate() -> None:
    readings = [(0, 0.1, 0.0), (1000, 0.35, 25.0), (2000, 0.6, 50.0)]
    clear = _capacity(Point(at_ms, ratio, _WEEK_MS, before) for at_ms, ratio, before in readings)
    unclear = _capacity(Point(at_ms, ratio, _WEEK_MS, before, 5.0) for at_ms, ratio, before in readings)

    assert unclear.estimate == clear.estimate == pytest.approx(100.0)
    assert unclear.low < 95 < clear.low
    assert unclear.high > 105 > clear.high


def test_without_bookings_there_is_no_capacity_of_0() -> None:
    assert _capacity_or_none([]) is None
    assert _capacity_or_none([Point(0, 0.1, _WEEK_MS, 7.0), Point(1000, 0.9, _WEEK_MS, 7.0)]) is None


# --- readings as they come --------------------------------------------------------------------------------------------


def test_order_and_repetition_do_not_matter() -> None:
    points = _windows(1, _USD, _USD)
    mixed = [*points, *points[::3]]
    random.Random(1).shuffle(mixed)

    assert _capacity_or_none(mixed) == _capacity_or_none(points)


def test_a_reset_in_between_is_not_a_fall_of_use() -> None:
    """The window is emptied before its end and keeps its reset."""
    points = [Point(hour, hour * 0.2, _WEEK_MS, hour * 20.0) for hour in range(5)]
    points += [Point(hour + 5, hour * 0.2, _WEEK_MS, 80 + hour * 20.0) for hour in range(5)]

    assert _is_off(_capacity(points), 100) < 0.001


def test_a_reset_that_moves_a_little_belongs_to_the_same_window() -> None:
    points = [Point(hour, hour * 0.2, _WEEK_MS + hour % 2 * 90_000, hour * 20.0) for hour in range(5)]

    assert _width(_capacity(points)) == pytest.approx(0.8 / 0.79 - 0.8 / 0.81)


def test_a_share_that_falls_by_rounding_stays_in_its_window() -> None:
    """Two sources round in different ways."""
    points = [Point(0, 0.1, _WEEK_MS, 0.0), Point(1, 0.36, _WEEK_MS, 25.0), Point(2, 0.35, _WEEK_MS, 25.2)]
    points.append(Point(3, 0.6, _WEEK_MS, 50.0))

    capacity = _capacity(points)
    assert _is_off(capacity, 100) < 0.005
    assert capacity.high - capacity.low < 4.2, "the whole rise counts, not its halves"


def test_a_provider_that_answers_from_two_states_costs_only_accuracy() -> None:
    points = _windows(1, _USD)
    other = [Point(each.at_ms + 1, 0.02, each.resets_ms, each.before) for each in points[10:50:7]]
    capacity = _capacity([*points, *other])

    assert capacity.low <= _USD <= capacity.high
    assert _change([*points, *other], now_ms=2 * _WEEK_MS) is None


# --- use outside the proxy --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outside", [_now_and_then, _in_sessions, _beside])
def test_use_outside_the_proxy_widens_the_interval_and_is_no_change(outside: Outside) -> None:
    for seed in _SEEDS:
        clean = _capacity(_windows(seed, *[_USD] * 3))
        points = _windows(seed, *[_USD] * 3, outside=outside, outside_from=1)
        shared = _capacity(points)

        assert _is_off(shared) < 0.03, "the clean window holds"
        assert shared.low <= _USD <= shared.high
        assert _width(shared) > 3 * _width(clean)
        assert _change(points, now_ms=_ended(points)) is None


@pytest.mark.parametrize("outside", [_now_and_then, _in_sessions])
def test_use_outside_the_proxy_from_the_first_day_on_is_recognized(outside: Outside) -> None:
    off = []
    for seed in _SEEDS:
        shared = _capacity(_windows(seed, _USD, outside=outside))
        off.append(_is_off(shared))

        assert shared.low <= _USD <= shared.high
        assert _width(shared) > 0.3
    assert sum(off) / len(off) < 0.05
    assert max(off) < 0.2


@pytest.mark.parametrize("outside", [_now_and_then, _in_sessions, _beside])
def test_short_windows_with_use_outside_the_proxy_are_no_change(outside: Outside) -> None:
    told = 0
    for seed in range(50):
        windows = _windows(
            seed, *[_USD] * 8, points=30, length_ms=5 * _HOUR_MS, filled=0.6, outside=outside, outside_from=7
        )
        told += _change(windows, now_ms=_ended(windows)) is not None
    assert told <= 1, "of 50 times"


def test_a_window_that_was_used_only_outside_the_proxy_is_no_change() -> None:
    points = _windows(1, _USD, _USD, outside=lambda _, steps: [1.0] * steps, outside_from=1)

    assert _change(points, now_ms=_ended(points)) is None


# --- changes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filled", [0.4, 0.6, 0.9])
def test_a_cut_by_15_percent_is_found_once_a_whole_window_has_confirmed_it(filled: float) -> None:
    for seed in _SEEDS:
        points = _windows(seed, _USD, _USD, _USD * 0.85, filled=filled)
        change = _change(points, now_ms=_ended(points))

        assert change is not None
        assert change.shrank
        after = [each for each in points if each.at_ms >= change.since_ms]
        assert after == points[120:], "it begins with that window"
        assert _is_off(_capacity(after), _USD * 0.85) < 0.03
        assert _change(after, now_ms=_ended(points)) is None, "it is told once"
        assert _change(points, now_ms=_ended(points) - 1) is None, "and not while the window runs"


def test_a_cut_of_a_short_window_is_found_too() -> None:
    for seed in _SEEDS:
        short = _windows(seed, *[_USD] * 6, _USD * 0.85, points=30, length_ms=5 * _HOUR_MS, filled=0.6)
        change = _change(short, now_ms=_ended(short))

        assert change is not None
        assert change.shrank


def test_a_cut_in_the_middle_of_a_window_waits_for_the_next_one() -> None:
    """The share jumps, which looks like use outside the proxy."""
    points = [Point(hour, hour / 100, _WEEK_MS, hour * 1.0) for hour in range(80)]
    points += [Point(_WEEK_MS + hour, hour / 100, 2 * _WEEK_MS, 80.0 + hour) for hour in range(50)]
    points += [Point(_WEEK_MS + hour, hour / 85, 2 * _WEEK_MS, 80.0 + hour) for hour in range(50, 80)]
    assert _change(points, now_ms=2 * _WEEK_MS) is None
    points += [Point(2 * _WEEK_MS + hour, hour / 85, 3 * _WEEK_MS, 160.0 + hour) for hour in range(80)]
    assert _change(points, now_ms=3 * _WEEK_MS - 1) is None
    change = _change(points, now_ms=3 * _WEEK_MS)

    assert change == Change(since_ms=2 * _WEEK_MS, shrank=True)


def test_a_larger_limit_is_a_change_too() -> None:
    for seed in _SEEDS:
        points = _windows(seed, _USD, _USD, _USD * 1.2)
        change = _change(points, now_ms=_ended(points))

        assert change is not None
        assert not change.shrank


@pytest.mark.parametrize("factor", [0.93, 1.0, 1.07])
def test_a_difference_of_less_than_a_tenth_is_no_change(factor: float) -> None:
    for seed in _SEEDS:
        points = _windows(seed, _USD, _USD, _USD * factor)

        assert _change(points, now_ms=_ended(points)) is None


def test_a_window_that_was_hardly_used_confirms_nothing() -> None:
    points = _windows(1, _USD, _USD)
    points += [Point(2 * _WEEK_MS + step, step / 100, 3 * _WEEK_MS, points[-1].before + step) for step in range(25)]

    assert _change(points, now_ms=3 * _WEEK_MS) is None


@pytest.mark.parametrize(
    ("shares", "confirms"),
    [
        pytest.param([step / 100 for step in range(30)], False, id="a rise of 29 percent"),
        pytest.param([step / 100 for step in range(31)], True, id="a rise of 30 percent"),
        pytest.param([0.0, 0.12, 0.24, 0.36, 0.48], False, id="four stretches"),
        pytest.param([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], True, id="five stretches"),
        pytest.param([0.0, 0.1, 0.2, 0.3, 0.4, 0.42, 0.44], False, id="four stretches and a bit"),
    ],
)
def test_a_change_is_confirmed_by_a_rise_of_30_percent_in_five_stretches(shares: list[float], confirms: bool) -> None:
    """A week for 100 dollars, then one for 70."""
    points = [Point(step, step / 100, _WEEK_MS, float(step)) for step in range(80)]
    points += [Point(_WEEK_MS + at, share, 2 * _WEEK_MS, 79 + 70 * share) for at, share in enumerate(shares)]
    change = _change(points, now_ms=2 * _WEEK_MS)
    assert change == (Change(since_ms=_WEEK_MS, shrank=True) if confirms else None)


def _evidence(week: int, *, low: float, high: float, mean: float) -> Evidence:
    """A week in which half of the window was used, in five stretches."""
    return Evidence(
        first_ms=week * _WEEK_MS,
        resets_ms=(week + 1) * _WEEK_MS,
        low=low,
        best=high,
        high=high,
        used=mean / 2,
        risen=0.5,
        stretches=5,
    )


_CROSSED = (120.0, 90.0, 105.0)
"""Bounds that contradict each other by more than a tenth."""


@pytest.mark.parametrize(
    ("weeks", "shrank"),
    [
        pytest.param([(95, 105, 100), (70, 80, 75)], True, id="apart"),
        pytest.param([(70, 80, 75), (95, 105, 100)], False, id="apart the other way round"),
        pytest.param([(88, 112, 100), (76, 100, 88)], None, id="some capacity fits both"),
        pytest.param([(92, 120, 110), (95, 90, 95)], None, id="it holds more than its upper bound says"),
        pytest.param([(110, 102, 100), (80, 105, 95)], None, id="the one before may have held less"),
        pytest.param([(95, 105, 100), _CROSSED, (70, 80, 75)], True, id="half of the weeks before are consistent"),
        pytest.param([(95, 105, 100), _CROSSED, _CROSSED, (70, 80, 75)], None, id="fewer are"),
    ],
)
def test_a_change_needs_bounds_that_no_capacity_fits(
    weeks: list[tuple[float, float, float]], shrank: bool | None
) -> None:
    evidence = [_evidence(week, low=low, high=high, mean=mean) for week, (low, high, mean) in enumerate(weeks)]
    last = len(weeks) - 1
    assert change_in(evidence, now_ms=len(weeks) * _WEEK_MS) == (
        None if shrank is None else Change(last * _WEEK_MS, shrank)
    )


@pytest.mark.parametrize("measured", [0.1, 0.3, 0.6])
@pytest.mark.parametrize("length_ms", [5 * _HOUR_MS, _WEEK_MS])
def test_prices_that_measure_poorly_widen_the_interval_and_are_no_change(length_ms: int, measured: float) -> None:
    for seed in range(5):
        points = _windows(seed, *[_USD] * 8, points=30, length_ms=length_ms, measured=measured)
        changes = [_change(points[: 30 * number], now_ms=number * length_ms) for number in range(2, 9)]

        assert changes == [None] * 7
        capacity = _capacity(points)
        assert capacity.low < _USD * 1.05, "about the average"
        assert capacity.high > _USD
        assert _width(capacity) > measured


def test_a_cut_is_found_even_if_prices_measure_a_little_off() -> None:
    found = []
    for seed in _SEEDS:
        points = _windows(seed, *[_USD] * 3, _USD * 0.85, measured=0.1)
        found.append(_change(points, now_ms=_ended(points)))
    assert len([each for each in found if each is not None and each.shrank]) > len(_SEEDS) * 0.8
