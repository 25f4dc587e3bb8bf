"""The state of a proxy as the checkpoint that ``exporter_book`` takes: only what has changed since the last one."""

from exporter.history.remote import Row
from exporter.ledger.checkpoint import ProxyState


class Checkpoints:
    """Remembers which state is there."""

    def changes(self, state: ProxyState) -> Row | None:
        """What has to be sent so that ``state`` is there; None if nothing."""
        return None

    def sent(self, state: ProxyState) -> None:
        """``state`` is there."""
