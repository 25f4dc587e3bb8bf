"""Pools of accounts: their states, when the next account is back, and when all are empty."""

from dataclasses import replace
from typing import Any

import pytest

from exporter.limits.model import LimitWindow, Thresholds
from exporter.limits.pools import Member, Pool, member_of, pool_of, room_ms
from exporter.quotas.reading import Reading

_NOW_MS = 1_795_000_000_000
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


def _window(used: float, *, gone: float = 2.0, hours: float = 5.0, scope: str = "") -> LimitWindow:
    """A window that is ``hours`` long, ``gone`` of which have passed."""
    return LimitWindow(
        proxy="p",
        limit=f"{hours:g}h",
        kind="provider",
        provider="claude",
        credential="alice",
        scope=scope,
        window=f"{hours:g}h",
        unit="share",
        used_ratio=used,
        thresholds=Thresholds(),
        observed_ms=_NOW_MS,
        start_ms=_NOW_MS - round(gone * _HOUR_MS),
        reset_ms=_NOW_MS + round((hours - gone) * _HOUR_MS),
    )


def _up(*windows: LimitWindow) -> Member:
    return member_of(up=True, windows=windows)


def _cooling(hours: float | None, *windows: LimitWindow) -> Member:
    retry_ms = None if hours is None else _NOW_MS + round(hours * _HOUR_MS)
    return member_of(up=False, retry_ms=retry_ms, windows=windows)


def _pool(*members: Member) -> Pool:
    return pool_of(members, now_ms=_NOW_MS)


def _hours(moment_ms: int | None) -> float | None:
    return None if moment_ms is None else round((moment_ms - _NOW_MS) / _HOUR_MS, 3)


def _used_since(hours: float, short: float, long: float) -> tuple[LimitWindow, LimitWindow]:
    """The windows of 5 hours and of a week of an account that both began this many hours ago."""
    return _window(short, gone=hours), _window(long, gone=hours, hours=168)


_UNSTARTED = replace(_window(0.0), start_ms=None, reset_ms=None)
_ENDED = replace(_UNSTARTED, has_ended=True)
_WEEK = _window(0.2, gone=84, hours=168)
_PAID = replace(_window(1.0), allows_more=True)
_STUCK = replace(_window(1.0), start_ms=None, reset_ms=None)


@pytest.mark.parametrize(
    ("member", "state", "back"),
    [
        pytest.param(_up(_window(0.999)), "usable", None, id="some is left"),
        pytest.param(_up(_UNSTARTED), "usable", None, id="all is left"),
        pytest.param(_up(_PAID), "usable", None, id="extra usage is paid"),
        pytest.param(_up(_PAID, _window(1.0)), "exhausted", 3.0, id="extra usage is not paid in all windows"),
        pytest.param(_up(), "unknown", None, id="no window is known"),
        pytest.param(_cooling(1), "cooling", 1, id="the proxy waits"),
        pytest.param(_cooling(None), "cooling", None, id="the proxy does not say until when"),
        pytest.param(_up(_window(1.0)), "exhausted", 3, id="a window is used up"),
        pytest.param(_up(_STUCK), "exhausted", None, id="used up with a reset that nobody knows"),
        pytest.param(_up(_window(1.0), _window(1.1, hours=168)), "exhausted", 166, id="the last of two resets"),
        pytest.param(_cooling(4, _window(1.0)), "exhausted", 4, id="the proxy waits longer than the window"),
        pytest.param(_cooling(None, _window(1.0)), "exhausted", None, id="nobody knows until when it waits"),
        pytest.param(_up(_window(0.5), _window(1.0, scope="opus")), "usable", None, id="one model's window is used up"),
        pytest.param(_up(_window(0.5, scope="a"), _window(1.0, scope="b")), "usable", None, id="a part has some left"),
        pytest.param(_up(_window(1.0, scope="a"), _window(1.0, gone=4, scope="b")), "exhausted", 1, id="no part has"),
        pytest.param(_up(_window(1.0, scope="a"), _ENDED), "usable", None, id="one for all models has ended"),
        pytest.param(_up(_ENDED), "unknown", None, id="all windows have ended"),
        pytest.param(_up(replace(_STUCK, scope="a")), "exhausted", None, id="no part has, until when nobody knows"),
    ],
)
def test_an_account_has_one_state_and_is_back_when_everything_that_it_waits_for_is_over(
    member: Member, state: str, back: float | None
) -> None:
    pool = _pool(member)
    assert pool.accounts == {state: 1}
    assert _hours(pool.next_back_ms) == back


def test_the_earliest_account_to_return_is_the_next_one_back() -> None:
    pool = _pool(_up(_window(0.2)), _cooling(9), _up(_window(1.0)), _cooling(None), _up())
    assert pool.accounts == {"usable": 1, "cooling": 2, "exhausted": 1, "unknown": 1}
    assert _hours(pool.next_back_ms) == 3


@pytest.mark.parametrize(
    ("members", "empty"),
    [
        # 20 % an hour.
        pytest.param([_up(_window(0.4))], None, id="lasts until its reset, and then again"),
        # 40 % an hour: 20 % are left.
        pytest.param([_up(_window(0.8))], 0.5, id="one account"),
        # Together 40 % an hour, 120 % are left, and the full ones come back at the same moment.
        pytest.param([_up(_window(0.8)), _up(_window(0.0))], None, id="the other takes over until the reset"),
        # 90 % an hour, of two accounts with 10 % left each.
        pytest.param([_up(_window(0.9)), _up(_window(0.9))], 0.222, id="two at the same pace"),
        # 60 % an hour: the first has 10 %; the second has 70 % and works alone from 20 minutes on.
        pytest.param([_up(_window(0.9)), _up(_window(0.3))], 1.333, id="the emptier one bears all in the end"),
        # 50 % an hour: all of the first in two hours, then 25 % of the second in half an hour.
        pytest.param([_up(_window(1.0, gone=2.5)), _up(_window(0.25, gone=0.5))], 1.5, id="used one after the other"),
        # 40 % an hour: 80 % of the first in two hours. It waits since then, and the second has borne all for an hour.
        pytest.param([_cooling(9, _window(0.8, gone=3)), _up(_window(0.4, gone=1))], 1.5, id="one waits"),
        # 80 % an hour: the first has 20 % for half an hour; the second has 40 % then.
        pytest.param([_up(_window(0.8)), _up(_window(0.4, gone=1))], 1.0, id="two whose windows began one by one"),
        # As the two at one pace, but a third one is back in an hour with a window that begins then.
        pytest.param([_up(_window(0.9)), _up(_window(0.3)), _cooling(1, _UNSTARTED)], None, id="one is back in time"),
        pytest.param([_up(_window(0.9)), _up(_window(0.3)), _cooling(2, _UNSTARTED)], 1.333, id="one is back too late"),
        pytest.param([_up(_window(0.9)), _cooling(None, _UNSTARTED)], 0.222, id="one that may never be back"),
        pytest.param([_up(_window(0.9)), _up(_UNSTARTED)], 2.444, id="one that has not begun takes over"),
        pytest.param([_up(_window(0.9)), _up(_WEEK, _ENDED)], 2.444, id="one that has ended takes over"),
        pytest.param([_up(_window(0.9)), _up(_ENDED)], None, id="one of which all have ended"),
        # 160 of 168 hours have passed and 99 % is used: the short window has enough left, the long one has not.
        pytest.param([_up(_window(0.2), _window(0.99, gone=160, hours=168))], 1.616, id="the longer window"),
        # 7.5 % an hour: its 85 % would last for 11 hours, but all of it is there again in three.
        pytest.param([_up(_window(0.15))], None, id="a reset comes while some is left"),
        # 30 % an hour of the short windows, 21 % of the long ones. The first account rests from 40 minutes on,
        # until the short ones end in an hour: the long ones have 43 % and 52 % left then. Used together, that of the
        # first lasts for 4.095 hours, and the 9 % of the second for 0.429 hours more.
        pytest.param([_up(*_used_since(4, 0.9, 0.5)), _up(*_used_since(4, 0.3, 0.34))], 5.524, id="one is used again"),
        # It is too early in the window for a pace.
        pytest.param([_up(_window(0.05, gone=0.09))], None, id="nothing can be said yet"),
        pytest.param([_up(_window(0.9)), _up()], None, id="one of which nothing is known"),
        pytest.param([_up(_window(0.9, scope="opus"))], None, id="windows of parts alone"),
        pytest.param([_up(_window(1.0))], 0, id="used up"),
        pytest.param([_up(_PAID)], None, id="extra usage goes on"),
        pytest.param([_cooling(1), _cooling(None), _up(_window(1.0))], 0, id="none works"),
    ],
)
def test_all_are_empty_when_the_last_one_is(members: list[Member], empty: float | None) -> None:
    assert _hours(_pool(*members).empty_ms) == empty


@pytest.mark.parametrize(
    "idle",
    [
        pytest.param({"observed_ms": _NOW_MS - round(1.5 * _HOUR_MS)}, id="its last answer is old"),
        pytest.param({"source": "active"}, id="it had to be asked"),
    ],
)
def test_use_that_has_moved_to_another_account_counts_once(idle: dict[str, Any]) -> None:
    """As with fill-first, at 50 % an hour.

    The second account bore all for 90 minutes: 75 %. Then the first one was back, and has borne all for 90 minutes:
    75 %. Each has 25 % left, which last for an hour. The paces of their windows are 25 % and 50 % an hour, and a pool
    with 75 % an hour would be empty in 40 minutes.
    """
    assert _hours(_pool(_up(_window(0.75, gone=1.5)), _up(replace(_window(0.75, gone=3), **idle))).empty_ms) == 1


def test_where_every_account_has_to_be_asked_none_is_idle_for_that() -> None:
    """Some providers report a window only when asked: 40 % an hour each, as if all answers had reported it."""
    first, second = replace(_window(0.8), source="active"), replace(_window(0.4, gone=1), source="active")
    assert _hours(_pool(_up(first), _up(second)).empty_ms) == 1


def test_the_forecast_reaches_one_day_ahead() -> None:
    def slow(hours: float) -> Member:
        """Half of its two weeks was used in this many hours, so the other half lasts as long."""
        return _up(replace(_window(0.5, gone=hours, hours=336), window="14d"))

    assert _hours(_pool(slow(23.9)).empty_ms) == 23.9
    assert _pool(slow(24.1)).empty_ms is None


# --- room -------------------------------------------------------------------------------------------------------------

_READING = Reading(
    window="5h",
    scope="",
    window_seconds=5 * 3600,
    used_ratio=1.0,
    resets_ms=_NOW_MS - _HOUR_MS,
    status="",
    observed_ms=_NOW_MS - 3 * _HOUR_MS,
    inferred=False,
    source="header",
)


@pytest.mark.parametrize(
    ("changes", "hours"),
    [
        pytest.param({}, -1, id="used up, and over"),
        pytest.param({"used_ratio": 0.6}, -1, id="over"),
        pytest.param({"resets_ms": _NOW_MS + _HOUR_MS}, 1, id="used up still"),
        pytest.param(
            {"used_ratio": 0.02, "observed_ms": _NOW_MS, "resets_ms": _NOW_MS + 4 * _HOUR_MS}, -1, id="read anew since"
        ),
        pytest.param({"resets_ms": None}, None, id="used up without a reset"),
        pytest.param({"used_ratio": 0.5, "resets_ms": None}, None, id="a part is used, without a reset"),
        pytest.param({"limit_nano_usd": 1, "window_seconds": None}, None, id="a cap on money"),
        pytest.param({"limit_nano_usd": 1}, -1, id="a window that counts money"),
    ],
)
def test_a_window_has_room_from_its_reset_on(changes: dict[str, float], hours: float | None) -> None:
    reading = Reading(**{name: getattr(_READING, name) for name in Reading.__struct_fields__} | changes)
    assert _hours(room_ms([reading], _NOW_MS)) == hours


def test_an_account_has_room_when_the_last_of_its_windows_has() -> None:
    week = Reading("7d", "", 7 * 86_400, 1.0, _NOW_MS + _DAY_MS, "", _NOW_MS, inferred=False, source="header")
    unknown = Reading("month", "", None, 1.0, None, "", _NOW_MS, inferred=True, source="header")
    assert _hours(room_ms([_READING, week], _NOW_MS)) == 24
    assert room_ms([_READING, unknown], _NOW_MS) is None
    assert room_ms([], _NOW_MS) is None
