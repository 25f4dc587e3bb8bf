"""The format of our own price lists: the overlay that ships with the program, and the user's price file.

A file is a list ``prices`` of rows. Prices are USD per million tokens, written as decimals and read as text, so that no
binary float touches them. The reader reports all problems at once, with their lines; it rejects a file with a problem
as a whole, because half a price list is a wrong one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Any, Self, cast
from zoneinfo import ZoneInfo

from pydantic import Field, ModelWrapValidatorHandler, PlainValidator, ValidationInfo, model_validator

from exporter.pricing.cost import Rates, Tariff, Tier, pico_per_token
from exporter.pricing.lookup import ANY_PROVIDER, Listed
from exporter.pricing.model_names import clean
from exporter.pricing.schedule import MINUTE_MS, Schedule, read_day, read_hours, read_weekday, read_zone
from exporter.records import BASE_TIERS
from exporter.settings.problems import shown, wrong
from exporter.settings.yaml_rows import NOT_EMPTY, Missing, Row, read_rows, text

DEFAULT_MODEL = "_default"
"""The name of the row that prices every model without a row anywhere."""

_BUCKETS = ("input", "cache_read", "cache_write", "output")
_PRICE = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?", re.ASCII)
_SIZE = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_WORD = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """One row of a file. ``names`` are the model's name and aliases, in lower case; ``line`` is where the row begins.

    It holds from ``from_ms`` (ms since the epoch) until before ``until_ms``; ``None`` is open-ended. With a
    ``schedule`` it holds only at those hours and outranks a row without one. ``tariff`` is ``None`` in a row that only
    adds service tiers to another list's row, or has the prices of ``same_as``, written ``provider/model``. A row that
    ``corrects`` outranks the other list's.
    """

    provider: str
    names: tuple[str, ...]
    from_ms: int | None
    until_ms: int | None
    schedule: Schedule | None = None
    corrects: bool = False
    same_as: str = ""
    tariff: Tariff | None
    service_tiers: Mapping[str, Tariff]
    source: str
    checked: date | None
    line: int

    def holds_at(self, at_ms: int) -> bool:
        return (
            (self.from_ms is None or self.from_ms <= at_ms)
            and (self.until_ms is None or at_ms < self.until_ms)
            and (self.schedule is None or self.schedule.holds_at(at_ms))
        )

    def overlaps(self, other: "FileRow") -> bool:
        """Whether both hold at the same moment, and neither outranks the other."""
        if self.schedule is None or other.schedule is None:
            if self.schedule is not other.schedule:
                return False
        elif not self.schedule.overlaps(other.schedule):
            return False
        return (self.from_ms is None or other.until_ms is None or self.from_ms < other.until_ms) and (
            other.from_ms is None or self.until_ms is None or other.from_ms < self.until_ms
        )


@dataclass(frozen=True, kw_only=True)
class PriceFile:
    """The content of a file. ``rows`` follows the order of the file, without the default."""

    rows: tuple[FileRow, ...] = ()
    default: Tariff | None = None
    one_hour_writes: frozenset[str] = frozenset()
    """Providers, in lower case, whose cache writes live for an hour."""


def read_price_file(path: Path, *, setting: str, overlay: bool = False) -> PriceFile:
    """Read a file. Raises ProblemsError. ``setting`` is the setting that names its path.

    ``overlay`` allows what only a list on top of another one needs: rows with service tiers alone, corrections, and
    further names of its rows.
    """
    reading = _Reading()
    file = read_rows(path, _OverlayFile if overlay else _File, setting=setting, needs="prices", context=reading)
    one_hour_writes = frozenset(name.lower() for name, ttl in file.cache_write_ttl.items() if ttl == "1h")
    return PriceFile(rows=tuple(reading.rows), default=reading.default, one_hour_writes=one_hour_writes)


@dataclass
class _Reading:
    """The rows so far; each further row must fit them."""

    rows: list[FileRow] = field(default_factory=list)
    default: Tariff | None = None

    def add(self, row: FileRow) -> None:
        """Raises the error of a row that contradicts an earlier one."""
        if row.names[0] == DEFAULT_MODEL:
            if self.default is not None:
                raise wrong(f"There is a second row {DEFAULT_MODEL}.", "Keep one of them.")
            self.default = _default(row)
            return
        for other in self.rows:
            same = [name for name in row.names if name in other.names]
            if same and row.provider == other.provider and row.overlaps(other):
                raise wrong(
                    f"{same[0]} has a price for the same time in line {other.line} already.",
                    "Separate the two with from and to, or keep one of them.",
                )
        self.rows.append(row)


class DatedRow:
    """The rows of one file for one provider and name, one after another in time. See ``Row``."""

    times: tuple[int, ...] = ()

    def __init__(self, rows: tuple[FileRow, ...], *, origin: str) -> None:
        self.rows = sorted(rows, key=lambda row: row.schedule is None)
        self.origin = origin
        self.schedule: Callable[[int], object] | None = None
        if any(row.schedule is not None for row in rows):
            self.schedule = lru_cache(maxsize=4096)(self._line_in)

    @cached_property
    def dates(self) -> list[int]:
        return sorted({edge for row in self.rows for edge in (row.from_ms, row.until_ms) if edge is not None})

    def at(self, at_ms: int) -> Listed | None:
        row = self.row_at(at_ms)
        if row is None or row.tariff is None:
            return None
        return Listed(tariff=row.tariff, service_tiers=row.service_tiers, origin=self.origin)

    def _line_in(self, minute: int) -> int | None:
        """The line of the row that holds in a minute since the epoch. No row begins or ends within a minute."""
        row = self.row_at(minute * MINUTE_MS)
        return row.line if row is not None else None

    def row_at(self, at_ms: int) -> FileRow | None:
        """The row that holds at a moment (ms since the epoch)."""
        return next((row for row in self.rows if row.holds_at(at_ms)), None)


def by_name(rows: tuple[FileRow, ...], *, list_name: str) -> dict[str, dict[str, DatedRow]]:
    """The rows by provider and name. Each origin begins with ``list_name``."""
    grouped: dict[tuple[str, str], list[FileRow]] = {}
    for row in rows:
        for name in row.names:
            grouped.setdefault((row.provider, name), []).append(row)
    sections: dict[str, dict[str, DatedRow]] = {}
    for (provider, name), found in grouped.items():
        shown_name = "/".join(part for part in (provider, found[0].names[0]) if part)
        sections.setdefault(provider, {})[name] = DatedRow(tuple(found), origin=f"{list_name} {shown_name}")
    return sections


def _default(row: FileRow) -> Tariff:
    """The default price: for every model and time, so that there always is one."""
    tariff = row.tariff
    limited = row.provider or len(row.names) > 1 or row.from_ms or row.until_ms or row.schedule or row.service_tiers
    if limited or tariff is None:
        why = f"{DEFAULT_MODEL} is for every provider, time and service tier."
        raise wrong(why, "Give it prices and tiers only.")
    if tariff.output is None:
        raise wrong(f"{DEFAULT_MODEL} has no price for output.", "Add output.")
    return Tariff(
        **_with_cache(tariff),
        tiers=tuple(Tier(above_tokens=tier.above_tokens, **_with_cache(tier)) for tier in tariff.tiers),
    )


def _with_cache(rates: Rates) -> dict[str, Any]:
    """The prices; cached input without its own price has the price of other input."""
    return {
        "input": rates.input,
        "output": rates.output,
        "cache_read": rates.input if rates.cache_read is None else rates.cache_read,
        "cache_write": rates.input if rates.cache_write is None else rates.cache_write,
    }


# --- fields -----------------------------------------------------------------------------------------------------------


def _price(value: object, info: ValidationInfo) -> int:
    price = text(value, info)
    if not _PRICE.fullmatch(price):
        raise wrong(
            f"{shown(price)} is no price.",
            "Give USD per million tokens, for example 3 or 0.075, with six decimals at most.",
        )
    return pico_per_token(Decimal(price))


def _name(value: object, info: ValidationInfo) -> str:
    if info.field_name == "aliases" and not (isinstance(value, str) and value):
        raise wrong("An alias is not a name.", "Write one name a line, each after a dash.")
    name = clean(text(value, info))
    if not name:
        raise wrong(f"{shown(str(value))} can be no model's name.", "Write the name that the metrics show.")
    return name


def _size(value: object) -> int:
    if not isinstance(value, str) or not _SIZE.fullmatch(value):
        raise wrong(_NO_SIZE.why, _NO_SIZE.fix)
    return int(value)


def _service_tier(name: str) -> str:
    if name in BASE_TIERS:
        raise wrong(f"{name} is the base tier.", "Its prices stand in the row itself.")
    if not _WORD.fullmatch(name):
        raise wrong(f"{shown(name)} is no service tier.", "Write it in lower case, for example priority.")
    return name


def _lifetime(value: object) -> str:
    if value not in ("5m", "1h"):
        raise wrong("This lifetime of cache writes is not known.", "Write 5m or 1h.")
    return str(value)


_NO_SIZE = Missing("The tier does not say above how many tokens.", "Add above: 200000, for example.")
_NO_INPUT = Missing("There is no price for input.", "Add input: and USD per million tokens.")
_NO_LIST = Missing("The file has no list of prices.", "Write prices: and below it one row a model.")

_Text = Annotated[str, PlainValidator(text)]
_Name = Annotated[str, PlainValidator(_name)]
_Price = Annotated[int, PlainValidator(_price)]
_Day = Annotated[date, PlainValidator(read_day)]
_Zone = Annotated[ZoneInfo, PlainValidator(read_zone)]
_Weekday = Annotated[int, PlainValidator(read_weekday)]
_Hours = Annotated[tuple[int, int], PlainValidator(read_hours)]
_ServiceTier = Annotated[str, PlainValidator(_service_tier)]
_Lifetime = Annotated[str, PlainValidator(_lifetime)]

# --- rows -------------------------------------------------------------------------------------------------------------


class _Rates(Row):
    input: Annotated[_Price, _NO_INPUT]
    cache_read: _Price | None = None
    cache_write: _Price | None = None
    output: _Price | None = None

    def rates(self) -> dict[str, Any]:
        """By bucket. An unpriced cache write costs as much as input, as in the package's rows."""
        cache_write = self.input if self.cache_write is None else self.cache_write
        return {
            "input": self.input,
            "cache_read": self.cache_read,
            "cache_write": cache_write,
            "output": self.output,
        }


class _Tier(_Rates, title="A tier"):
    above: Annotated[int, PlainValidator(_size), _NO_SIZE]


class _Prices(_Rates):
    tiers: tuple[_Tier, ...] = ()

    def tariff(self) -> Tariff:
        """Raises the error of tiers that do not fit together."""
        base = Tariff(**self.rates())
        tiers = tuple(Tier(above_tokens=tier.above, **tier.rates()) for tier in self.tiers)
        for index, tier in enumerate(tiers):
            _refuse_other_buckets(tier, base, "The tier", "tiers", index)
        sizes = [tier.above_tokens for tier in tiers]
        if sizes != sorted(set(sizes)):
            raise wrong("The tiers do not rise.", "List each size once, the smallest first.", "tiers")
        return replace(base, tiers=tiers)


class _PriceRow(_Prices, title="A row of prices"):
    model: Annotated[_Name, Missing("The row names no model.", "Add model: and the name that the metrics show.")]
    provider: _Text = ANY_PROVIDER
    aliases: tuple[_Name, ...] = ()
    from_: Annotated[_Day | None, Field(alias="from")] = None
    to: _Day | None = None
    source: _Text = ""
    checked: _Day | None = None
    zone: _Zone = ZoneInfo("UTC")
    days: Annotated[tuple[_Weekday, ...], NOT_EMPTY] = ()
    hours: Annotated[tuple[_Hours, ...], NOT_EMPTY] = ()
    holidays: Annotated[tuple[_Day, ...], NOT_EMPTY] = ()
    service_tiers: dict[_ServiceTier, _Prices] = Field(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _add(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        row = handler(data)
        cast("_Reading", info.context).add(row._file_row(data.line))
        return row

    def _tariff(self) -> Tariff | None:
        return self.tariff()

    def _file_row(self, line: int) -> FileRow:
        """Raises the error of fields that do not fit together."""
        tariff = self._tariff()
        service_tiers = {name: prices.tariff() for name, prices in self.service_tiers.items()}
        for name, other in service_tiers.items():
            if tariff is not None:
                _refuse_other_buckets(other, tariff, f"The service tier {name}", "service_tiers")
        if self.from_ is not None and self.to is not None and self.to <= self.from_:
            raise wrong("The row ends before it begins.", "Give a day after from.", "to")
        if self.holidays and not (self.days or self.hours):
            raise wrong("The row has holidays, and no days or hours.", "Add days or hours.", "holidays")
        return FileRow(
            provider=self.provider.lower(),
            names=tuple(dict.fromkeys((self.model, *self.aliases))),
            from_ms=self._midnight_ms(self.from_),
            until_ms=self._midnight_ms(self.to),
            schedule=self._schedule(),
            tariff=tariff,
            service_tiers=service_tiers,
            source=self.source,
            checked=self.checked,
            line=line,
        )

    def _midnight_ms(self, day: date | None) -> int | None:
        return None if day is None else int(datetime.combine(day, time(), tzinfo=self.zone).timestamp()) * 1000

    def _schedule(self) -> Schedule | None:
        if not self.days and not self.hours:
            return None
        return Schedule(
            zone=self.zone,
            days=frozenset(self.days or range(7)),
            hours=self.hours or ((0, 24 * 60),),
            holidays=frozenset(self.holidays),
        )


class _OverlayRow(_PriceRow, title="A row of prices"):
    input: _Price | None = None  # type: ignore[assignment]  # a row may have no prices
    corrects: _Text = ""
    same_as: _Text = ""

    def _file_row(self, line: int) -> FileRow:
        return replace(super()._file_row(line), corrects=bool(self.corrects), same_as=self.same_as)

    def _tariff(self) -> Tariff | None:
        given = self.model_fields_set
        if "input" in given:
            return self.tariff()
        if given & {*_BUCKETS, "tiers"} or ("same_as" in given) == ("service_tiers" in given):
            raise wrong(_NO_INPUT.why, _NO_INPUT.fix)
        return None


class _File(Row):
    cache_write_ttl: dict[str, _Lifetime] = Field(default_factory=dict)
    prices: Annotated[tuple[_PriceRow, ...], _NO_LIST] = ()


class _OverlayFile(_File):
    prices: Annotated[tuple[_OverlayRow, ...], _NO_LIST] = ()


def _refuse_other_buckets(rates: Rates, base: Rates, what: str, *at: str | int) -> None:
    """A tier may leave a bucket out by mistake, or because it costs the same. We do not guess which."""
    for bucket in _BUCKETS:
        price = rates.by_bucket()[bucket]
        if (price is None) != (base.by_bucket()[bucket] is None):
            lacks, has = ("it", "the row") if price is None else ("the row", "it")
            raise wrong(f"{what}: {has} has a price for {bucket}, and {lacks} has none.", "Give both, or none.", *at)
