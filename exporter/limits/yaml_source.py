"""The user's limits file: read at the start, and again when it has changed. See ``LimitSource``.

At the start a mistake is an error. Later the exporter goes on with the limits that it has: between two attempts at an
edit, somebody wants to be told about the limits, too.
"""

from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path

import structlog

from exporter.errors import SettingsError
from exporter.limits.model import Limit
from exporter.limits.windows import Thresholds
from exporter.limits.yaml_file import LimitFile, read_limit_file
from exporter.settings.problems import Problem, first_of
from exporter.settings.watched import WatchedFile

SETTING = "EXPORTER_LIMITS_FILE"

_log = structlog.get_logger("exporter.limits")


def check_limits_file(path: Path, *, zone: tzinfo) -> list[Problem]:
    """All that is wrong with a limits file, each with its line."""
    file = read_limit_file(path, setting=SETTING, zone=zone)
    return file if isinstance(file, list) else []


class UserLimits:
    """The limits of one file. A ``LimitSource``."""

    def __init__(self, path: Path, *, zone: tzinfo) -> None:
        """Read the file. Raises SettingsError with all problems, one a line."""
        self._path = path
        self._zone = zone
        self._watched = WatchedFile(path)
        file = read_limit_file(path, setting=SETTING, zone=zone)
        if isinstance(file, list):
            raise SettingsError("\n".join(map(str, file)))
        self._file: LimitFile = file
        self._problem = ""

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The last good set."""
        return self._file.limits

    @property
    def thresholds(self) -> Thresholds:
        """What holds for the windows that providers report."""
        return self._file.thresholds

    @property
    def problems(self) -> Sequence[str]:
        """A sentence if the last edit is not in use, else nothing."""
        return [self._problem] if self._problem else []

    def reload(self) -> None:
        """Read the file again if it has changed."""
        if not self._watched.changed():
            return
        file = read_limit_file(self._path, setting=SETTING, zone=self._zone)
        if isinstance(file, list):
            self._keep(file)
            return
        self._file = file
        self._problem = ""
        _log.info("limits_reloaded", file=self._path.name, limits=len(file.limits))

    def _keep(self, problems: Sequence[Problem]) -> None:
        self._problem = f"The last edit of the limits file is not used; the limits before it are. {first_of(problems)}"
        _log.error("limits_not_reloaded", message=self._problem)
