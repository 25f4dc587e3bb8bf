"""The format of our own price lists: the overlay, and the user's price file.

A file is a list ``prices`` of rows. Prices are USD per million tokens, written as decimals and read as text, so that no
binary float touches them. The reader reports all problems at once, with their lines; it rejects a file with a problem
as a whole, because half a price list is a wrong one.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property, lru_cache, partial
from math import inf
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, Self, TypeVar, cast
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, ModelWrapValidatorHandler, PlainValidator, ValidationInfo, model_validator

from exporter.days import day_start_ms
from exporter.pricing.lookup import ANY_PROVIDER
from exporter.pricing.model_names import clean
from exporter.pricing.price import BUCKETS, Price, Rates, Rule, Tariff, Tier, pico_per_token
from exporter.records import BASE_TIERS
from exporter.sentences import pattern, say
from exporter.settings.kinds import Day, Zone, read_by, text
from exporter.settings.problems import shown, wrong
from exporter.settings.yaml_rows import Row, read_rows

DEFAULT_MODEL = "_default"
"""The name of the row that prices every model without a row anywhere."""

_PRICE = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?", re.ASCII)
_WORD = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]|24(?=:00)):([0-5][0-9])", re.ASCII)


def read_price_file(path: Path) -> "PriceFile":
    """Read a user's file. Raises ProblemsError."""
    return read_rows(path, PriceFile, setting="EXPORTER_PRICES_FILE", needs="prices")


# --- fields -----------------------------------------------------------------------------------------------------------


def _hours(written: str) -> tuple[int, int] | None:
    """The span as minutes of the day, its end excluded; None if the text is no such span."""
    match = _HOURS.fullmatch(written)
    parts = [int(part) for part in match.groups()] if match else [0, 0, 0, 0]
    start, end = parts[0] * 60 + parts[1], parts[2] * 60 + parts[3]
    return (start, end) if start < end else None


def _service_tier(name: str) -> str:
    if name in BASE_TIERS:
        raise wrong("{name} is the base tier.", "Its prices stand in the row itself.", name=name)
    if not _WORD.fullmatch(name):
        fix = say("Write it in lower case, for example priority.")
        raise wrong("{name} is not a service tier.", fix, name=shown(name))
    return name


_Text = Annotated[str, PlainValidator(text)]
_Name = Annotated[
    str,
    read_by(
        lambda written: clean(written) or None,
        "{value} cannot be a model's name.",
        "Write the name that the metrics show.",
    ),
]
_Price = Annotated[
    int,
    read_by(
        lambda written: pico_per_token(Decimal(written)) if _PRICE.fullmatch(written) else None,
        "{value} is not a price.",
        "Give USD per million tokens, for example 3 or 0.075, with six decimals at most.",
    ),
]
_Size = Annotated[
    int,
    read_by(
        lambda written: size if 0 < (size := int(written)) < 10**9 else None,
        "{value} does not say above how many tokens.",
        "Write a number, for example 200000.",
    ),
]
_Weekday = Annotated[
    int,
    read_by(
        lambda text: _DAYS.index(text.lower()), "{value} is not a weekday.", "Use {known}.", known=", ".join(_DAYS)
    ),
]
_Hours = Annotated[
    tuple[int, int],
    read_by(
        _hours,
        "{value} are not hours.",
        "Write them as 09:00-12:00; split hours that span midnight, as 22:00-24:00 and 00:00-06:00.",
    ),
]
_ServiceTier = Annotated[str, PlainValidator(_service_tier)]
_NOT_EMPTY = BeforeValidator(lambda value: value or None)
"""For the type of a list: an empty list counts as missing."""

# --- rows -------------------------------------------------------------------------------------------------------------


class _Rates(Row):
    input: _Price
    cache_read: _Price | None = None
    cache_write: _Price | None = None
    output: _Price | None = None

    def rates(self) -> dict[str, Any]:
        """The prices by bucket. An unpriced cache write costs as much as input, as in the package's rows."""
        rates = {bucket: getattr(self, bucket) for bucket in BUCKETS}
        return {**rates, "cache_write": self.input if self.cache_write is None else self.cache_write}


class _Tier(_Rates):
    above: _Size


class _Prices(_Rates):
    tiers: tuple[_Tier, ...] = ()

    def to_tariff(self, *at: str) -> Tariff:
        """The tariff; raises an error if tiers do not fit together. ``at`` is the path from the row to these prices."""
        base = Tariff(**self.rates())
        tiers = tuple(Tier(above_tokens=tier.above, **tier.rates()) for tier in self.tiers)
        for index, tier in enumerate(tiers):
            _refuse_other_buckets(tier, base, say("The tier"), *at, "tiers", index)
        sizes = [tier.above_tokens for tier in tiers]
        if sizes != sorted(set(sizes)):
            raise wrong("The tiers do not rise.", "List each size once, the smallest first.", *at, "tiers")
        return replace(base, tiers=tiers)


class PriceRow(_Prices):
    """What a model costs during some time. Names are in lower case, prices in pico-USD per token.

    It holds from the start of the day ``from_`` to the start of the day ``to``, in its ``zone``; None is open-ended.
    With ``days`` (0 is Monday) or ``hours`` (minutes of the day, the end excluded) it holds only then, not on
    ``holidays``, and outranks a row without them.
    """

    model: _Name
    provider: Annotated[str, PlainValidator(lambda value: text(value).lower())] = ANY_PROVIDER
    aliases: tuple[_Name, ...] = ()
    from_: Annotated[Day | None, Field(alias="from")] = None
    to: Day | None = None
    source: _Text = ""
    checked: Day | None = None
    zone: Zone = ZoneInfo("UTC")
    days: Annotated[tuple[_Weekday, ...], _NOT_EMPTY] = tuple(range(7))
    hours: Annotated[tuple[_Hours, ...], _NOT_EMPTY] = ((0, 24 * 60),)
    holidays: Annotated[tuple[Day, ...], _NOT_EMPTY] = ()
    service_tiers_: Annotated[dict[_ServiceTier, _Prices], Field(alias="service_tiers", default_factory=dict)]

    @model_validator(mode="wrap")
    @classmethod
    def _fits(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Refuse fields that do not fit together, and rows that contradict an earlier one."""
        row = handler(data)
        tariff = row.tariff
        for name, special in row.service_tiers.items():
            if tariff is not None:
                what = say("The service tier {name}", name=name)
                _refuse_other_buckets(special, tariff, what, "service_tiers")
        if row.until_ms <= row.from_ms:
            raise wrong("The row ends before it begins.", "Give a day after from.", "to")
        if row.holidays and not row.has_hours:
            raise wrong("The row has holidays, and no days or hours.", "Add days or hours.", "holidays")
        earlier = cast("dict[str, list[tuple[int, PriceRow]]]", info.context).setdefault("with lines", [])
        if row.model == DEFAULT_MODEL:
            if any(other.model == DEFAULT_MODEL for _, other in earlier):
                raise wrong("There is a second row {name}.", "Keep one of them.", name=DEFAULT_MODEL)
            _default(row)
        for line, other in earlier:
            same = [name for name in row.names if name in other.names]
            if same and row.provider == other.provider and row.overlaps(other):
                raise wrong(
                    "{name} has a price for the same time in line {line} already.",
                    "Separate the two with from and to, or keep one of them.",
                    name=same[0],
                    line=line,
                )
        earlier.append((data.at.line, row))
        return row

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.model, *self.aliases)))

    @cached_property
    def tariff(self) -> Tariff | None:
        """The prices; None in a row that has none of its own."""
        return self.to_tariff()

    @cached_property
    def service_tiers(self) -> Mapping[str, Tariff]:
        return {name: prices.to_tariff("service_tiers", name) for name, prices in self.service_tiers_.items()}

    @cached_property
    def from_ms(self) -> float:
        """When the row begins, in ms since the epoch; infinite, like ``until_ms``, if it is open-ended."""
        return -inf if self.from_ is None else day_start_ms(self.from_, self.zone)

    @cached_property
    def until_ms(self) -> float:
        return inf if self.to is None else day_start_ms(self.to, self.zone)

    @property
    def has_hours(self) -> bool:
        """Whether it holds only on some weekdays or at some hours."""
        return not self.model_fields_set.isdisjoint({"days", "hours"})

    def holds_at(self, at_ms: int) -> bool:
        """Whether it holds at a moment (ms since the epoch). Nothing changes within a minute."""
        if not self.from_ms <= at_ms < self.until_ms:
            return False
        if not self.has_hours:
            return True
        local = datetime.fromtimestamp(at_ms // 1000, self.zone)
        minute = local.hour * 60 + local.minute
        return (
            local.weekday() in self.days
            and local.date() not in self.holidays
            and any(start <= minute < end for start, end in self.hours)
        )

    def overlaps(self, other: "PriceRow") -> bool:
        """Whether both may hold at one moment, and neither outranks the other. Hours in different zones always may."""
        week_meets = self.zone != other.zone or (
            not {*self.days}.isdisjoint(other.days)
            and any(a < other_end and b > start for a, b in self.hours for start, other_end in other.hours)
        )
        return (
            self.has_hours == other.has_hours
            and week_meets
            and self.from_ms < other.until_ms
            and other.from_ms < self.until_ms
        )


class OverlayRow(PriceRow):
    """A row of the overlay, which completes another list.

    A row that ``corrects`` outranks the other list's row. A row without prices adds service tiers to that row, or has
    the prices of the row ``same_as``, written ``provider/model``.
    """

    input: _Price | None = None  # type: ignore[assignment]  # a row may have no prices
    corrects: _Text = ""
    same_as: _Text = ""

    @cached_property
    def tariff(self) -> Tariff | None:
        given = self.model_fields_set
        if "input" in given:
            return self.to_tariff()
        if given & {*BUCKETS, "tiers"} or ("same_as" in given) == ("service_tiers_" in given):
            raise wrong("{name} is missing.", "Add {known}.", name="input", known="input")
        return None


def _hourly_write(rates: Rates) -> dict[str, int]:
    """A write into a cache that lives an hour costs 2 x input instead of Anthropic's 1.25 x."""
    is_known = rates.cache_write is not None and rates.cache_write * 4 == rates.input * 5
    return {"cache_write": rates.input * 2} if is_known else {}


_ONE_HOUR = Rule(_hourly_write, "writes    live in the cache for an hour, as cache_write_ttl in your price file says")


class PriceFile(Row):
    """The content of a file."""

    cache_write_ttl: dict[str, Literal["5m", "1h"]] = Field(default_factory=dict)
    prices: tuple[PriceRow, ...] = ()

    @property
    def rows(self) -> list[PriceRow]:
        """The rows except the default."""
        return [row for row in self.prices if row.model != DEFAULT_MODEL]

    @property
    def default(self) -> Tariff | None:
        return next((_default(row) for row in self.prices if row.model == DEFAULT_MODEL), None)

    @property
    def rules(self) -> dict[str, tuple[Rule, ...]]:
        """The rules that change the prices of other lists, by provider in lower case."""
        return {name.lower(): (_ONE_HOUR,) for name, ttl in self.cache_write_ttl.items() if ttl == "1h"}


class Overlay(PriceFile):
    """The content of the overlay."""

    prices: tuple[OverlayRow, ...] = ()


def _refuse_other_buckets(rates: Rates, base: Rates, what: str, *at: str | int) -> None:
    """A tier may leave a bucket out by mistake, or because it costs the same. We do not guess which."""
    for bucket in BUCKETS:
        price = rates.by_bucket()[bucket]
        if (price is None) != (base.by_bucket()[bucket] is None):
            why = pattern("{what}: it has a price for {bucket}, and the row has none.")
            if price is None:
                why = pattern("{what}: the row has a price for {bucket}, and it has none.")
            raise wrong(why, "Give both, or none.", *at, what=what, bucket=bucket)


def _default(row: PriceRow) -> Tariff:
    """The default price. Its row must hold for every model and time, so that there always is one."""
    tariff = row.tariff
    limited = row.provider or len(row.names) > 1 or row.from_ or row.to or row.has_hours or row.service_tiers
    if limited or tariff is None:
        why = pattern("{name} is for every provider, time and service tier.")
        raise wrong(why, "Give it prices and tiers only.", name=DEFAULT_MODEL)
    if tariff.output is None:
        raise wrong("{name} has no price for output.", "Add output.", name=DEFAULT_MODEL)
    return replace(tariff.with_cache(), tiers=tuple(tier.with_cache() for tier in tariff.tiers))


# --- rows in order of time --------------------------------------------------------------------------------------------

_MINUTE_MS = 60_000
_Row = TypeVar("_Row", bound=PriceRow)


class DatedRow(Generic[_Row]):
    """The rows of one file for one provider and name, one after another in time. See ``lookup.Row``."""

    def __init__(self, rows: Sequence[_Row], *, origin: str) -> None:
        self.rows = sorted(rows, key=lambda row: not row.has_hours)
        self.origin = origin
        edges = {edge for row in rows for edge in (row.from_ms, row.until_ms)}
        self.cell: Callable[[int], Hashable] = partial(bisect_right, sorted(edges))
        if self.rows[0].has_hours:
            number_in = lru_cache(maxsize=4096)(self._number_in)
            self.cell = lambda at_ms: number_in(at_ms // _MINUTE_MS)

    def at(self, at_ms: int) -> Price | None:
        row = self.row_at(at_ms)
        if row is None or row.tariff is None:
            return None
        return Price(origin=self.origin, tariff=row.tariff, service_tiers=row.service_tiers)

    def _number_in(self, minute: int) -> int | None:
        """The index of the row that holds in a minute since the epoch; None if none does."""
        return next((number for number, row in enumerate(self.rows) if row.holds_at(minute * _MINUTE_MS)), None)

    def row_at(self, at_ms: int) -> _Row | None:
        """The row that holds at a moment (ms since the epoch)."""
        return next((row for row in self.rows if row.holds_at(at_ms)), None)


def by_name(rows: Iterable[_Row], *, list_name: str) -> dict[str, dict[str, DatedRow[_Row]]]:
    """The rows by provider and name. Each origin begins with ``list_name``."""
    grouped: dict[tuple[str, str], list[_Row]] = {}
    for row in rows:
        for name in row.names:
            grouped.setdefault((row.provider, name), []).append(row)
    sections: dict[str, dict[str, DatedRow[_Row]]] = {}
    for (provider, name), found in grouped.items():
        shown_name = "/".join(filter(None, (provider, found[0].model)))
        sections.setdefault(provider, {})[name] = DatedRow(found, origin=f"{list_name} {shown_name}")
    return sections
