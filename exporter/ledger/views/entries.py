"""Entries as another program would recognize them: by time, model, duration and tokens."""

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple


class Likeness(NamedTuple):
    """What two programs that read the same proxy both store about a request. Durations are ms, 0 is not measured.

    Clients and accounts are left out, because each program hashes or names them in its own way.
    """

    model: str
    failed: bool
    latency_ms: int
    prompt: int
    output: int

    def is_same(self, other: "Likeness") -> bool:
        """Whether both are one request, given that both began in the same millisecond.

        The duration decides, because programs sum the tokens of some providers differently; if one of them has not
        stored it, the tokens decide.
        """
        if (self.model, self.failed) != (other.model, other.failed):
            return False
        if self.latency_ms and other.latency_ms:
            return self.latency_ms == other.latency_ms
        return (self.prompt, self.output) == (other.prompt, other.output)


_AT = """
select e.id, r.model, e.code <> '', e.latency_ms, e.uncached + e.cache_read + e.cache_write, e.output
from entry e join series s on s.id = e.series join route r on r.id = s.route
where e.ts_ms = ? and r.proxy = ? and e.id <= ?
"""


def entries_at(
    connection: sqlite3.Connection, proxy: int, moments: Iterable[int], *, until: int
) -> dict[int, list[tuple[int, Likeness]]]:
    """The entries of a proxy up to the id ``until`` that began at ``moments`` (ms), each with its id."""
    return {
        ts_ms: [
            (id_, Likeness(model, bool(failed), latency_ms, prompt, output))
            for id_, model, failed, latency_ms, prompt, output in connection.execute(_AT, (ts_ms, proxy, until))
        ]
        for ts_ms in moments
    }
