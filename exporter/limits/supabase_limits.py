"""The limits that users keep in Supabase, in the table ``rate_limit_configs``.

The history's thread puts the rows into the ledger, where everything else reads them. So nothing waits for Supabase, and
the limits hold while it is away, after a restart, and on the command line.

Columns have the predecessor's meaning: ``provider`` and ``tier_name`` are shown and match nothing, ``model_pattern``
alone decides what counts. A row with a mistake is left out, with a sentence that says what to change.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, timedelta, tzinfo
from typing import Annotated

import structlog
from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo

from exporter.days import EPOCH, moment_ms
from exporter.ledger.store.limits import LimitStore
from exporter.limits.model import Limit, Thresholds, Unit
from exporter.limits.strategies import LONGEST_WINDOW_MINUTES, MINUTE_MS, Strategy
from exporter.sentences import counted, joined, say
from exporter.settings.kinds import IN_LOWER_CASE, PRINTABLE, read_by
from exporter.settings.yaml_rows import Row

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
"""Names of providers for which the predecessor's form has another name."""
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


def _counts(minutes: object, info: ValidationInfo) -> object:
    """The length of a window; None for a window of the calendar, which ignores it."""
    strategy = info.data.get("reset_strategy")
    return minutes if strategy is None or strategy.has_length else None


_Text = Annotated[str, Field(max_length=255), PRINTABLE]
_Budget = Annotated[int, Field(ge=0)]
_Minutes = Annotated[int, Field(ge=1, le=LONGEST_WINDOW_MINUTES)]
_Moment = Annotated[
    int,
    read_by(
        lambda text: moment_ms(text, UTC),  # a column created by hand has no zone; it holds UTC
        "{value} is not a moment.",
        "Write one such as 2026-11-24T18:30:00+01:00, or leave it empty for none.",
    ),
]


class _Config(Row):
    """A row without its empty columns. Users created some columns by hand, so numbers may be texts."""

    model_pattern: _Text
    provider: _Text = ""
    tier_name: _Text = ""
    token_limit: _Budget = 0
    request_limit: _Budget = 0
    reset_strategy: Annotated[Strategy, IN_LOWER_CASE]
    window_minutes: Annotated[_Minutes | None, BeforeValidator(_counts), Field(default="0", validate_default=True)]
    reset_anchor_timestamp: _Moment | None = None


def limit_of(row: Mapping[str, object], *, zone: tzinfo, thresholds: Thresholds) -> Limit | str:
    """The limit of a row, or a sentence on what is wrong with it."""
    id_ = int(str(row["id"]))
    texts = {column: str(row[column]).strip() for column in COLUMNS[1:] if row[column] is not None}
    try:
        found = _Config.model_validate({column: text for column, text in texts.items() if text})
    except ValidationError as error:
        first = error.errors()[0]
        problem = joined(first["ctx"]["why"], first["ctx"]["fix"])
        return say(
            "Row {row} of {table} is not in force: {column}: {problem}",
            row=id_,
            table=TABLE,
            column=str(first["loc"][0]),
            problem=problem,
        )
    budgets = ((Unit.TOKENS, found.token_limit), (Unit.REQUESTS, found.request_limit))
    return Limit(
        id=str(id_),
        config_id=id_,
        name=": ".join(filter(None, (f"{found.provider} {found.tier_name}".strip(), found.model_pattern))),
        shown_provider=_PROVIDERS.get(found.provider.lower(), found.provider.lower()),
        model_pattern=found.model_pattern,
        strategy=found.reset_strategy,
        zone=zone,
        budgets=tuple((unit, budget) for unit, budget in budgets if budget),
        window_ms=found.window_minutes and found.window_minutes * MINUTE_MS,
        thresholds=thresholds,
        anchor_ms=found.reset_anchor_timestamp,
    )


def anchor_of(row: Mapping[str, object]) -> int | None:
    """The moment of a manual reset in ms since the epoch; None if there is none or it is unreadable."""
    with suppress(ValueError):
        return moment_ms(str(row["reset_anchor_timestamp"]), UTC)
    return None


def moment_text(ms: int) -> str:
    """A moment in the table's notation."""
    return (EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds")
