"""A row of the table ``rate_limit_configs``, which users edit in Supabase, as a limit. Pure.

Columns and their meaning are those of the older collector: ``provider`` and ``tier_name`` are shown and match nothing,
``model_pattern`` alone says what counts. A row with a mistake is left out with a sentence that says what to change.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo

from exporter.limits.model import Limit, Strategy, Unit
from exporter.limits.windows import Thresholds
from exporter.limits.yaml_file import LONGEST_WINDOW_MINUTES
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
"""Labels of the providers that the older collector's form calls otherwise."""
_LONGEST_TEXT = 255
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _WrongError(Exception):
    """A mistake in a row, and what to do about it."""


def limit_of(row: Mapping[str, object], *, zone: tzinfo, thresholds: Thresholds) -> Limit | str:
    """The limit of a row, or the sentence that says why there is none."""
    try:
        return _limit_of(row, zone, thresholds)
    except _WrongError as wrong:
        return f"Row {row['id']} of {TABLE} is not in force: {wrong}"


def anchor_of(row: Mapping[str, object]) -> int | None:
    """The moment of a manual reset in ms since the epoch; None if there is none, or none that can be read."""
    try:
        return _anchor(row)
    except _WrongError:
        return None


def anchor_text(anchor_ms: int) -> str:
    """A moment as the table takes it."""
    return (_EPOCH + timedelta(milliseconds=anchor_ms)).isoformat(timespec="milliseconds")


def _limit_of(row: Mapping[str, object], zone: tzinfo, thresholds: Thresholds) -> Limit:
    provider, tier, pattern = (_text(row, column) for column in ("provider", "tier_name", "model_pattern"))
    if not pattern:
        raise _WrongError("it has no model_pattern. Write a part of the models' names, or % for all models.")
    strategy = _strategy(row)
    budgets = [(Unit.TOKENS, _budget(row, "token_limit")), (Unit.REQUESTS, _budget(row, "request_limit"))]
    id_ = int(str(row["id"]))
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


def _text(row: Mapping[str, object], column: str) -> str:
    value = row[column]
    text = "" if value is None else str(value).strip()
    if not text.isprintable():
        raise _WrongError(f"{column} holds a line break or control character. Remove it.")
    if len(text) > _LONGEST_TEXT:
        raise _WrongError(f"{column} is longer than {_LONGEST_TEXT} characters. Shorten it.")
    return text


def _strategy(row: Mapping[str, object]) -> Strategy:
    text = _text(row, "reset_strategy").lower()
    try:
        return Strategy(text)
    except ValueError:
        raise _WrongError(f"{shown(text)} is no reset_strategy. Use one of: {', '.join(Strategy)}.") from None


def _whole(row: Mapping[str, object], column: str) -> int | None:
    """The number in a column. Users made some columns by hand, so it may come in any form."""
    value = row[column]
    if value is None:
        return None
    try:
        number = float(str(value))
        if number == int(number):
            return value if isinstance(value, int) else int(number)
    except (ValueError, OverflowError):
        pass
    raise _WrongError(f"{shown(str(value))} is no {column}. Write a whole number.")


def _budget(row: Mapping[str, object], column: str) -> int:
    """0 for none."""
    budget = _whole(row, column) or 0
    if budget < 0:
        raise _WrongError(f"its {column} is below 0. Write a budget above 0, or leave it empty for none.")
    return budget


def _window_ms(row: Mapping[str, object], strategy: Strategy) -> int:
    minutes = _whole(row, "window_minutes") or 0
    if not 1 <= minutes <= LONGEST_WINDOW_MINUTES:
        raise _WrongError(
            f"a {strategy} limit needs window_minutes from 1 to {LONGEST_WINDOW_MINUTES} (366 days), not {minutes}."
        )
    return minutes * 60_000


def _anchor(row: Mapping[str, object]) -> int | None:
    text = _text(row, "reset_anchor_timestamp")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _WrongError(
            f"{shown(text)} is no reset_anchor_timestamp. Write a moment, or leave it empty for none."
        ) from None
    if moment.tzinfo is None:  # of a column that was made by hand without a zone, into which UTC is written
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)
