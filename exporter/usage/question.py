"""A question about usage: which range, which names, summed by what. Page, command and API use the same words."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from exporter.clock import Clock
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.shown_names import ShownNames
from exporter.usage.ranges import STEPS, QuestionError, Range, free_range, named_range

NAMES = ("model", "client", "credential", "provider", "proxy")
"""The labels that usage is summed and filtered by."""
BY = (*NAMES, *STEPS)
RANGE_PARAMETERS = ("range", "since", "until")
PARAMETERS = (*RANGE_PARAMETERS, "by", *NAMES)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. ``oldest_ms`` is when the ledger begins; ``filters`` are labels by name.

    ``names`` are all names to sum by, in the order in which the ledger met them, so their places never change;
    ``groups`` has each series that passes the filters, with the place of its name.
    """

    range: Range
    by: str
    filters: Mapping[str, str]
    oldest_ms: int
    now_ms: int
    zone: tzinfo
    names: Sequence[str]
    groups: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """Reads questions; it also holds what answering them needs."""

    ledger: Ledger
    shown_names: ShownNames
    clock: Clock
    zone: tzinfo

    def read(self, connection: sqlite3.Connection, parameters: Mapping[str, str], *, default_range: str) -> Question:
        """Read the question that these parameters ask: see ``PARAMETERS``. Raises QuestionError.

        ``connection`` comes from ``Ledger.reading``.
        """
        if unknown := sorted(set(parameters) - set(PARAMETERS)):
            raise QuestionError(
                "There is no parameter {given!r}: use one of {known}.",
                given=unknown[0][:40],
                known=", ".join(PARAMETERS),
            )
        by = parameters.get("by") or NAMES[0]
        if by not in BY:
            raise QuestionError(
                "Usage cannot be summed by {given!r}: use one of {known}.", given=by[:40], known=", ".join(BY)
            )
        name, since, until = (parameters.get(each, "") for each in RANGE_PARAMETERS)
        if name and (since or until):
            raise QuestionError("Give a range, or since and until, but not both.")
        now_ms = self.clock.now_ms()
        (oldest_bucket,) = connection.execute("select min(bucket) from rollup").fetchone()
        oldest_ms = now_ms if oldest_bucket is None else min(now_ms, oldest_bucket * BUCKET_MS)
        if since or until:
            range_ = free_range(since, until, oldest_ms=oldest_ms, now_ms=now_ms, zone=self.zone)
        else:
            range_ = named_range(name or default_range, now_ms=now_ms, zone=self.zone)
        filters = {name: parameters[name] for name in NAMES if parameters.get(name)}
        names: dict[str, int] = {}
        groups: dict[int, int] = {}
        for id_, series in list(self.ledger.name_store.series.items()):  # a copy: a booking may add to it
            labels = self.shown_names.series(series.shown)
            place = names.setdefault(getattr(labels, by) if by in NAMES else "", len(names))
            if all(getattr(labels, name) == value for name, value in filters.items()):
                groups[id_] = place
        return Question(range_, by, filters, oldest_ms, now_ms, self.zone, list(names), groups)
