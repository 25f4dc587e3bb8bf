"""The ledger for a command that reads one. Such a command never creates a ledger."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property

from exporter.clock import Clock, SystemClock
from exporter.commands.common import exit_codes, ready_settings
from exporter.errors import LedgerError
from exporter.ledger.database import FILE_NAME
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.normalize.pseudonyms import Pseudonym
from exporter.settings.model import Settings
from exporter.wiring import open_ledger, open_pseudonyms


@dataclass(frozen=True)
class Opened:
    """What a command reads."""

    settings: Settings
    ledger: Ledger
    clock: Clock

    @cached_property
    def pseudonym(self) -> Pseudonym:
        return open_pseudonyms(self.settings).of

    @cached_property
    def labels(self) -> Labels:
        return Labels(self.ledger.dictionary, self.settings.aliases, self.pseudonym)


@contextmanager
def opened(*, needs_proxy: bool = False) -> Iterator[Opened]:
    """The existing ledger while a command lasts, whose errors become exit codes."""
    with exit_codes():
        settings, clock = ready_settings(needs_proxy=needs_proxy), SystemClock()
        check_exists(settings)
        with closing(open_ledger(settings, clock)) as ledger:
            yield Opened(settings, ledger, clock)


def check_exists(settings: Settings) -> None:
    """Raises LedgerError if there is no ledger."""
    path = settings.exporter_data_dir / FILE_NAME
    if not path.exists():
        raise LedgerError(f"There is no ledger at {path} yet: run the exporter first, or set EXPORTER_DATA_DIR.")
