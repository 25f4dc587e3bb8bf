"""The limits that users keep in Supabase, in the table ``rate_limit_configs``.

The history's thread puts the rows into the ledger, where everything else reads them. So nothing waits for Supabase, and
the limits hold while it is away, after a restart, and on the command line.

Columns have the predecessor's meaning: ``provider`` and ``tier_name`` are shown and match nothing, ``model_pattern``
alone decides what counts. A row with a mistake is left out, with a sentence that says what to change.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta, tzinfo

import structlog

from exporter.days import EPOCH, moment_ms
from exporter.ledger.store.limits import LimitStore
from exporter.limits.model import Limit, Thresholds, Unit
from exporter.limits.strategies import LONGEST_WINDOW_MINUTES, Strategy, window_length_ms
from exporter.sentences import counted, say
from exporter.settings.problems import shown

TABLE = "rate_limit_configs"
COLUMNS = (
    "id",
    "provider",
    "tier_name",
    "model_pattern",
    "token_limit",
    "request_limit",
    "window_minutes",
    "reset_strategy",
    "reset_anchor_timestamp",
)

_PROVIDERS = {"anthropic": "claude", "google": "gemini"}
"""Labels of providers for which the predecessor's form has another name."""
_LONGEST_TEXT = 255
_MOST_PROBLEMS = 5

_log = structlog.get_logger("exporter.limits")


class SupabaseLimits:
    """The ``limits`` of ``rate_limit_configs``; a mistake in one row does not affect the others.

    ``problems`` says why rows are not in force.
    """

    def __init__(self, store: LimitStore, *, zone: tzinfo) -> None:
        self.limits: tuple[Limit, ...] = ()
        self.problems: Sequence[str] = ()
        self._store = store
        self._zone = zone
        self._read: tuple[Sequence[str], Thresholds] | None = None
        self._wrong: list[str] = []

    def reload(self, thresholds: Thresholds) -> None:
        """Take over the rows in the ledger, and the thresholds of all, if they have changed. Raises LedgerError."""
        read = rows, _ = self._store.configs(), thresholds
        if read == self._read:
            return
        found = [limit_of(json.loads(row), zone=self._zone, thresholds=thresholds) for row in rows]
        self.limits = tuple(each for each in found if isinstance(each, Limit))
        wrong = [each for each in found if isinstance(each, str)]
        for problem in wrong:
            if problem not in self._wrong:
                _log.warning("limit_not_used", message=problem)
        if self._read is not None:
            _log.info("limits_reloaded", table=TABLE, limits=len(self.limits))
        self._read, self._wrong = read, wrong
        self.problems = wrong[:_MOST_PROBLEMS]
        if (more := len(wrong) - _MOST_PROBLEMS) > 0:
            others = counted(
                "{number} more row is not in force. The log names all of them.",
                "{number} more rows are not in force. The log names all of them.",
                more,
            )
            self.problems = [*self.problems, others]


class _WrongError(Exception):
    """A mistake in a row, and what to do about it."""


def limit_of(row: Mapping[str, object], *, zone: tzinfo, thresholds: Thresholds) -> Limit | str:
    """The limit of a row, or a sentence on what is wrong with it."""
    id_ = int(str(row["id"]))
    try:
        provider, tier, pattern = _text(row, "provider"), _text(row, "tier_name"), _pattern(row)
        strategy = _strategy(row)
        budgets = [(Unit.TOKENS, _budget(row, "token_limit")), (Unit.REQUESTS, _budget(row, "request_limit"))]
        return Limit(
            id=str(id_),
            config_id=id_,
            name=": ".join(part for part in (f"{provider} {tier}".strip(), pattern) if part),
            shown_provider=_PROVIDERS.get(provider.lower(), provider.lower()),
            model_pattern=pattern,
            strategy=strategy,
            zone=zone,
            budgets=tuple((unit, budget) for unit, budget in budgets if budget),
            window_ms=_window_ms(row, strategy) if strategy.has_length else None,
            thresholds=thresholds,
            anchor_ms=_anchor(row),
        )
    except _WrongError as wrong:
        return say("Row {row} of {table} is not in force: {wrong}", row=id_, table=TABLE, wrong=str(wrong))


def anchor_of(row: Mapping[str, object]) -> int | None:
    """The moment of a manual reset in ms since the epoch; None if there is none or it is unreadable."""
    try:
        return _anchor(row)
    except _WrongError:
        return None


def moment_text(ms: int) -> str:
    """A moment in the table's notation."""
    return (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")


def _text(row: Mapping[str, object], column: str) -> str:
    value = row[column]
    text = "" if value is None else str(value).strip()
    if not text.isprintable():
        raise _WrongError(f"{column} holds a line break or control character. Remove it.")
    if len(text) > _LONGEST_TEXT:
        raise _WrongError(f"{column} is longer than {_LONGEST_TEXT} characters. Shorten it.")
    return text


def _pattern(row: Mapping[str, object]) -> str:
    if pattern := _text(row, "model_pattern"):
        return pattern
    raise _WrongError("it has no model_pattern. Write a part of the models' names, or % for all models.")


def _strategy(row: Mapping[str, object]) -> Strategy:
    text = _text(row, "reset_strategy").lower()
    try:
        return Strategy(text)
    except ValueError:
        raise _WrongError(f"{shown(text)} is not a reset_strategy. Use one of: {', '.join(Strategy)}.") from None


def _whole(row: Mapping[str, object], column: str) -> int | None:
    """The number in a column. Users created some columns by hand, so it may have any type."""
    value = row[column]
    if value is None:
        return None
    try:
        number = float(str(value))
        if number == int(number):
            return value if isinstance(value, int) else int(number)
    except (ValueError, OverflowError):
        pass
    raise _WrongError(f"{shown(str(value))} is not a valid {column}. Write a whole number.")


def _budget(row: Mapping[str, object], column: str) -> int:
    """0 for none."""
    budget = _whole(row, column) or 0
    if budget < 0:
        raise _WrongError(f"its {column} is below 0. Write a budget above 0, or leave it empty for none.")
    return budget


def _window_ms(row: Mapping[str, object], strategy: Strategy) -> int:
    minutes = _whole(row, "window_minutes") or 0
    length_ms = window_length_ms(minutes)
    if length_ms is None:
        raise _WrongError(
            f"a {strategy} limit needs window_minutes from 1 to {LONGEST_WINDOW_MINUTES} (366 days), not {minutes}."
        )
    return length_ms


def _anchor(row: Mapping[str, object]) -> int | None:
    text = _text(row, "reset_anchor_timestamp")
    if not text:
        return None
    try:
        return moment_ms(text, UTC)  # a column created by hand has no zone; it holds UTC
    except ValueError:
        why = f"{shown(text)} is not a reset_anchor_timestamp. Write a moment, or leave it empty for none."
        raise _WrongError(why) from None
