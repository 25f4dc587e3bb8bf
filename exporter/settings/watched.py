"""A file of the user that is read at the start, and again when it has changed."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from exporter.errors import SettingsError
from exporter.sentences import joined, say
from exporter.settings.problems import Problem, first_of

_Version = tuple[int, int, int, int]
_Content = TypeVar("_Content")


class WatchedFile(Generic[_Content]):
    """The last good content of a file. Somebody calls ``reload`` now and then; any thread may.

    A mistake at the start is an error. Later the content before it stays in use, because an edit is rarely perfect at
    the first attempt. Until the file is right, ``problem`` says so; it is empty otherwise.
    """

    def __init__(
        self, path: Path, read: Callable[[Path], _Content | list[Problem]], *, kind: str, name: str, log: Any
    ) -> None:
        """Read the file. Raises SettingsError with all problems, one a line.

        ``kind`` and ``name`` are what sentences call the file and its content; log events begin with ``name``.
        """
        self.path = path
        self.problem = ""
        self._read_file, self._kind, self._name, self._log = read, kind, name, log
        self._lock = threading.Lock()
        self._read = self._seen = _version(path)
        content = read(path)
        if isinstance(content, list):
            raise SettingsError("\n".join(map(str, content)))
        self.content: _Content = content

    def reload(self, *, now: bool = False) -> bool:
        """Read the file again if it has changed, or ``now``. Whether ``content`` or ``problem`` is new."""
        with self._lock:
            if not self._changed():
                if not now:
                    return False
                self._read = self._seen
            content = self._read_file(self.path)
            if isinstance(content, list):
                unused = say(
                    "The last edit of the {kind} is not used; the {name} before it are.",
                    kind=self._kind,
                    name=self._name,
                )
                self.problem = joined(unused, first_of(content))
                self._log.error(f"{self._name}_not_reloaded", message=self.problem)
            else:
                self.content, self.problem = content, ""
            return True

    def _changed(self) -> bool:
        """Whether the file has changed since it was read last, and not since the last look.

        A file that is being written is left alone: half of it may be valid.
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
