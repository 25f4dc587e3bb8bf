"""The ledger for a command that reads one. Such a command never creates a ledger."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from exporter.commands.common import exit_codes, ready_settings
from exporter.commands.machine_defaults import DEMO
from exporter.errors import LedgerError
from exporter.ledger.database import FILE_NAME
from exporter.settings.model import Settings
from exporter.wiring import Parts


@contextmanager
def opened(*, needs_proxy: bool = False) -> Iterator[Parts]:
    """The parts for a command that reads the existing ledger; errors become exit codes."""
    with exit_codes():
        settings = ready_settings(needs_proxy=needs_proxy)
        check_exists(settings)
        parts = Parts(settings)
        with closing(parts.ledger):
            yield parts


def check_exists(settings: Settings) -> None:
    """Raises LedgerError if there is no ledger, or this user may not see it."""
    path = settings.exporter_data_dir / FILE_NAME
    try:
        exists = path.exists()
    except PermissionError as exc:
        why = f"The ledger {path} cannot be read ({exc.strerror}). Run the command as the exporter's user."
        raise LedgerError(why) from exc
    if not exists:
        demo = settings.exporter_data_dir / DEMO
        which = f" to {demo} for that of the demo" if (demo / FILE_NAME).exists() else ""
        raise LedgerError(f"There is no ledger at {path} yet: run the exporter first, or set EXPORTER_DATA_DIR{which}.")
