"""What a usage source is: a way in which a proxy hands out its usage.

Each way is a subclass in a file of its own, and a line in ``exporter.sources.all_sources.SOURCES``. The interface
states every difference between them, so that nothing outside asks which one it is.
"""

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from exporter.sources.paths import Paths
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.proxy_config import Flags, read_flags

POLL_SECONDS = 15.0
MOST_POPPED = 1000
"""Records in one answer that the proxy then forgets: the most that a lost answer of any source can cost."""


Version = tuple[int, int, int]
"""A CPA release. Whatever follows the three numbers (commits on top, a fork's suffix) does not count."""

_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+].*)?", re.ASCII | re.DOTALL)


def parse_version(text: str) -> Version | None:
    """The release in an ``X-CPA-VERSION`` (``v7.2.140``, ``7.2.140``, ``v7.2.140-3-gabc1234-dirty``), else None."""
    match = _VERSION.fullmatch(text.strip())
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


@dataclass(frozen=True)
class Way:
    """How the exporter reads a source right now. ``name`` appears in the label ``source`` and in sentences.

    ``note`` is a sentence about it or empty. ``has_rivals``: other programs can take its records away.
    """

    name: str
    note: str = ""
    has_rivals: bool = True


@dataclass(frozen=True)
class Receiver:
    """Where a source delivers. Its ``poll`` calls these and lets their errors pass; the thread of a pushed one calls
    ``records`` and ``missed``, too.

    ``records`` gets a JSON array of records, stores it durably before it returns, and returns the number of its
    elements; for a pushed source it never waits for the proxy. ``snapshot`` gets a whole ``/usage`` and the time in ms
    when the proxy sent it. A source that takes records away asks ``may_take`` before each such request; after it and
    ``records`` it calls ``taken``, saying whether records are lost because an answer is missing or incomplete.
    ``missed`` learns that records of the last so many seconds may have gone elsewhere; None means since the last poll.
    """

    records: Callable[[bytes | bytearray], int]
    snapshot: Callable[[bytes | bytearray, int], None]
    may_take: Callable[[], bool] = lambda: True
    taken: Callable[[bool], None] = lambda _answer_lost: None
    missed: Callable[[float | None], None] = lambda _seconds: None


class Source(ABC):
    """The usage source of one proxy. For one thread at a time, except ``stop``.

    ``kind`` is its name in the ledger; it never changes, and two ways to read the same records share one. A
    *cumulative* source keeps and counts everything since the proxy's start, so the exporter can read it at any time,
    and its counts reveal restarts and omissions. Any other source forgets what it hands out and what nobody reads
    within the retention, so the exporter looks for losses. A *pushed* one may immediately lose what comes while it is
    not connected. ``restart_cost`` is a sentence on what a restart of the proxy loses; its ``{unread}`` is the time
    since the last poll. ``poll_seconds`` is the longest pause between two polls.
    """

    kind: ClassVar[str]
    is_cumulative: ClassVar[bool]
    is_pushed: ClassVar[bool] = False
    restart_cost: ClassVar[str]
    poll_seconds: ClassVar[float] = POLL_SECONDS

    def __init__(self, client: ProxyClient, paths: Paths) -> None:
        self.client = client
        self.paths = paths
        self.version = client.version
        self.stopping = threading.Event()

    @classmethod
    @abstractmethod
    def is_offered(cls, client: ProxyClient, paths: Paths, version: Version | None, /) -> bool:
        """Whether the proxy has this source at ``paths``. Finding out takes no record.

        ``version`` is None if unknown. Raises UnknownServerError for an answer that no CPA gives, and the errors of
        ``client``.
        """

    @abstractmethod
    def poll(self, receiver: Receiver, now_ms: int, /) -> bool:
        """Deliver everything new, and return whether nothing is left to read.

        Raises SourceGoneError if the source is gone, and the errors of the client and of ``receiver``.
        """

    @property
    def way(self) -> Way:
        """How the exporter reads it right now."""
        return Way(self.kind)

    def stop(self) -> None:
        """Begin to end any work between polls. From any thread; does not wait."""
        self.stopping.set()

    def close(self) -> None:
        """End the source: it delivers nothing more once this returns."""
        self.stop()

    def read_flags(self) -> Flags:
        """The proxy's settings now: see ``exporter.sources.proxy_config``. In a cumulative source nothing expires."""
        flags = read_flags(self.client, self.paths)
        return flags._replace(retention_seconds=None) if self.is_cumulative else flags
