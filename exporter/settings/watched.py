"""A file that is read again when it has changed."""

import os
from pathlib import Path

_Version = tuple[int, int, int, int]


class WatchedFile:
    """Tells whether a file has changed. Ask it now and then, from one thread; take it from ``path`` when it says so."""

    def __init__(self, path: Path) -> None:
        """As it is now counts as read."""
        self.path = path
        self._read = self._seen = _version(path)

    def changed(self) -> bool:
        """Whether it has changed since it was read last, and not since the last look: then it counts as read.

        Half of a file that is being written may be valid.
        """
        version, seen = _version(self.path), self._seen
        self._seen = version
        if version == self._read or version != seen:
            return False
        self._read = version
        return True


def _version(path: Path) -> _Version | None:
    """What changes when a file is edited or replaced; ``None`` without a file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
