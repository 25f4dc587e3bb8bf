"""Faults that a test can order from the demo proxy: what networks, reverse proxies and broken servers do to answers.

A fault is either *in front* of the proxy (nothing is popped) or *behind* it (the proxy has popped records before the
answer goes wrong). Records popped for an unreadable answer are lost.
"""

from dataclasses import dataclass
from enum import Enum


class FaultKind(Enum):
    """The ways in which an answer goes wrong."""

    # In front of the proxy: nothing is popped.
    STATUS = "status"
    HTML = "html"
    REDIRECT = "redirect"
    # Behind the proxy: the records are popped first.
    TRUNCATED = "truncated"
    HALF_CLOSED = "half_closed"
    CUT = "cut"
    HANG = "hang"
    DRIP = "drip"
    INSERT = "insert"
    HUGE = "huge"

    @property
    def in_front(self) -> bool:
        return self in {FaultKind.STATUS, FaultKind.HTML, FaultKind.REDIRECT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One order. ``path`` is a route's v0 name (``usage-queue``), also for its v8 path, or ``*`` for every route.

    ``status`` and ``body`` belong to STATUS, ``location`` to REDIRECT. ``seconds``: how long a HANG or a DRIP lasts.
    ``elements``: raw JSON values that INSERT puts at the head of the array. ``size``: bytes of the HUGE record, or of
    what HUGE adds to a snapshot, which stays readable.
    """

    path: str
    kind: FaultKind
    status: int = 503
    body: bytes = b""
    location: str = "https://login.demo.example/"
    seconds: float = 30.0
    elements: tuple[bytes, ...] = ()
    size: int = 2_000_000


HTML_PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to go on.</body></html>"
