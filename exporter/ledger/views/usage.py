"""Usage in any span: sums grouped in any way, and single requests. It is behind the page, report and API.

A sum is exact to the quarter of an hour. Whole days come from the sums of days if there are any, the rest from the
roll-up, whichever way reads fewer rows: the smaller part of a cut day is added or subtracted. Where every series counts
and no groups are wanted, a day is one row.
"""

import sqlite3
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

from exporter.ledger.amounts import DAY_SUMS, Amounts
from exporter.ledger.columns import TOKENS
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.store.day_sums import ALL_SERIES
from exporter.records import MONEY_FIRST, Billing

_Key = TypeVar("_Key", bound=Hashable)
_first = attrgetter("first")


class Usage(dict[int, Amounts]):
    """Sums by kind of billing; those of a kind that did not occur are 0."""

    def __missing__(self, billing: int) -> Amounts:
        return Amounts()

    @property
    def total(self) -> Amounts:
        """The sums over all kinds. Of money there is none: its ``nano_usd`` has no meaning."""
        return Amounts.total([*self.values()])

    def cost(self, billing: int) -> int:
        """In nano-USD."""
        return self[billing].nano_usd

    @property
    def billings(self) -> tuple[Billing, ...]:
        """The kinds worth showing, money first: those with a cost, or else all that occurred."""
        worth = {billing for billing, amounts in self.items() if amounts.nano_usd}
        return tuple(billing for billing in MONEY_FIRST if billing in (worth or self))

    @property
    def rank(self) -> tuple[int, ...]:
        """Sorts the dearest first: money decides before the value of subscriptions, which is no money."""
        return (*(-self.cost(billing) for billing in MONEY_FIRST), -self.total.requests)


def usage_by(rows: Iterable[tuple[_Key, int, Sequence[int]]]) -> defaultdict[_Key, Usage]:
    """The usage of each key, from rows of key, billing and amounts; other keys have none."""
    parts: defaultdict[tuple[_Key, int], list[Sequence[int]]] = defaultdict(list)
    for key, billing, amounts in rows:
        parts[key, billing].append(amounts)
    found: defaultdict[_Key, Usage] = defaultdict(Usage)
    for (key, billing), some in parts.items():
        found[key][billing] = Amounts.total(some)
    return found


class Span(NamedTuple):
    """Buckets of the roll-up from ``first`` up to but not including ``last``."""

    first: int
    last: int


_DAY = (
    ", ".join(f"sum(r.{column})" for column in DAY_SUMS),
    "day_rollup r cross join temp.grouped g on g.series = r.series where r.day = :first",
)
_PART = (
    ", ".join(f"sum(:sign * ({column}))" for column in DAY_SUMS.values()),
    "rollup r cross join temp.grouped g on g.series = r.series where r.bucket >= :first and r.bucket < :last",
)
_DAY_OF_ALL = (_DAY[0], f"day_rollup r where r.day = :first and r.series = {ALL_SERIES}")
# One piece at a time, because sorting all of them for their groups would take more memory than a connection has.
_GROUPED = "select g.number, r.billing, {} from {} group by 1, 2"
# Without groups nothing is sorted, which would take most of the time.
_TOTAL = "select 0, :billing, {} from {} and r.billing = :billing"


class UsageSums:
    """The sums of ``spans`` by group, and of ``totals`` over all groups; spans may overlap.

    ``groups`` maps each series that counts to its group. ``connection`` comes from ``Ledger.reading``.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        groups: Mapping[int, int],
        spans: Iterable[Span],
        *,
        totals: Iterable[Span] = (),
    ) -> None:
        spans, totals = list(spans), list(totals)
        _group(connection, groups)
        edges = sorted({edge for span in (*spans, *totals) for edge in span})
        self._at = {edge: place for place, edge in enumerate(edges)}
        by_group = {place for span in spans for place in self._places(span)}
        wanted = sorted(by_group.union(*map(self._places, totals)))
        cuts = {place: Span(edges[place], edges[place + 1]) for place in wanted}
        self._rows = _read(connection, cuts, by_group)
        self._totals = usage_by((place, row[1], row[2:]) for place, rows in self._rows.items() for row in rows)

    def by_group(self, span: Span, only: Collection[int] | None = None) -> dict[int, Usage]:
        """The usage in a span within ``spans`` by group, ``only`` of these groups if they are given."""
        rows = (row for place in self._places(span) for row in self._rows[place])
        found = usage_by((row[0], row[1], row[2:]) for row in rows if only is None or row[0] in only)
        return {group: used for group, usage in found.items() if (used := _used(usage))}

    def total(self, span: Span) -> Usage:
        """The usage in a span over all groups."""
        parts = (part for place in self._places(span) for part in self._totals[place].items())
        return _used(usage_by((None, *part) for part in parts)[None])

    def _places(self, span: Span) -> range:
        return range(self._at[span.first], self._at[span.last])


def _group(connection: sqlite3.Connection, groups: Mapping[int, int]) -> None:
    """Fill the table ``temp.grouped`` with series and their groups."""
    connection.execute("create temp table if not exists grouped (series integer primary key, number integer not null)")
    connection.execute("delete from temp.grouped")
    connection.executemany("insert into temp.grouped (series, number) values (?, ?)", groups.items())


def _read(
    connection: sqlite3.Connection, spans: Mapping[int, Span], by_group: Collection[int]
) -> dict[int, list[tuple[int, ...]]]:
    """Rows of group, billing and amounts for each of the spans, which do not overlap; some by group."""
    days = [Span(*row) for row in connection.execute("select day, until_bucket from summed_day order by day")]
    found: dict[int, list[tuple[int, ...]]] = {place: [] for place in spans}
    (are_all,) = connection.execute(
        "select not exists (select 1 from series where id not in (select series from temp.grouped))"
    ).fetchone()
    for place, span in spans.items():
        for first, last, sign, form in _pieces(span, days):
            if first == last:
                continue
            piece = {"first": first, "last": last, "sign": sign}
            if place in by_group:
                found[place] += connection.execute(_GROUPED.format(*form), piece)
            else:
                total = _TOTAL.format(*(_DAY_OF_ALL if form is _DAY and are_all else form))
                rows = [connection.execute(total, piece | {"billing": each}).fetchone() for each in Billing]
                found[place] += [row for row in rows if row[2] is not None]
    return found


def _pieces(span: Span, days: Sequence[Span]) -> Iterator[tuple[int, int, int, tuple[str, str]]]:
    """What to read for a span: first bucket, end, sign, and how. ``days`` do not overlap."""
    at = span.first
    nearest = bisect_right(days, span.first, key=_first) - 1
    for day in days[max(0, nearest) : bisect_left(days, span.last, key=_first)]:
        first, last = max(at, day.first), min(span.last, day.last)
        if 2 * (last - first) <= day.last - day.first:
            continue  # the smaller part of a day
        yield at, first, 1, _PART
        yield day.first, day.last, 1, _DAY
        yield day.first, first, -1, _PART
        yield last, day.last, -1, _PART
        at = last
    yield at, span.last, 1, _PART


def _used(usage: Usage) -> Usage:
    """The usage without kinds of billing that are 0 throughout: a day minus a part of it may leave nothing of one."""
    return Usage({billing: amounts for billing, amounts in usage.items() if any(amounts)})


# --- single requests -----------------------------------------------------------------------------------------------


class SingleRequest(NamedTuple):
    """An entry: when it was sent (ms since the epoch), tokens, nano-USD, how long it took in ms (0: unknown)."""

    ts_ms: int
    series: int
    billing: int
    code: str
    tokens: int
    nano_usd: int
    latency_ms: int


_READ = f"select e.ts_ms, e.series, e.billing, e.code, {TOKENS}, e.nano_usd, e.latency_ms from"
_CHOSEN = "in (select series from temp.grouped)"
_FAILED = (
    f"{_READ} entry e where e.ts_ms >= :since and e.ts_ms < :until and e.counted and e.series {_CHOSEN}"
    " and e.code <> '' order by e.ts_ms desc, e.id desc limit :most"
)
# The N dearest requests lie in at most N rows of the roll-up, those with the highest ``dearest``. Where entries have
# been deleted, that may be the cost of a deleted one, so the few that are left are read instead. A plus keeps SQLite
# from making an index first.
_DEAREST = f"""
with best as (
    select bucket, series, basis, billing from rollup
    where bucket >= max(:whole, :since / {BUCKET_MS}) and bucket < :until / {BUCKET_MS} and dearest > 0
    and series {_CHOSEN} order by dearest desc, bucket desc limit :most)
select * from (
    {_READ} best b cross join entry e on e.ts_ms >= b.bucket * {BUCKET_MS} and e.ts_ms < (b.bucket + 1) * {BUCKET_MS}
    where +e.series = b.series and +e.basis = b.basis and +e.billing = b.billing and e.counted and e.nano_usd > 0
    union all
    {_READ} entry e where e.ts_ms >= :since and e.ts_ms < min(:until, :whole * {BUCKET_MS})
    and e.series {_CHOSEN} and e.counted and e.nano_usd > 0
) order by nano_usd desc, ts_ms desc limit :most"""


def read_requests(
    connection: sqlite3.Connection, series: Mapping[int, int], since_ms: int, until_ms: int, *, most: int
) -> tuple[list[SingleRequest], list[SingleRequest]]:
    """The last failed and the dearest requests in whole quarters of an hour, at most ``most`` of each.

    The keys of ``series`` are those that count. ``connection`` comes from ``Ledger.reading``.
    """
    _group(connection, series)
    (pruned_ms,) = connection.execute("select coalesce(max(pruned_before_ms), 0) from proxy").fetchone()
    span = {"since": since_ms, "until": until_ms, "whole": -(-pruned_ms // BUCKET_MS), "most": most}
    failed, dearest = (connection.execute(each, span).fetchall() for each in (_FAILED, _DEAREST))
    return [SingleRequest(*row) for row in failed], [SingleRequest(*row) for row in dearest]
