"""The format of the limits file: the thresholds ``defaults``, and the lists ``limits`` and ``plans``.

All mistakes are reported at once, with their lines; a file with a mistake is not used at all.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, tzinfo
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo, model_validator

from exporter.days import moment_ms
from exporter.limits.model import Limit, Per, Thresholds, Unit, is_like
from exporter.limits.strategies import LONGEST_WINDOW_MINUTES, MINUTE_MS, Strategy
from exporter.sentences import say
from exporter.settings.kinds import IN_LOWER_CASE, ONE_OR_LIST, PRINTABLE, Day, Zone, read_by, text
from exporter.settings.problems import shown, wrong
from exporter.settings.watched import WatchedFile
from exporter.settings.yaml_rows import Row, read_rows

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST = 10**18
_CURRENCY = re.compile(r"[A-Za-z]{3}", re.ASCII)
_USD = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


def read_limit_file(path: Path, *, zone: tzinfo) -> "LimitSet":
    """Read a file. Raises ProblemsError. ``zone`` is the zone of limits that name none."""
    file = read_rows(path, _File, setting="EXPORTER_LIMITS_FILE", needs="limits")
    thresholds = _thresholds(file.defaults, Thresholds())
    return LimitSet(
        limits=tuple(row.limit(thresholds, zone) for row in file.limits),
        plans=file.plans,
        thresholds=thresholds,
    )


def watch_limit_file(path: Path, *, zone: tzinfo) -> "WatchedFile[LimitSet]":
    """Watch a file: it is read now, and again when it has changed. Raises ProblemsError."""
    return WatchedFile(
        path,
        partial(read_limit_file, zone=zone),
        kind=say("limits file"),
        name=say("limits"),
        size=lambda file: {"limits": len(file.limits)},
    )


# --- fields -----------------------------------------------------------------------------------------------------------


def _id(value: object, info: ValidationInfo[dict[str, Any]]) -> str:
    id_ = text(value)
    if not _ID.fullmatch(id_):
        raise wrong(
            "{value} is not an id.",
            "Use up to 64 letters, digits, dots, dashes and underscores, beginning with a letter or digit.",
            value=shown(id_),
        )
    if info.context.setdefault(id_, value) is not value:
        raise wrong(
            "{value} is already the id of the limit in line {line}.",
            "Give each limit its own id.",
            value=shown(id_),
            line=info.context[id_].at.line,
        )
    return id_


def _count(written: str) -> int | None:
    return count if 0 < (count := int(written)) <= _MOST else None


def _nano_usd(written: str) -> int | None:
    return int(Decimal(written).scaleb(9)) or None if _USD.fullmatch(written) else None


def _budget(unit: Unit, read: Callable[[str], int | None], example: str) -> PlainValidator:
    return read_by(
        read,
        "{value} is not a budget in {unit}.",
        "Give a number above 0, for example {example}.",
        unit=unit,
        example=example,
    )


def _has_a_budget(value: object, info: ValidationInfo) -> object:
    if value is None and all(info.data.get(other, 0) is None for other in (Unit.TOKENS, Unit.REQUESTS)):
        raise wrong("The limit has no budget.", "Add one or more of {known}.", known=", ".join(Unit))
    return value


def _fits_the_strategy(value: object, info: ValidationInfo) -> object:
    strategy = info.data.get("strategy")
    if strategy is None:
        return None  # it is wrong, and already reported
    if value is None and strategy.has_length:
        fix = say("Add it, for example window_minutes: 300 for 5 h.")
        raise wrong("A {strategy} limit needs window_minutes.", fix, strategy=strategy)
    if value is not None and not strategy.has_length:
        fix = say("Remove window_minutes, or use the strategy rolling or session.")
        raise wrong("A {strategy} limit follows the calendar.", fix, strategy=strategy)
    return value


def _not_above_critical(share: float, info: ValidationInfo) -> float:
    if share > (info.data.get("critical") or 1):
        raise wrong("The threshold warning is above critical.", "Give warning the smaller share.")
    return share


_Text = Annotated[str, Field(min_length=1, max_length=200), PRINTABLE]
_Tokens = Annotated[int, _budget(Unit.TOKENS, _count, "5_000_000")]
_Requests = Annotated[int, _budget(Unit.REQUESTS, _count, "5_000_000")]
_Usd = Annotated[int, _budget(Unit.USD, _nano_usd, "12.50")]
_WindowMs = Annotated[
    int,
    read_by(
        lambda written: minutes * MINUTE_MS if 1 <= (minutes := int(written)) <= LONGEST_WINDOW_MINUTES else None,
        "{value} is not a valid window length.",
        "Give minutes, from 1 to {most} (366 days).",
        most=LONGEST_WINDOW_MINUTES,
    ),
]
_Share = Annotated[
    float,
    read_by(
        lambda written: share if 0 < (share := float(written)) <= 1 else None,
        "{value} is not a threshold.",
        "Give a share of the budget above 0 and not above 1, for example 0.8 for 80 %.",
    ),
]
_Warning = Annotated[_Share, AfterValidator(_not_above_critical)]
_Moment = Annotated[
    int,
    read_by(
        moment_ms,
        "{value} is not a moment.",
        "Write it with its offset from UTC, as 2026-11-24T18:30:00+01:00 or 2026-11-24T17:30:00Z.",
    ),
]
_MonthlyPrice = Annotated[
    int, read_by(_nano_usd, "{value} is not a monthly price.", "Give a number above 0, for example 100 or 22.99.")
]
_Currency = Annotated[
    str,
    read_by(
        lambda written: written.upper() if _CURRENCY.fullmatch(written) else None,
        "{value} is not a currency.",
        "Use its three letters, such as USD or EUR.",
    ),
]

# --- rows -------------------------------------------------------------------------------------------------------------


class _Defaults(Row):
    critical: _Share | None = None
    warning: _Warning | None = None


class _Limit(Row):
    id: Annotated[str, PlainValidator(_id)]
    name: _Text = ""
    proxy: _Text = ""
    provider: _Text = ""
    model_pattern: _Text = ""
    credential: _Text = ""
    client: _Text = ""
    models: Annotated[tuple[_Text, ...], ONE_OR_LIST, Field(min_length=1)] = ()
    tokens: _Tokens | None = None
    requests: _Requests | None = None
    usd: Annotated[_Usd | None, BeforeValidator(_has_a_budget), Field(validate_default=True)] = None
    strategy: Annotated[Strategy, IN_LOWER_CASE]
    window_minutes: Annotated[_WindowMs | None, BeforeValidator(_fits_the_strategy), Field(validate_default=True)] = (
        None
    )
    per: Annotated[Per, IN_LOWER_CASE] | None = None
    critical: _Share | None = None
    warning: _Warning | None = None
    timezone: Zone | None = None
    reset_anchor_timestamp: _Moment | None = None

    def limit(self, thresholds: Thresholds, zone: tzinfo) -> Limit:
        """The limit; ``thresholds`` and ``zone`` are its defaults."""
        budgets = ((Unit.TOKENS, self.tokens), (Unit.REQUESTS, self.requests), (Unit.USD, self.usd))
        return Limit(
            id=self.id,
            name=self.name or self.id,
            strategy=self.strategy,
            zone=self.timezone or zone,
            budgets=tuple((unit, budget) for unit, budget in budgets if budget is not None),
            window_ms=self.window_minutes,
            provider=self.provider.lower(),  # as proxies write it, so that dashboards find the limit
            proxy=self.proxy,
            credential=self.credential,
            client=self.client,
            models=self.models,
            model_pattern=self.model_pattern,
            per=self.per,
            thresholds=_thresholds(self, thresholds),
            anchor_ms=self.reset_anchor_timestamp,
        )


class Plan(Row):
    """What a subscription costs a month, in billionths of ``currency`` (three capital letters).

    ``credential`` is the name of an account, or a glob. The plan holds from the day ``from_`` until before the day
    ``to``; None means unlimited.
    """

    credential: _Text
    price_per_month: _MonthlyPrice
    currency: _Currency = "USD"
    from_: Annotated[Day | None, Field(alias="from")] = None
    to: Day | None = None

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.from_ is not None and self.to is not None and self.to <= self.from_:
            raise wrong("The plan ends before it begins.", "Give a day after from.", "to")
        return self

    def holds(self, credential: str, day: date) -> bool:
        """Whether this account has the plan on this day."""
        begun = self.from_ is None or self.from_ <= day
        return begun and (self.to is None or day < self.to) and is_like(self.credential, credential)


class _File(Row):
    defaults: _Defaults = _Defaults()
    limits: tuple[_Limit, ...] = ()
    plans: tuple[Plan, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LimitSet:
    """The content of the limits file. ``thresholds`` also apply to limits from Supabase and windows of providers."""

    limits: tuple[Limit, ...] = ()
    plans: tuple[Plan, ...] = ()
    thresholds: Thresholds = field(default_factory=Thresholds)


def _thresholds(row: _Defaults | _Limit, default: Thresholds) -> Thresholds:
    """The row's thresholds. A default for a missing one is adjusted to stay on the right side of the other."""
    return Thresholds(
        warning=row.warning or min(default.warning, row.critical or 1.0),
        critical=row.critical or max(default.critical, row.warning or 0.0),
    )
