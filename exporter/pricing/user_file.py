"""The format of our own price lists: the overlay that comes with the program, and the user's price file.

A file is a list ``prices`` of rows. Prices are USD per million tokens, written as decimals and read as text, so that no
binary float touches them. Everything that is wrong is reported at once, with the line; a file with a problem is not
used at all, because half of a price list is a wrong one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from exporter.pricing.cost import Rates, Tariff, Tier, pico_per_token
from exporter.pricing.lookup import ANY_PROVIDER, Listed
from exporter.pricing.model_names import clean
from exporter.pricing.schedule import FIELDS, MINUTE_MS, Schedule, read_schedule, read_zone, to_day
from exporter.records import BASE_TIERS
from exporter.settings import yaml_file
from exporter.settings.problems import Problem, shown
from exporter.settings.yaml_rows import Wrong, refuse_unknown, text_of

DEFAULT_MODEL = "_default"
"""The name of the row that prices every model that has no row anywhere."""

_BUCKETS = ("input", "cache_read", "cache_write", "output")
_ABOUT = ("model", "provider", "aliases", "from", "to", "source", "checked")
_ROW = (*_ABOUT, *FIELDS, *_BUCKETS, "tiers", "service_tiers")
_OVERLAY_ROW = (*_ROW, "corrects")
_SAME_ROW = (*_ABOUT, "same_as")
_TIERS_ONLY_ROW = (*_ABOUT, "service_tiers")
_SERVICE_TIER = (*_BUCKETS, "tiers")
_TIER = ("above", *_BUCKETS)
_PRICE = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?", re.ASCII)
_SIZE = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_WORD = re.compile(r"[a-z0-9_-]{1,40}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class FileRow:
    """One row of a file. ``names`` are the model's own and its aliases, in lower case; ``line`` is where it begins.

    It holds from ``from_ms`` (ms since the epoch) until before ``until_ms``; ``None`` is without an end. If it has a
    ``schedule``, it holds at those hours only, and goes before a row without one. ``tariff`` is ``None`` in a row that
    only adds service tiers to what another list says of the model, or is the ``same_as`` another one's, given as
    ``provider/model``. A row that ``corrects`` goes before that list.
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
        """Whether both say something about the same moment, and neither goes before the other."""
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
    """What a file says. ``rows`` is in the order of the file and leaves the default out."""

    rows: tuple[FileRow, ...] = ()
    default: Tariff | None = None
    one_hour_writes: frozenset[str] = frozenset()
    """Providers, in lower case, whose cache writes live for an hour."""


def read_price_file(path: Path, *, setting: str, overlay: bool = False) -> PriceFile | list[Problem]:
    """Read a file, or say all that is wrong with it. ``setting`` is where its path was given.

    ``overlay`` allows what only a list over another one needs: rows that price service tiers only,
    corrections, and further names of its rows.
    """
    read = yaml_file.read_yaml(path, shown_as=path.name, setting=setting)
    if isinstance(read, Problem):
        return [read]
    reader = _Reader(setting=setting, name=path.name, overlay=overlay)
    file = reader.file(read)
    return reader.problems or file


class DatedRow:
    """The rows of one file for one name of one provider, which follow each other in time. See ``Row``."""

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
        """The line of the row that holds in a minute (since the epoch). No row begins or ends within one."""
        row = self.row_at(minute * MINUTE_MS)
        return row.line if row is not None else None

    def row_at(self, at_ms: int) -> FileRow | None:
        """The row that holds at a moment (ms since the epoch)."""
        return next((row for row in self.rows if row.holds_at(at_ms)), None)


def by_name(rows: tuple[FileRow, ...], *, list_name: str) -> dict[str, dict[str, DatedRow]]:
    """The rows by provider and name. ``list_name`` begins the origin of each."""
    grouped: dict[tuple[str, str], list[FileRow]] = {}
    for row in rows:
        for name in row.names:
            grouped.setdefault((row.provider, name), []).append(row)
    sections: dict[str, dict[str, DatedRow]] = {}
    for (provider, name), found in grouped.items():
        shown_name = "/".join(part for part in (provider, found[0].names[0]) if part)
        sections.setdefault(provider, {})[name] = DatedRow(tuple(found), origin=f"{list_name} {shown_name}")
    return sections


class _Reader:
    """Reads the rows of one file and collects what is wrong with them."""

    def __init__(self, *, setting: str, name: str, overlay: bool) -> None:
        self.problems: list[Problem] = []
        self._setting = setting
        self._name = name
        self._overlay = overlay

    def file(self, root: yaml_file.Mapping) -> PriceFile:
        try:
            one_hour_writes = _one_hour_writes(root)
            listed = _list_of_prices(root)
        except Wrong as wrong:
            self._report(wrong)
            return PriceFile()
        rows: list[FileRow] = []
        default: Tariff | None = None
        for node in listed.values:
            try:
                row = self._row(node)
                if row.names[0] == DEFAULT_MODEL:
                    default = _default(row, again=default is not None)
                else:
                    _refuse_overlap(row, rows)
                    rows.append(row)
            except Wrong as wrong:
                self._report(wrong)
        return PriceFile(rows=tuple(rows), default=default, one_hour_writes=one_hour_writes)

    def _report(self, wrong: Wrong) -> None:
        self.problems.append(wrong.problem(setting=self._setting, file=self._name))

    def _row(self, node: yaml_file.Node) -> FileRow:
        if not isinstance(node, yaml_file.Mapping):
            raise Wrong(node.line, "A row of prices is not a mapping.", "Write its fields as name: value.")
        service_tiers = dict(self._service_tiers(node))
        only_tiers = self._overlay and service_tiers and not any(bucket in node.values for bucket in _BUCKETS)
        same_as = (text_of(node, "same_as") or "") if self._overlay else ""
        known = _OVERLAY_ROW if self._overlay else _ROW
        refuse_unknown(node, _SAME_ROW if same_as else _TIERS_ONLY_ROW if only_tiers else known)
        tariff = None if only_tiers or same_as else _tariff(node)
        for name, other in service_tiers.items():
            if tariff is not None:
                _same_buckets(other, tariff, node.key_lines["service_tiers"], f"The service tier {name}")
        zone = read_zone(node)
        from_ms, until_ms = _midnight(node, "from", zone), _midnight(node, "to", zone)
        if from_ms is not None and until_ms is not None and until_ms <= from_ms:
            raise Wrong(node.key_lines["to"], "The row ends before it begins.", "Give a day after from.")
        checked = _day(node, "checked")
        return FileRow(
            provider=(text_of(node, "provider") or ANY_PROVIDER).lower(),
            names=tuple(dict.fromkeys(_names(node))),
            from_ms=from_ms,
            until_ms=until_ms,
            schedule=read_schedule(node, zone),
            corrects="corrects" in node.values,
            same_as=same_as,
            tariff=tariff,
            service_tiers=service_tiers,
            source=text_of(node, "source") or "",
            checked=checked,
            line=node.line,
        )

    def _service_tiers(self, node: yaml_file.Mapping) -> Iterator[tuple[str, Tariff]]:
        listed = node.values.get("service_tiers")
        if listed is None:
            return
        if not isinstance(listed, yaml_file.Mapping):
            raise Wrong(
                listed.line, "service_tiers is not a mapping.", "Write one service tier a line, as name: prices."
            )
        for name, prices in listed.values.items():
            line = listed.key_lines[name]
            if name in BASE_TIERS:
                raise Wrong(line, f"{name} is the base tier.", "Its prices stand in the row itself.")
            if not _WORD.fullmatch(name):
                raise Wrong(line, f"{shown(name)} is no service tier.", "Write it in lower case, for example priority.")
            if not isinstance(prices, yaml_file.Mapping):
                raise Wrong(line, f"The service tier {name} has no prices.", "Write input: and output: below it.")
            refuse_unknown(prices, _SERVICE_TIER)
            yield name, _tariff(prices)


def _one_hour_writes(root: yaml_file.Mapping) -> frozenset[str]:
    refuse_unknown(root, ("prices", "cache_write_ttl"))
    listed = root.values.get("cache_write_ttl")
    if listed is None:
        return frozenset()
    if not isinstance(listed, yaml_file.Mapping):
        raise Wrong(listed.line, "cache_write_ttl is not a mapping.", "Write one provider a line, as claude: 1h.")
    lives = {provider.lower(): text_of(listed, provider) for provider in listed.values}
    for provider, lived in lives.items():
        if lived not in ("5m", "1h"):
            raise Wrong(listed.line, f"The cache_write_ttl of {shown(provider)} is not known.", "Write 5m or 1h.")
    return frozenset(provider for provider, lived in lives.items() if lived == "1h")


def _list_of_prices(root: yaml_file.Mapping) -> yaml_file.Items:
    listed = root.values.get("prices")
    if listed is None and "cache_write_ttl" in root.values:
        return yaml_file.Items(line=root.line, values=())
    if not isinstance(listed, yaml_file.Items):
        raise Wrong(root.line, "The file has no list of prices.", "Write prices: and below it one row a model.")
    return listed


def _default(row: FileRow, *, again: bool) -> Tariff:
    """The default price: for every model and every time, so that there always is one."""
    if again:
        raise Wrong(row.line, f"There is a second row {DEFAULT_MODEL}.", "Keep one of them.")
    tariff = row.tariff
    if (
        row.provider
        or len(row.names) > 1
        or row.from_ms
        or row.until_ms
        or row.schedule
        or row.service_tiers
        or tariff is None
    ):
        raise Wrong(
            row.line,
            f"{DEFAULT_MODEL} is for every provider, time and service tier.",
            "Give it prices and tiers only.",
        )
    if tariff.output is None:
        raise Wrong(row.line, f"{DEFAULT_MODEL} has no price for output.", "Add output.")
    return Tariff(
        **_with_cache(tariff),
        tiers=tuple(Tier(above_tokens=tier.above_tokens, **_with_cache(tier)) for tier in tariff.tiers),
    )


def _with_cache(rates: Rates) -> dict[str, Any]:
    """The prices with cached input at the price of other input where it has none of its own."""
    return {
        "input": rates.input,
        "output": rates.output,
        "cache_read": rates.input if rates.cache_read is None else rates.cache_read,
        "cache_write": rates.input if rates.cache_write is None else rates.cache_write,
    }


def _refuse_overlap(row: FileRow, rows: list[FileRow]) -> None:
    for other in rows:
        same = [name for name in row.names if name in other.names]
        if same and row.provider == other.provider and row.overlaps(other):
            raise Wrong(
                row.line,
                f"{same[0]} has a price for the same time in line {other.line} already.",
                "Separate the two with from and to, or keep one of them.",
            )


def _names(node: yaml_file.Mapping) -> Iterator[str]:
    own = text_of(node, "model")
    if own is None:
        raise Wrong(node.line, "The row names no model.", "Add model: and the name that the metrics show.")
    aliases = node.values.get("aliases")
    if aliases is not None and not isinstance(aliases, yaml_file.Items):
        raise Wrong(aliases.line, "aliases is not a list.", "Write one name a line, each after a dash.")
    yield _name(own, node.key_lines["model"])
    for each in aliases.values if aliases is not None else ():
        if not isinstance(each, yaml_file.Scalar) or each.text is None:
            raise Wrong(each.line, "An alias is not a name.", "Write one name a line, each after a dash.")
        yield _name(each.text, each.line)


def _name(text: str, line: int) -> str:
    name = clean(text)
    if not name:
        raise Wrong(line, f"{shown(text)} can be no model's name.", "Write the name that the metrics show.")
    return name


def _day(node: yaml_file.Mapping, field: str) -> date | None:
    text = text_of(node, field)
    return None if text is None else to_day(text, node.key_lines[field])


def _midnight(node: yaml_file.Mapping, field: str, zone: tzinfo) -> int | None:
    day = _day(node, field)
    return None if day is None else int(datetime.combine(day, time(), tzinfo=zone).timestamp()) * 1000


def _tariff(node: yaml_file.Mapping) -> Tariff:
    rates = _rates(node)
    base = Tariff(**rates)
    listed = node.values.get("tiers")
    if listed is not None and not isinstance(listed, yaml_file.Items):
        raise Wrong(listed.line, "tiers is not a list.", "Write one tier after a dash, with above and its prices.")
    tiers: list[Tier] = []
    for each in listed.values if listed is not None else ():
        if not isinstance(each, yaml_file.Mapping):
            raise Wrong(each.line, "A tier is not a mapping.", "Write above: and the prices below one dash.")
        refuse_unknown(each, _TIER)
        above = text_of(each, "above") or ""
        if not _SIZE.fullmatch(above):
            raise Wrong(each.line, "The tier does not say above how many tokens.", "Add above: 200000, for example.")
        tier = Tier(above_tokens=int(above), **_rates(each))
        _same_buckets(tier, base, each.line, "The tier")
        tiers.append(tier)
    sizes = [tier.above_tokens for tier in tiers]
    if sizes != sorted(set(sizes)):
        raise Wrong(node.key_lines["tiers"], "The tiers do not rise.", "List each size once, the smallest first.")
    return Tariff(**rates, tiers=tuple(tiers))


def _rates(node: yaml_file.Mapping) -> dict[str, Any]:
    rates = {bucket: _price(node, bucket) for bucket in _BUCKETS}
    if rates["input"] is None:
        raise Wrong(node.line, "There is no price for input.", "Add input: and USD per million tokens.")
    if rates["cache_write"] is None:
        rates["cache_write"] = rates["input"]  # as in the package's rows: see genai.py
    return rates


def _price(node: yaml_file.Mapping, bucket: str) -> int | None:
    text = text_of(node, bucket)
    if text is None:
        return None
    if not _PRICE.fullmatch(text):
        raise Wrong(
            node.key_lines[bucket],
            f"{shown(text)} is no price.",
            "Give USD per million tokens, for example 3 or 0.075, with six decimals at most.",
        )
    return pico_per_token(Decimal(text))


def _same_buckets(rates: Rates, base: Rates, line: int, what: str) -> None:
    """Whether a tier leaves a bucket out by mistake or because it costs the same is not for us to guess."""
    for bucket in _BUCKETS:
        price = rates.by_bucket()[bucket]
        if (price is None) != (base.by_bucket()[bucket] is None):
            lacks, has = ("it", "the row") if price is None else ("the row", "it")
            raise Wrong(line, f"{what}: {has} has a price for {bucket}, and {lacks} has none.", "Give both, or none.")
