"""Configured limits against a recomputation that decides for every single record whether it counts.

The exporter sums quarters of an hour and the entries at their edges, keeps sessions on disk and remembers what cannot
have changed. None of that may show: the recomputation remembers only the end of the last session of each window.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from exporter.limits.model import LimitWindow
from exporter.records import Tokens
from tests.benches.limits import LimitBench, Use
from tests.fakes.guarding import TurnableClock

_MINUTE_MS, _QUARTER_MS, _HOUR_MS, _DAY_MS = 60_000, 900_000, 3_600_000, 86_400_000

# --- the recomputation ------------------------------------------------------------------------------------------------


@dataclass
class _Told:
    """A limit as the test knows it: its lines in the file, and their meaning in plain terms."""

    id: str
    lines: list[str]
    strategy: str
    zone: tzinfo
    minutes: int | None
    per: str | None
    counts: Callable[[Use], bool]
    budgets: dict[str, int | Fraction]
    anchor_ms: int | None
    session_ends: dict[object, int] = field(default_factory=dict)


def _group(limit: _Told, use: Use) -> object:
    if limit.per == "credential":
        return (use.proxy, use.account)
    return {"client": use.client, "model": use.model, None: ""}[limit.per]


def _first_moment(of: date, zone: tzinfo) -> int:
    """The first quarter of an hour in which the calendar in ``zone`` shows this day or a later one."""
    moment = int(datetime(of.year, of.month, of.day, tzinfo=UTC).timestamp()) * 1000 - 30 * _HOUR_MS
    while _local_day(moment, zone) < of:
        moment += _QUARTER_MS
    return moment


def _local_day(ms: int, zone: tzinfo) -> date:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone).date()


def _calendar(strategy: str, now_ms: int, zone: tzinfo) -> tuple[int, int]:
    first = _local_day(now_ms, zone)
    if strategy == "weekly":
        while first.isoweekday() != 1:
            first -= timedelta(days=1)
        after = first + timedelta(days=7)
    elif strategy == "monthly":
        after = first
        while after.month == first.month:
            after += timedelta(days=1)
        first = date(first.year, first.month, 1)
    else:
        after = first + timedelta(days=1)
    return _first_moment(first, zone), _first_moment(after, zone)


def _session(limit: _Told, group: object, uses: list[Use], now_ms: int) -> tuple[int, int] | None:
    """Remembers only the end of the last session: earlier records open no session any more."""
    assert limit.minutes is not None
    length_ms = limit.minutes * _MINUTE_MS
    while True:
        ended = limit.session_ends.get(group, 0)
        opening = min((use.ts_ms for use in uses if use.counted and use.ts_ms >= ended), default=None)
        if opening is None or opening > now_ms:
            return None
        if opening + length_ms > now_ms:
            return opening, opening + length_ms
        limit.session_ends[group] = opening + length_ms


_Expected = dict[tuple[str, object, str], tuple[float, float, float, int | None, int | None]]


def _recomputed(limits: list[_Told], uses: list[Use], resets: dict[str, int], now_ms: int) -> _Expected:
    """By limit, group and unit: used, budget, ratio, start, reset."""
    expected: _Expected = {}
    for limit in limits:
        groups: dict[object, list[Use]] = {} if limit.per else {"": []}
        for use in uses:
            if limit.counts(use):
                groups.setdefault(_group(limit, use), []).append(use)
        for group, own in groups.items():
            start: int | None
            reset: int | None
            if limit.strategy == "session":
                start, reset = _session(limit, group, own, now_ms) or (None, None)
            elif limit.strategy == "rolling":
                start, reset = now_ms - (limit.minutes or 0) * _MINUTE_MS, None
            else:
                start, reset = _calendar(limit.strategy, now_ms, limit.zone)
            for anchor in (limit.anchor_ms, resets.get(limit.id)):
                if start is not None and anchor is not None and start < anchor <= now_ms:
                    start = anchor
            inside = [
                use for use in own if start is not None and start <= use.ts_ms and (reset is None or use.ts_ms < reset)
            ]
            used: dict[str, int | Fraction] = {
                "tokens": sum(use.token_sum for use in inside),
                "requests": sum(use.counted for use in inside),
                "usd": Fraction(sum(use.nano_usd for use in inside), 10**9),
            }
            for unit, budget in limit.budgets.items():
                ratio = float(Fraction(used[unit]) / Fraction(budget))
                expected[limit.id, group, unit] = (float(used[unit]), float(budget), ratio, start, reset)
    return expected


def _shown(limits: list[_Told], windows: list[LimitWindow]) -> _Expected:
    per = {limit.id: limit.per for limit in limits}
    shown: _Expected = {}
    for window in windows:
        whose = {"credential": (window.proxy, window.credential.removeprefix(window.provider + "-"))}
        group: object = whose.get(per[window.limit] or "", window.scope)
        if isinstance(group, str):
            group = group.removeprefix("client-")
        assert window.used is not None
        assert window.budget is not None
        key = (window.limit, group, window.unit)
        assert key not in shown, "two windows with the same labels"
        shown[key] = (window.used, window.budget, window.used_ratio, window.start_ms, window.reset_ms)
    return shown


# --- what may happen --------------------------------------------------------------------------------------------------

_ZONES = [
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Santiago",
    "America/Havana",
    "Pacific/Apia",
    "UTC",
]
# Nights in which one of the zones changes its clock, ends of months and years, and the day that Apia skipped.
_NIGHTS = [
    "2026-03-29T00:30",
    "2026-10-25T00:30",
    "2026-04-04T14:50",
    "2026-10-03T15:20",
    "2026-09-06T03:30",
    "2026-04-05T02:30",
    "2026-11-01T04:40",
    "2026-02-28T22:10",
    "2026-12-31T23:10",
    "2011-12-30T09:50",
    "2026-07-15T06:00",
]
_PROXIES, _MODELS, _ACCOUNTS, _CLIENTS = ("p", "q"), ("opus[1m]", "opus-4", "haiku"), ("a1", "a2"), ("ann", "bob")
# Each of these is one way to say what counts, with its meaning.
_MATCHES: list[tuple[list[str], Callable[[Use], bool]]] = [
    ([], lambda _: True),
    (["provider: CLAUDE"], lambda use: use.provider == "claude"),
    (["models: ['opus[1m]']"], lambda use: use.model == "opus[1m]"),
    (["models: ['opus-?', haiku]"], lambda use: use.model in ("opus-4", "haiku")),
    (["model_pattern: 'p_s'"], lambda use: use.model.startswith("opus")),
    (["proxy: q", "client: client-b*"], lambda use: (use.proxy, use.client) == ("q", "bob")),
    (["credential: '*-a2'"], lambda use: use.account == "a2"),
    (["provider: nobody"], lambda _: False),
]
_OFFSET = st.one_of(
    st.integers(0, 2 * _HOUR_MS),
    st.integers(0, 3 * _DAY_MS),
    st.integers(-2 * _HOUR_MS, 45 * _DAY_MS),
    st.sampled_from([0, 1, 5 * _HOUR_MS, 5 * _HOUR_MS + 1, 7 * _DAY_MS, _QUARTER_MS]),
)


@st.composite
def _limits(draw: st.DrawFn, now_ms: int) -> list[_Told]:
    found: list[_Told] = []
    for number in range(draw(st.integers(1, 5))):
        strategy = draw(st.sampled_from(["daily", "weekly", "monthly", "rolling", "session", "session"]))
        lines, counts = draw(st.sampled_from(_MATCHES))
        per = draw(st.sampled_from([None, None, "credential", "client", "model"]))
        zone = draw(st.sampled_from(["", *_ZONES]))
        minutes = draw(st.sampled_from([1, 15, 300, 301, 1440, 10_080])) if strategy in ("rolling", "session") else None
        budgets: dict[str, int | Fraction] = {}
        for unit in draw(st.sets(st.sampled_from(["tokens", "requests", "usd"]), min_size=1)):
            whole = draw(st.integers(1, 10**6))
            budgets[unit] = Fraction(whole, 1000) if unit == "usd" else whole
        anchor_ms = draw(st.one_of(st.none(), _OFFSET.map(lambda back: now_ms - back)))
        told = [f"id: limit-{number}", f"strategy: {strategy}", *lines]
        told += [f"{unit}: {float(budget) if unit == 'usd' else budget}" for unit, budget in budgets.items()]
        told += [f"window_minutes: {minutes}"] if minutes else []
        told += [f"per: {per}"] if per else []
        told += [f"timezone: {zone}"] if zone else []
        if anchor_ms is not None:
            moment = datetime.fromtimestamp(anchor_ms // 1000, UTC) + timedelta(milliseconds=anchor_ms % 1000)
            told.append(f"reset_anchor_timestamp: {moment.isoformat()}")
        found.append(
            _Told(
                id=f"limit-{number}",
                lines=told,
                strategy=strategy,
                zone=ZoneInfo(zone) if zone else _HOME,
                minutes=minutes,
                per=per,
                counts=counts,
                budgets=budgets,
                anchor_ms=anchor_ms,
            )
        )
    return found


_HOME = timezone(timedelta(hours=5, minutes=45))


@st.composite
def _use(draw: st.DrawFn, now_ms: int) -> Use:
    ts_ms = now_ms - draw(_OFFSET)
    edge = draw(st.sampled_from(["as it is", "as it is", "at the edge", "before the edge"]))
    if edge != "as it is":
        ts_ms = ts_ms // _QUARTER_MS * _QUARTER_MS - (edge == "before the edge")
    account = draw(st.sampled_from(_ACCOUNTS))
    numbers = st.integers(0, 1000)
    return Use(
        ts_ms=ts_ms,
        proxy=draw(st.sampled_from(_PROXIES)),
        provider="claude" if account == "a1" else "codex",  # an account belongs to one provider
        model=draw(st.sampled_from(_MODELS)),
        account=account,
        client=draw(st.sampled_from(_CLIENTS)),
        tokens=Tokens(
            uncached=draw(numbers),
            cache_read=draw(numbers),
            cache_write=draw(numbers),
            output=draw(numbers) + 5,
            reasoning=5,
            unclassified=draw(numbers),
        ),
        nano_usd=draw(st.integers(0, 10**11)),
        counted=draw(st.sampled_from([True, True, True, False])),
        code=draw(st.sampled_from(["", "", "429"])),
    )


_STEP = st.sampled_from(["book", "book", "book", "pass", "pass", "reset", "restart", "look"])
_PASSING = st.one_of(
    st.integers(1, 3_600_000),
    st.integers(1, 30 * _HOUR_MS),
    st.sampled_from([1, _QUARTER_MS, 5 * _HOUR_MS, _DAY_MS, 8 * _DAY_MS]),
)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_limits_equal_a_recomputation_whatever_the_order_of_events(data: st.DataObject) -> None:
    night = datetime.fromisoformat(data.draw(st.sampled_from(_NIGHTS))).replace(tzinfo=UTC)
    begin_ms = int(night.timestamp() * 1000) + data.draw(st.integers(-_HOUR_MS, _HOUR_MS))
    limits = data.draw(_limits(begin_ms))
    text = "\n".join(["limits:", *("- " + "\n  ".join(limit.lines) for limit in limits), ""])
    note(text)
    with tempfile.TemporaryDirectory() as folder:
        clock = TurnableClock(begin_ms / 1000)
        bench = LimitBench(Path(folder), text, clock=clock, zone=_HOME)
        uses: list[Use] = []
        resets: dict[str, int] = {}
        for _ in range(data.draw(st.integers(2, 9))):
            step = data.draw(_STEP)
            if step == "book":
                new = data.draw(st.lists(_use(bench.now_ms), min_size=1, max_size=6))
                bench.book(*new)
                uses += new
                if data.draw(st.booleans()):
                    continue  # several batches from one evaluation to the next
            elif step == "pass":
                clock.advance(data.draw(_PASSING) / 1000)
            elif step == "reset":
                limit = data.draw(st.sampled_from(limits))
                resets[limit.id] = bench.now_ms
                bench.board.reset(limit.id)
                clock.advance(0.001)
            elif step == "restart":
                bench.restart()
            assert _shown(limits, bench.windows()) == _recomputed(limits, uses, resets, bench.now_ms)
        bench.restart()
        assert _shown(limits, bench.windows()) == _recomputed(limits, uses, resets, bench.now_ms)
        bench.ledger.close()
