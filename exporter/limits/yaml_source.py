"""The user's limits file: read at the start, and again when it has changed. See ``LimitSource``."""

from collections.abc import Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path

import structlog

from exporter.limits.model import Limit, Plan
from exporter.limits.windows import Thresholds
from exporter.limits.yaml_file import LimitFile, read_limit_file
from exporter.sentences import say
from exporter.settings.problems import Problem
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
        read = partial(read_limit_file, setting=SETTING, zone=zone)
        self._file: WatchedFile[LimitFile] = WatchedFile(
            path, read, kind=say("limits file"), name=say("limits"), log=_log
        )

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The last good set."""
        return self._file.content.limits

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What subscriptions cost."""
        return self._file.content.plans

    @property
    def thresholds(self) -> Thresholds:
        """What holds for the windows that providers report."""
        return self._file.content.thresholds

    @property
    def problems(self) -> Sequence[str]:
        """A sentence if the last edit is not in use, else nothing."""
        return [self._file.problem] if self._file.problem else []

    def reload(self, *, now: bool = False) -> None:
        """Read the file again if it has changed, or ``now``."""
        if self._file.reload(now=now) and not self._file.problem:
            _log.info("limits_reloaded", file=self._file.path.name, limits=len(self.limits))
