"""The format of the limits file: ``defaults`` for the thresholds, and a list ``limits``.

Everything that is wrong is reported at once, with its line; a file with a problem is not used at all.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from pydantic_core import PydanticCustomError

from exporter.limits.model import Limit, Per, Unit, moment_ms
from exporter.limits.strategies import LONGEST_WINDOW_MINUTES, Strategy, window_length_ms
from exporter.limits.windows import DEFAULT_THRESHOLDS, Thresholds
from exporter.settings import checks, yaml_file
from exporter.settings.problems import Problem, nearest, shown
from exporter.settings.yaml_rows import Wrong, refuse_unknown, text_of, unknown_fields

_THRESHOLDS = ("warning", "critical")
_TEXTS = ("name", "proxy", "provider", "model_pattern", "credential", "client")
_LIMIT = (
    "id",
    *_TEXTS,
    "models",
    *Unit,
    "strategy",
    "window_minutes",
    "per",
    *_THRESHOLDS,
    "timezone",
    "reset_anchor_timestamp",
)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_COUNT = re.compile(r"[0-9][0-9_]{0,23}", re.ASCII)
_MOST = 10**18
_USD = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
_LONGEST_TEXT = 200
_Choice = TypeVar("_Choice", Strategy, Per)
_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class LimitFile:
    """What a file says. ``thresholds`` hold for the windows that providers report, too."""

    limits: tuple[Limit, ...] = ()
    thresholds: Thresholds = DEFAULT_THRESHOLDS


def read_limit_file(path: Path, *, setting: str, zone: tzinfo) -> LimitFile | list[Problem]:
    """Read a file, or say all that is wrong with it.

    ``setting`` is where its path was given, ``zone`` is the zone of limits that name none.
    """
    read = yaml_file.read_yaml(path, shown_as=path.name, setting=setting)
    if isinstance(read, Problem):
        return [read]
    reader = _Reader(setting=setting, name=path.name, zone=zone)
    file = reader.file(read)
    return reader.problems or file


class _Reader:
    """Reads one file and collects what is wrong with it."""

    def __init__(self, *, setting: str, name: str, zone: tzinfo) -> None:
        self._wrong: list[Wrong] = []
        self._setting = setting
        self._name = name
        self._zone = zone
        self._thresholds = DEFAULT_THRESHOLDS

    def file(self, root: yaml_file.Mapping) -> LimitFile:
        self._wrong += unknown_fields(root, ("defaults", "limits"))
        self._thresholds = self._read(lambda: _defaults(root), DEFAULT_THRESHOLDS)
        nothing: tuple[yaml_file.Node, ...] = ()
        rows = self._read(lambda: _list_of_limits(root), nothing)
        limits: list[Limit] = []
        lines: dict[str, int] = {}
        for node in rows:
            if isinstance(node, yaml_file.Mapping):
                limits.append(self._limit(node, lines))
            else:
                self._wrong.append(Wrong(node.line, "A limit is not a mapping.", "Write its fields as name: value."))
        return LimitFile(limits=tuple(limits), thresholds=self._thresholds)

    @property
    def problems(self) -> list[Problem]:
        """All that was wrong, in the order of its lines."""
        return [
            wrong.problem(setting=self._setting, file=self._name)
            for wrong in sorted(self._wrong, key=lambda wrong: wrong.line)
        ]

    def _read(self, read: Callable[[], _Value], instead: _Value) -> _Value:
        """What ``read`` returns, or ``instead`` with the problem noted, so that what follows is read, too."""
        try:
            return read()
        except Wrong as wrong:
            self._wrong.append(wrong)
            return instead

    def _limit(self, node: yaml_file.Mapping, lines: dict[str, int]) -> Limit:
        """The limit, with stand-ins for what is wrong with it. ``lines`` are those of the ids so far."""
        self._wrong += unknown_fields(node, _LIMIT)
        id_ = self._read(lambda: _id(node, lines), "")
        strategy = self._read(lambda: _strategy(node), None)
        texts = {field: self._read(partial(_short, node, field), "") for field in _TEXTS}
        return Limit(
            id=id_,
            name=texts["name"] or id_,
            strategy=strategy or Strategy.DAILY,
            zone=self._read(lambda: _zone(node), None) or self._zone,
            budgets=self._budgets(node),
            window_ms=self._read(lambda: _window_ms(node, strategy), None) if strategy else None,
            provider=texts["provider"].lower(),  # as proxies write it, so that the dashboards find its limit
            proxy=texts["proxy"],
            credential=texts["credential"],
            client=texts["client"],
            models=self._read(lambda: _models(node), ()),
            model_pattern=texts["model_pattern"],
            per=self._read(lambda: _choice(node, "per", Per), None),
            thresholds=self._read(lambda: _thresholds(node, self._thresholds), DEFAULT_THRESHOLDS),
            anchor_ms=self._read(lambda: _anchor_ms(node), None),
        )

    def _budgets(self, node: yaml_file.Mapping) -> tuple[tuple[Unit, int], ...]:
        found: list[tuple[Unit, int]] = []
        for unit in Unit:
            budget = self._read(partial(_budget, node, unit), None)
            if budget is not None:
                found.append((unit, budget))
        if not node.values.keys() & set(Unit):
            self._wrong.append(Wrong(node.line, "The limit has no budget.", f"Add one or more of {', '.join(Unit)}."))
        return tuple(found)


def _defaults(root: yaml_file.Mapping) -> Thresholds:
    node = root.values.get("defaults")
    if node is None:
        return DEFAULT_THRESHOLDS
    if not isinstance(node, yaml_file.Mapping):
        raise Wrong(node.line, "defaults is not a mapping.", "Write warning: and critical: below it.")
    refuse_unknown(node, _THRESHOLDS)
    return _thresholds(node, DEFAULT_THRESHOLDS)


def _list_of_limits(root: yaml_file.Mapping) -> tuple[yaml_file.Node, ...]:
    node = root.values.get("limits")
    if node is None and "defaults" in root.values:
        return ()  # thresholds for the providers' windows alone
    if isinstance(node, yaml_file.Items):
        return node.values
    raise Wrong(
        node.line if node is not None else root.line,
        "The file has no list of limits.",
        "Write limits: and below it one limit after each dash.",
    )


def _id(node: yaml_file.Mapping, lines: dict[str, int]) -> str:
    text = text_of(node, "id")
    if text is None:
        raise Wrong(node.line, "The limit has no id.", "Add id: a short name that never changes, such as claude-day.")
    if not _ID.fullmatch(text):
        raise Wrong(
            node.key_lines["id"],
            f"{shown(text)} is no id.",
            "Use up to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit.",
        )
    if text in lines:
        raise Wrong(
            node.key_lines["id"],
            f"{shown(text)} is the id of the limit in line {lines[text]} already.",
            "Give each limit its own id.",
        )
    lines[text] = node.line
    return text


def _strategy(node: yaml_file.Mapping) -> Strategy:
    strategy = _choice(node, "strategy", Strategy)
    if strategy is None:
        raise Wrong(node.line, "The limit has no strategy.", f"Add strategy: one of {', '.join(Strategy)}.")
    return strategy


def _short(node: yaml_file.Mapping, field: str) -> str:
    text = text_of(node, field) or ""
    if not text.isprintable():
        raise Wrong(node.key_lines[field], f"{field} holds a line break or control character.", "Remove it.")
    if len(text) > _LONGEST_TEXT:
        raise Wrong(node.key_lines[field], f"{field} is longer than {_LONGEST_TEXT} characters.", "Shorten it.")
    return text


def _choice(node: yaml_file.Mapping, field: str, of: type[_Choice]) -> _Choice | None:
    text = text_of(node, field)
    if text is None:
        return None
    try:
        return of(text.lower())
    except ValueError:
        guess = nearest(text.lower(), of)
        fix = f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(of)}."
        raise Wrong(node.key_lines[field], f"{shown(text)} is no {field}.", fix) from None


def _zone(node: yaml_file.Mapping) -> tzinfo | None:
    text = text_of(node, "timezone")
    if text is None:
        return None
    try:
        return ZoneInfo(checks.zone_name(text))
    except PydanticCustomError as error:
        context = error.context or {}
        raise Wrong(node.key_lines["timezone"], context["why"], context["fix"]) from None


def _budget(node: yaml_file.Mapping, unit: Unit) -> int | None:
    text = text_of(node, unit)
    if text is None:
        return None
    budget = _nano_usd(text) if unit is Unit.USD else _count(text)
    if budget is None:
        example = "12.50" if unit is Unit.USD else "5_000_000"
        raise Wrong(
            node.key_lines[unit],
            f"{shown(text)} is no budget of {unit}.",
            f"Give a number above 0, for example {example}.",
        )
    return budget


def _count(text: str) -> int | None:
    number = int(text) if _COUNT.fullmatch(text) and not text.endswith("_") and "__" not in text else 0
    return number if 0 < number <= _MOST else None


def _nano_usd(text: str) -> int | None:
    return int(Decimal(text).scaleb(9)) or None if _USD.fullmatch(text) else None


def _window_ms(node: yaml_file.Mapping, strategy: Strategy) -> int | None:
    text = text_of(node, "window_minutes")
    if not strategy.has_length:
        if text is not None:
            raise Wrong(
                node.key_lines["window_minutes"],
                f"A {strategy} limit has the calendar's windows.",
                "Remove window_minutes, or use the strategy rolling or session.",
            )
        return None
    if text is None:
        raise Wrong(
            node.line, f"A {strategy} limit needs window_minutes.", "Add it, for example window_minutes: 300 for 5 h."
        )
    length_ms = window_length_ms(_count(text) or 0)
    if length_ms is None:
        raise Wrong(
            node.key_lines["window_minutes"],
            f"{shown(text)} is no length of a window.",
            f"Give minutes, from 1 to {LONGEST_WINDOW_MINUTES} (366 days).",
        )
    return length_ms


def _models(node: yaml_file.Mapping) -> tuple[str, ...]:
    listed = node.values.get("models")
    if listed is None:
        return ()
    items = listed.values if isinstance(listed, yaml_file.Items) else (listed,)
    texts = [item.text.strip() for item in items if isinstance(item, yaml_file.Scalar) and item.text]
    if not texts or len(texts) != len(items) or not all(0 < len(text) <= _LONGEST_TEXT for text in texts):
        raise Wrong(
            node.key_lines["models"],
            "models is no list of names.",
            "Write exact names or globs such as claude-*, one after each dash, or leave it out for all models.",
        )
    return tuple(texts)


def _thresholds(node: yaml_file.Mapping, default: Thresholds) -> Thresholds:
    given = {field: _share(node, field) for field in _THRESHOLDS}
    warning, critical = given["warning"], given["critical"]
    # Of one alone, the other gives way where it would stand on the wrong side.
    found = Thresholds(
        warning=warning or min(default.warning, critical or 1.0),
        critical=critical or max(default.critical, warning or 0.0),
    )
    if found.warning > found.critical:
        raise Wrong(
            node.key_lines["warning"], "The threshold warning is above critical.", "Give warning the smaller share."
        )
    return found


def _share(node: yaml_file.Mapping, field: str) -> float | None:
    text = text_of(node, field)
    if text is None:
        return None
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise Wrong(
            node.key_lines[field],
            f"{shown(text)} is no threshold.",
            "Give a share of the budget above 0 and not above 1, for example 0.8 for 80 %.",
        )
    return share


def _anchor_ms(node: yaml_file.Mapping) -> int | None:
    text = text_of(node, "reset_anchor_timestamp")
    if text is None:
        return None
    anchor_ms = moment_ms(text)
    if anchor_ms is None:
        raise Wrong(
            node.key_lines["reset_anchor_timestamp"],
            f"{shown(text)} is no moment.",
            "Write it with its distance from UTC, as 2026-11-24T18:30:00+01:00 or 2026-11-24T17:30:00Z.",
        )
    return anchor_ms
