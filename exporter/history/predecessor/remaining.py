"""What is left of a limit, in the words and figures of the predecessor's table ``rate_limit_status``. Pure.

One budget decides: tokens, else requests. A limit without either is never used up.
"""

from exporter import formats
from exporter.limits.evaluate import Measured
from exporter.limits.model import Limit, Unit

_WORDS = {Unit.TOKENS: "Tokens", Unit.REQUESTS: "Requests"}


def deciding_budget(limit: Limit) -> tuple[Unit, int] | None:
    """The budget that percentage and label describe, with its unit."""
    budgets = dict(limit.budgets)
    return next(((unit, budgets[unit]) for unit in _WORDS if unit in budgets), None)


def remaining(measured: Measured) -> dict[Unit, int]:
    """What is left of the budget that decides, never below 0. The other unit is 0, as in the predecessor."""
    left = dict.fromkeys(_WORDS, 0)
    if (deciding := deciding_budget(measured.limit)) is not None:
        unit, budget = deciding
        left[unit] = max(0, budget - measured.amount(unit))
    return left


def percentage(measured: Measured) -> int:
    """What is left of the budget that decides, in percent, rounded down."""
    deciding = deciding_budget(measured.limit)
    if deciding is None:
        return 100
    unit, budget = deciding
    return remaining(measured)[unit] * 100 // budget


def label(measured: Measured) -> str:
    """``1,234/800,000 Tokens``, ``12/80 Requests``, or without a budget ``Used: 1,234T / 12R``."""
    deciding = deciding_budget(measured.limit)
    if deciding is None:
        return f"Used: {measured.tokens:,}T / {measured.requests:,}R"
    unit, budget = deciding
    return _label(unit, measured.amount(unit), budget)


def label_after_reset(limit: Limit) -> str:
    """``0/800,000 Tokens``, ``0/80 Requests``, or without a budget ``Unlimited``."""
    if (deciding := deciding_budget(limit)) is not None:
        unit, budget = deciding
        return _label(unit, 0, budget)
    usd = dict(limit.budgets).get(Unit.USD)  # the predecessor had no such budget
    return "Unlimited" if usd is None else f"{formats.usd(0)}/{formats.usd(usd)}"


def _label(unit: Unit, used: int, budget: int) -> str:
    return f"{used:,}/{budget:,} {_WORDS[unit]}"
