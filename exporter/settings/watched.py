"""A file of the user, read at the start and again when it changes."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from exporter.sentences import joined, say
from exporter.settings.problems import ProblemsError

_Content = TypeVar("_Content")
_log = structlog.get_logger("exporter.settings")


class WatchedFile(Generic[_Content]):
    """The last good content of a file. Call ``reload`` now and then, from any thread.

    A mistake at the start is an error. Later, the last good content stays in use, because an edit is rarely perfect at
    the first attempt. ``problem`` is a sentence until the file is correct, else empty.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], _Content],
        *,
        kind: str,
        name: str,
        size: Callable[[_Content], Mapping[str, int]],
    ) -> None:
        """Read the file. Raises ProblemsError, as ``read`` does for a file with mistakes.

        ``kind`` and ``name`` are what sentences call the file and its content; log events begin with ``name``, and say
        the ``size`` of what was read.
        """
        self.path = path
        self.problem = ""
        self._read_file, self._kind, self._name, self._size = read, kind, name, size
        self._lock = threading.Lock()
        self._read = self._seen = file_version(path)
        self.content: _Content = read(path)

    def reload(self, *, now: bool = False) -> bool:
        """Read the file again if it has changed, or in any case if ``now``. Returns whether it was read."""
        with self._lock:
            seen, self._seen = self._seen, file_version(self.path)
            # A file that is still being written is left alone, because half of it may be valid.
            has_changed = self._seen == seen != self._read
            if not has_changed and not now:
                return False
            self._read = self._seen
            try:
                self.content, self.problem = self._read_file(self.path), ""
            except ProblemsError as error:
                last = say(
                    "The last edit of the {kind} is not in use; the {name} from before it are.",
                    kind=self._kind,
                    name=self._name,
                )
                self.problem = joined(last, error.first)
                _log.error(f"{self._name}_not_reloaded", message=self.problem)
            else:
                _log.info(f"{self._name}_reloaded", file=self.path.name, **self._size(self.content))
            return True


def file_version(path: Path) -> tuple[int, ...] | None:
    """Values that change when a file is edited or replaced; None without a file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
