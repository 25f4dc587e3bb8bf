"""A ledger that fails in the middle of a poll."""

from collections.abc import Callable
from typing import Any

from exporter.errors import LedgerError


def refusing_after(fine: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Returns a wrapper for methods of a ledger: the first ``fine`` calls of all work, later ones raise LedgerError."""

    def refuse(real: Callable[..., Any]) -> Callable[..., Any]:
        def refusing(*args: Any, **kwargs: Any) -> Any:
            nonlocal fine
            fine -= 1
            if fine < 0:
                raise LedgerError("no space")
            return real(*args, **kwargs)

        return refusing

    return refuse
