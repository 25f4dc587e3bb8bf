"""Reads a proxy's usage records over RESP, as one of several subscribers. Each of them gets every record.

While anybody subscribes, CPA (7.0.7 and newer, not 7.1.17; observed in 7.2.140, for 8 only in ports of it) puts no
record into its queue: it hands each to all subscribers and forgets it. Readers of the queue get nothing meanwhile. What
CPA publishes while we do not subscribe is in the queue or, if there are other subscribers, gone. So this source reads
the queue after each subscription begins and while there is none, and reports each time without one as a gap.

CPA keeps 256 records for a subscriber that does not read, then drops it. So a separate thread reads, whatever the polls
wait for, and hands over its records after ``_HOLD_SECONDS``: with the commit, within 250 ms.
"""

import threading
import time
from collections.abc import Callable
from contextlib import closing

import msgspec
import structlog

from exporter.errors import ProxyError, ProxyServerError, ProxyUnreachableError
from exporter.sentences import joined, say
from exporter.sources.base import Receiver, Version, Way, parse_version
from exporter.sources.paths import Paths
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.resp_connection import Reply, RespConnection, connect
from exporter.sources.usage_queue import UsageQueue

STARVES = say(
    "While anybody subscribes, programs that poll its usage queue get nothing, and each subscriber gets every record."
)

_FIRST = (7, 0, 7)
_WITHOUT = (7, 1, 17)

_HOLD_SECONDS = 0.1
"""How long a record waits for others, so that a busy proxy does not cost a commit per record."""
_MOST_HELD = 500
_PING_SECONDS = 5.0
_PONG_SECONDS = 5.0
"""A connection whose other side is gone swallows records, so it ends if a PING has no answer for this long."""
_TICK_SECONDS = 0.1
_BEGIN_SECONDS = 3.0
_END_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0

_log = structlog.get_logger("exporter.poller")


class _Message(msgspec.Struct):
    """A record has a time or tokens, unlike CPA's own messages (``{"refresh": true}`` and others)."""

    timestamp: object = None
    tokens: object = None


_decode = msgspec.json.Decoder(_Message).decode


class UsageSubscription(UsageQueue):
    """A proxy's queue and, where possible, a subscription to the records that then bypass it."""

    is_pushed = True

    def __init__(self, client: ProxyClient, paths: Paths) -> None:
        super().__init__(client, paths)
        version = parse_version(client.version)
        self._has_resp = version is None or (version >= _FIRST and version != _WITHOUT)
        self._why_not = "" if self._has_resp else say("A subscription needs CPA 7.0.7 or newer, and not 7.1.17.")
        self._thread: threading.Thread | None = None
        self._begun = threading.Event()
        self._fault: Exception | None = None
        self._number = 0
        """The number of the current subscription, 0 if there is none."""
        self._begun_so_far = 0
        self._emptied_for = 0
        self._heard_at: float | None = None
        self._held: list[bytes] = []
        self._held_since = 0.0
        self._asked = 0
        self._caught_up = threading.Event()

    @classmethod
    def is_offered(cls, client: ProxyClient, paths: Paths, version: Version | None, /) -> bool:
        return client.subscribes and super().is_offered(client, paths, version)

    @property
    def way(self) -> Way:
        if self._number:
            return Way("subscription", note=STARVES, has_rivals=False)
        polled = say("It is polled instead.")
        return Way("queue", note=joined(polled, self._why_not) if self._why_not else "")

    def poll(self, receiver: Receiver, now_ms: int, /) -> bool:
        """Read the queue if it may hold anything, and wait until the thread has handed over everything sent so far."""
        if self._fault is not None and self._thread is not None and not self._thread.is_alive():
            fault, self._fault, self._thread = self._fault, None, None
            raise fault
        if self._thread is None and self._has_resp and not self.stopping.is_set():
            self._begun.clear()
            self._thread = threading.Thread(
                target=self._run, args=(receiver,), name=f"subscribe-{self.client.name}", daemon=True
            )
            self._thread.start()
            self._begun.wait(_BEGIN_SECONDS)
        number = self._number
        if number and number == self._emptied_for:
            return self._catch_up()
        is_emptied = super().poll(receiver, now_ms)
        if is_emptied:
            self._emptied_for = number
        is_subscribed = number or self._number  # it may have ended or begun meanwhile
        return is_emptied and (not is_subscribed or self._catch_up())

    def close(self) -> None:
        super().close()
        if self._thread is not None:
            self._thread.join(_END_SECONDS + 1.0)

    # --- the reading thread -------------------------------------------------------------------------------------------

    def _run(self, receiver: Receiver) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while self._fault is None and not self.stopping.is_set():
            before = self._begun_so_far
            try:
                with closing(connect(self.client)) as connection:
                    self._follow(connection, receiver)
            except ProxyError as exc:
                if str(exc) != self._why_not and self._fault is None and not self.stopping.is_set():
                    self._why_not = str(exc)
                    message = f"{exc} Its queue is polled until this works."
                    _log.warning("not_subscribed", proxy=self.client.name, message=message)
            except Exception as exc:  # noqa: BLE001 - as in _tell
                self._fault = exc
            finally:
                self._number = 0
                self._begun.set()
            pause = _FIRST_PAUSE_SECONDS if self._begun_so_far > before else min(2 * pause, _LONGEST_PAUSE_SECONDS)
            self.stopping.wait(pause)

    def _follow(self, connection: RespConnection, receiver: Receiver) -> None:
        """Subscribe, and hand over until the connection or the exporter ends, or the receiver fails.

        What the proxy has sent by then is nowhere else, so it is still read, and the receiver holds it.
        """
        if self.stopping.is_set():
            return
        if not self._begun_so_far:
            _log.info("subscribing", proxy=self.client.name, message=f"{self.client.where}: {STARVES}")
        if connection.ask("SUBSCRIBE", "usage") != [b"subscribe", b"usage", 1]:
            raise ProxyServerError("{where} does not let anybody subscribe to its usage.", where=self.client.where)
        now = time.monotonic()
        self._tell(lambda: receiver.missed(None if self._heard_at is None else now - self._heard_at))
        self._begun_so_far += 1
        self._number, self._why_not = self._begun_so_far, ""
        self._begun.set()
        self._heard_at = pinged_at = now
        answered, ends_at = self._asked, None
        try:
            while ends_at is None or now < ends_at:
                if ends_at is None and (self._fault is not None or self.stopping.is_set()):
                    ends_at = now + _END_SECONDS
                    connection.send("UNSUBSCRIBE")
                is_silent = self._heard_at < pinged_at
                if is_silent and now - pinged_at > _PONG_SECONDS:
                    raise ProxyUnreachableError("{where} did not answer a PING over RESP.", where=self.client.where)
                if self._asked != answered or (not is_silent and now - pinged_at >= _PING_SECONDS):
                    pinged_at = pinged_at if is_silent else now
                    answered = self._asked
                    connection.send("PING", str(answered))
                wait = self._held_since + _HOLD_SECONDS - now if self._held else _TICK_SECONDS
                replies = connection.receive(min(wait, _TICK_SECONDS))
                now = time.monotonic()
                if replies:
                    self._heard_at = now
                is_answer = self._take(replies, now)
                is_due = is_answer or now >= self._held_since + _HOLD_SECONDS or len(self._held) >= _MOST_HELD
                if is_due and self._fault is None:  # else there is only time to read
                    self._hand_over(receiver)
                if is_answer and self._fault is None:
                    self._caught_up.set()
        finally:
            self._hand_over(receiver)

    def _take(self, replies: list[Reply], now: float) -> bool:
        """Hold the records among ``replies``, and return whether these answer the PING that a poll waits for."""
        is_answer = False
        for reply in replies:
            match reply:
                case [b"message", b"usage", bytes(body)]:
                    if not self._held:
                        self._held_since = now
                    self._held += _records_in(body)
                case [b"pong", bytes(word)]:
                    is_answer = is_answer or word == str(self._asked).encode()
        return is_answer

    def _hand_over(self, receiver: Receiver) -> None:
        held, self._held = self._held, []
        if held:
            self._tell(lambda: receiver.records(b"[" + b",".join(held) + b"]"))

    def _tell(self, tell: Callable[[], object]) -> None:
        try:
            tell()
        except Exception as exc:  # noqa: BLE001 - a poll raises it when the thread has ended, and starts over
            self._fault = exc

    def _catch_up(self) -> bool:
        """Wait until the thread has handed over all that precedes the answer to a PING; False after a time-out."""
        self._caught_up.clear()
        self._asked += 1
        return self._caught_up.wait(_BEGIN_SECONDS)


def _records_in(body: bytes) -> list[bytes]:
    """The record in a message as a JSON element; none for CPA's own messages."""
    try:
        message = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [msgspec.json.encode(body.decode(errors="replace"))]  # counts as one unreadable record
    return [body] if message.timestamp is not None or message.tokens is not None else []
