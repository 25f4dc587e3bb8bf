"""What a usage source is: one of the ways in which a proxy hands out its usage.

Each way is a subclass in a file of its own, and a line in ``exporter.sources.detect.SOURCES``. Everything that differs
between them is said here, so that nothing outside asks which one it is.
"""

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from exporter.sentences import joined, say
from exporter.sources.client import ProxyClient
from exporter.sources.flags import Flags, read_flags
from exporter.sources.paths import Paths

POLL_SECONDS = 15.0


class Version(NamedTuple):
    """A CPA release; what follows the three numbers (commits on top, the suffix of a fork) does not count."""

    major: int
    minor: int
    patch: int


_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+].*)?", re.ASCII | re.DOTALL)


def parse_version(text: str) -> Version | None:
    """The release in an ``X-CPA-VERSION`` (``v7.2.140``, ``7.2.140``, ``v7.2.140-3-gabc1234-dirty``), else None."""
    match = _VERSION.fullmatch(text.strip())
    return Version(*map(int, match.groups())) if match else None


@dataclass(frozen=True)
class Way:
    """How a source is read right now. ``name`` is its name in the label ``source`` and in sentences.

    ``note`` is a sentence about it, empty if there is nothing to say. ``has_rivals``: other programs can take its
    records away.
    """

    name: str
    note: str = ""
    has_rivals: bool = True

    def sentence(self, where: str) -> str:
        """That the proxy that sentences call ``where`` is read so, as it should."""
        return joined(say("{where} is read from its usage {way}.", where=where, way=self.name), self.note)


@dataclass(frozen=True)
class Receiver:
    """Where a source delivers. A source calls these from its ``poll`` and lets their errors pass; ``pushed`` and
    ``missed`` are for a thread of its own, too.

    ``records`` gets a JSON array of records, stores it durably before it returns, and returns the number of its
    elements. ``snapshot`` gets a whole ``/usage`` and when the proxy sent it, in ms. A source that takes records away
    asks ``may_take`` before each request that does, and calls ``taken`` after it and ``records``, with whether records
    were lost because the answer to a request that was sent is not whole. ``pushed`` is ``records`` that never waits
    for the proxy. ``missed`` is told that records of the last so many seconds may have gone elsewhere; None: of the
    time since the last poll.
    """

    records: Callable[[bytes | bytearray], int]
    snapshot: Callable[[bytes | bytearray, int], None]
    pushed: Callable[[bytes | bytearray], int]
    may_take: Callable[[], bool] = lambda: True
    taken: Callable[[bool], None] = lambda _answer_lost: None
    missed: Callable[[float | None], None] = lambda _seconds: None


class Source(ABC):
    """The usage source of one proxy. For one thread at a time, except ``stop``.

    ``kind`` is its name in the ledger; it never changes, and two ways to read the same records have one kind. A
    *cumulative* source keeps and counts everything since the proxy's start, so it can be read at any time, and its
    counts give away restarts and what it does not show. Any other one forgets what it hands out and what is not read
    within the retention, so losses are looked for. A *pushed* one may lose at once what comes while it is not
    connected. ``restart_cost`` is a sentence: what is lost when the proxy restarts; its ``{unread}`` is the time since
    the last poll. ``poll_seconds`` is the longest pause between two polls.
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
        """Whether the proxy has this source at ``paths``, asked without taking any record.

        ``version`` is None if it is unknown. Raises UnknownServerError for an answer that no CPA gives, and the errors
        of ``client``.
        """

    @abstractmethod
    def poll(self, receiver: Receiver, now_ms: int, /) -> bool:
        """Deliver all that is new; whether nothing is left to be read.

        Raises SourceGoneError if the source is not there any more, and the errors of the client and of ``receiver``.
        """

    @property
    def way(self) -> Way:
        """How it is read right now."""
        return Way(self.kind)

    def stop(self) -> None:
        """Begin to end what goes on between polls. From any thread; waits for nothing."""
        self.stopping.set()

    def close(self) -> None:
        """End it: nothing is delivered any more when this returns."""
        self.stop()

    def read_flags(self) -> Flags:
        """The proxy's settings now: see ``exporter.sources.flags``."""
        return read_flags(self.client, self.paths)
