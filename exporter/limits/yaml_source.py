"""The user's limits file: read at the start, and again when it has changed. See ``LimitSource``."""

from collections.abc import Sequence
from datetime import tzinfo
from functools import partial
from pathlib import Path

import structlog

from exporter.limits.model import Limit, Plan
from exporter.limits.windows import Thresholds
from exporter.limits.yaml_file import LimitFile, read_limit_file
from exporter.settings.watched import WatchedFile

_log = structlog.get_logger("exporter.limits")


class UserLimits:
    """The limits of one file. A ``LimitSource``."""

    def __init__(self, path: Path, *, zone: tzinfo) -> None:
        """Read the file. Raises ProblemsError."""
        read = partial(read_limit_file, zone=zone)
        self._file: WatchedFile[LimitFile] = WatchedFile(path, read, kind="limits file", name="limits", log=_log)

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
