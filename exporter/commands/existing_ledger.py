"""The ledger for a command that reads one: it is never made by asking for it."""

from exporter.clock import Clock
from exporter.errors import LedgerError
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.opening import open_ledger
from exporter.settings.model import Settings


def existing_ledger(settings: Settings, clock: Clock) -> Ledger:
    """The ledger, which must be there already. Raises LedgerError."""
    check_exists(settings)
    return open_ledger(settings, clock)


def check_exists(settings: Settings) -> None:
    """Raises LedgerError if there is no ledger."""
    path = settings.exporter_data_dir / FILE_NAME
    if not path.exists():
        raise LedgerError(f"There is no ledger at {path} yet: run the exporter first, or set EXPORTER_DATA_DIR.")
