"""The ledger for a command that reads one. Such a command never creates a ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from exporter.clock import Clock, SystemClock
from exporter.commands.common import exit_codes, ready_settings
from exporter.errors import LedgerError
from exporter.ledger.database import FILE_NAME
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.opening import open_ledger, open_pseudonyms
from exporter.settings.model import Settings


@dataclass(frozen=True, slots=True)
class Opened:
    """What a command reads."""

    settings: Settings
    ledger: Ledger
    labels: Labels
    clock: Clock


@contextmanager
def opened(*, needs_proxy: bool = False) -> Iterator[Opened]:
    """The existing ledger while a command lasts, whose errors become exit codes."""
    with exit_codes():
        settings, clock = ready_settings(needs_proxy=needs_proxy), SystemClock()
        ledger = existing_ledger(settings, clock)
        try:
            labels = Labels(ledger.dictionary, settings.aliases, open_pseudonyms(settings).of)
            yield Opened(settings, ledger, labels, clock)
        finally:
            ledger.close()


def existing_ledger(settings: Settings, clock: Clock) -> Ledger:
    """The ledger, which must already exist. Raises LedgerError."""
    check_exists(settings)
    return open_ledger(settings, clock)


def check_exists(settings: Settings) -> None:
    """Raises LedgerError if there is no ledger."""
    path = settings.exporter_data_dir / FILE_NAME
    if not path.exists():
        raise LedgerError(f"There is no ledger at {path} yet: run the exporter first, or set EXPORTER_DATA_DIR.")
