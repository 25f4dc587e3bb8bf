"""Pops usage records from a proxy's queue, over HTTP.

A pop removes: the proxy keeps nothing, acknowledges nothing and sends nothing twice. So the exporter never repeats a
pop, not even after an error, and hands over whatever arrived of an answer before it raises anything. If no answer came
at all, its records are lost, and only the proxy's own counts can tell.
"""

from typing import ClassVar

from exporter.errors import BadAnswerError, ProxyError, SourceGoneError, UnknownServerError
from exporter.sources.base import MOST_POPPED, Receiver, Source, Version
from exporter.sources.http_errors import Answer
from exporter.sources.paths import Paths
from exporter.sources.proxy_client import FOUND_OR_NOT, ProxyClient

_PROBED = frozenset({200, 204, 400, 404, 405})
_PROBE_BYTES = 1024


class UsageQueue(Source):
    """The queue of CPA from 6.10.8 on."""

    kind = "queue"
    is_cumulative = False
    restart_cost = "What was waiting in its queue is lost."

    pop_count: ClassVar[int] = 500
    """Records in the first call of a poll: 1.2 MB as CPA 7.2 writes them, far below the limit of a body even with long
    error texts."""
    most_popped: ClassVar[int] = MOST_POPPED
    """Records in a later call, at four fifths of the cost per record. Larger bodies save nothing more."""
    most_bytes: ClassVar[int] = 4 * 1024 * 1024
    """The most bytes expected in a later call, judging by the records before. Once read, they take twice the memory."""
    max_pops: ClassVar[int] = 10_000
    """Pops per poll, so that a poll ends even under endless traffic and its thread can do something else."""

    @classmethod
    def is_offered(cls, client: ProxyClient, paths: Paths, _version: Version | None, /) -> bool:
        """Asks with ``count=0``, which every CPA with a queue refuses with 400 before it pops anything."""
        answer = client.get(f"{paths.queue}?count=0", accept=_PROBED, max_bytes=_PROBE_BYTES)
        if answer.status == 400 and "positive integer" in answer.error_text:
            return True
        if answer.status == 404:
            return False
        raise UnknownServerError(
            "{where} answered {status} to a question that every known CPA refuses with 400, so its queue is not"
            " touched. Is it a fork, or a server in between? Use CPA 6.10.8 or newer.",
            where=client.where,
            status=answer.status,
        )

    def poll(self, receiver: Receiver, _now_ms: int, /) -> bool:
        """Pop until fewer records come than requested, at most ``max_pops`` times, and only while ``may_take`` allows.

        Hands over a broken body before it raises the error.
        """
        count = self.pop_count
        for _ in range(self.max_pops):
            if not receiver.may_take():
                break
            answer_lost = False
            try:
                try:
                    answer = self.pop(count)
                except ProxyError as exc:
                    answer_lost = exc.answer_lost
                    raise
                answer_lost = answer.error is not None
                size = len(answer.body)
                seen = receiver.records(answer.body) if answer.body else 0
            finally:
                receiver.taken(answer_lost)
            answer.whole()
            if seen < count:
                return True
            count = max(1, min(self.most_popped, self.most_bytes * seen // size))
        return False

    def pop(self, count: int = pop_count) -> Answer:
        """Pop up to ``count`` records, the oldest first: a JSON array as the proxy sent it, perhaps incomplete.

        Raises SourceGoneError on a 404, BadAnswerError if the answer is not a queue's, and the errors of the client.
        """
        where = self.client.where
        answer = self.client.get(f"{self.paths.queue}?count={count}", accept=FOUND_OR_NOT)
        if answer.status == 404:
            raise SourceGoneError(
                "{where} has no usage queue any more (404): its version changed, or its management is off.", where=where
            )
        # Whatever CPA itself sends here is records that it has forgotten, readable or not.
        if answer.error is None and not (answer.body and answer.from_cpa) and not answer.body.lstrip().startswith(b"["):
            raise BadAnswerError(
                "{where} answered its usage queue with something that is not a list. Is there a server in between?",
                where=where,
            )
        return answer
