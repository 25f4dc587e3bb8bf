"""When each proxy was last polled successfully. After a crash this shows how long a queue went unread.

A poll writes 8 bytes to a file beside the ledger, in place and without a sync; in the ledger, even a poll that popped
nothing would be a transaction. A killed process leaves what it wrote, a power cut what was there half a minute before.
The ledger itself has the time of the last poll before a booking or a clean end.
"""

import contextlib
import os
from pathlib import Path

_BYTES = 8
_PRIVATE_FILE = 0o600


class PollTimes:
    """The last success of each proxy, by its id, in ms since the epoch."""

    def __init__(self, ledger: Path) -> None:
        self._path = ledger.with_name(f"{ledger.name}-polls")
        noted = b""
        with contextlib.suppress(OSError):
            noted = self._path.read_bytes()
        self._noted = {at // _BYTES: int.from_bytes(noted[at : at + _BYTES]) for at in range(0, len(noted), _BYTES)}
        self._on_disk: dict[int, int] = {}

    def latest(self, proxy: int, in_ledger: int | None) -> int | None:
        """The last success, given the ledger's: None there means that the proxy was never polled."""
        if in_ledger is None:
            return None
        self._on_disk[proxy] = max(in_ledger, self._on_disk.get(proxy, 0))
        return max(in_ledger, self._noted.get(proxy, 0))

    def note(self, proxy: int, at_ms: int, *, store_every_ms: int) -> None:
        """Note a successful poll. The time on disk may lag by ``store_every_ms``."""
        self._noted[proxy] = at_ms
        if abs(at_ms - self._on_disk.get(proxy, 0)) < store_every_ms:
            return
        with contextlib.suppress(OSError):  # after a crash a gap then looks longer than it was
            with open(os.open(self._path, os.O_WRONLY | os.O_CREAT, _PRIVATE_FILE), "wb") as file:
                os.pwrite(file.fileno(), at_ms.to_bytes(_BYTES), proxy * _BYTES)
            self._on_disk[proxy] = at_ms
