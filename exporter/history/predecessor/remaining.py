"""What is left of a limit, in the words and figures of the predecessor's table ``rate_limit_status``. Pure.

One budget decides: tokens, else requests. A limit without either is never used up.
"""

from exporter import formats
from exporter.limits.evaluate import Measured
from exporter.limits.model import Limit, Unit

_WORDS = {Unit.TOKENS: "Tokens", Unit.REQUESTS: "Requests"}


def _deciding_budget(limit: Limit) -> tuple[Unit, int] | None:
    """The budget that percentage and label describe, with its unit."""
    budgets = dict(limit.budgets)
    return next(((unit, budgets[unit]) for unit in _WORDS if unit in budgets), None)


def left_of(measured: Measured) -> dict[str, int | str]:
    """The columns of the table about what is left.

    Of the budget that decides, never below 0, and in percent, rounded down; the other unit is 0, as in the predecessor.
    The label is ``1,234/800,000 Tokens``, ``12/80 Requests``, or without a budget ``Used: 1,234T / 12R``.
    """
    left = dict.fromkeys(_WORDS, 0)
    percentage, label = 100, f"Used: {measured.tokens:,}T / {measured.requests:,}R"
    if (deciding := _deciding_budget(measured.limit)) is not None:
        unit, budget = deciding
        used = measured.amount(unit)
        left[unit] = max(0, budget - used)
        percentage, label = left[unit] * 100 // budget, _label(unit, used, budget)
    return {
        "remaining_tokens": left[Unit.TOKENS],
        "remaining_requests": left[Unit.REQUESTS],
        "percentage": percentage,
        "status_label": label,
    }


def label_after_reset(limit: Limit) -> str:
    """``0/800,000 Tokens``, ``0/80 Requests``, or without a budget ``Unlimited``."""
    if (deciding := _deciding_budget(limit)) is not None:
        unit, budget = deciding
        return _label(unit, 0, budget)
    usd = dict(limit.budgets).get(Unit.USD)  # the predecessor had no such budget
    return "Unlimited" if usd is None else f"{formats.usd(0)}/{formats.usd(usd)}"


def _label(unit: Unit, used: int, budget: int) -> str:
    return f"{used:,}/{budget:,} {_WORDS[unit]}"
