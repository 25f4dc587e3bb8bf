"""The limits that users keep in Supabase, as the ledger last heard of them. See ``LimitSource``.

The history's thread puts the rows into the ledger, and everything else reads them there. So nobody waits for Supabase,
and the limits are in force while it is away, after a restart and on the command line, too.
"""

import json
from collections.abc import Callable, Sequence
from datetime import tzinfo

import structlog

from exporter.ledger.store.limit_configs import LimitConfigs
from exporter.limits.model import Limit
from exporter.limits.supabase_row import limit_of
from exporter.limits.windows import Thresholds

_MOST_PROBLEMS = 5

_log = structlog.get_logger("exporter.limits")


class StoredLimits:
    """The limits of ``rate_limit_configs``. A ``LimitSource``; a row with a mistake does not cost the others."""

    def __init__(self, configs: LimitConfigs, *, zone: tzinfo, thresholds: Callable[[], Thresholds]) -> None:
        """Read them. ``thresholds`` tells what holds for all of them. Raises LedgerError."""
        self._configs = configs
        self._zone = zone
        self._thresholds = thresholds
        self._read: tuple[Sequence[str], Thresholds] | None = None
        self._limits: tuple[Limit, ...] = ()
        self._problems: tuple[str, ...] = ()
        self.reload()

    @property
    def limits(self) -> tuple[Limit, ...]:
        """Those of the rows without a mistake."""
        return self._limits

    @property
    def problems(self) -> Sequence[str]:
        """Why rows are not in force."""
        more = len(self._problems) - _MOST_PROBLEMS
        if more <= 0:
            return self._problems
        rows = "1 more row is" if more == 1 else f"{more} more rows are"
        return [*self._problems[:_MOST_PROBLEMS], f"{rows} not in force. The log names all of them."]

    def reload(self) -> None:
        """Take over what has come into the ledger. Raises LedgerError."""
        read = (self._configs.rows(), self._thresholds())
        if read == self._read:
            return
        rows, thresholds = read
        found = [limit_of(json.loads(row), zone=self._zone, thresholds=thresholds) for row in rows]
        self._limits = tuple(each for each in found if isinstance(each, Limit))
        problems = tuple(each for each in found if isinstance(each, str))
        for problem in problems:
            if problem not in self._problems:
                _log.warning("limit_not_used", message=problem)
        self._problems = problems
        if self._read is not None:
            _log.info("limits_reloaded", table="rate_limit_configs", limits=len(self._limits))
        self._read = read
