"""A ledger that fails in the middle of a poll."""

from collections.abc import Callable
from typing import Any

from exporter.errors import LedgerError


def refusing_after(fine: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A wrapper of methods of a ledger: together they do ``fine`` calls, and raise LedgerError from then on."""

    def refuse(real: Callable[..., Any]) -> Callable[..., Any]:
        def refusing(*args: Any, **kwargs: Any) -> Any:
            nonlocal fine
            fine -= 1
            if fine < 0:
                raise LedgerError("no space")
            return real(*args, **kwargs)

        return refusing

    return refuse
