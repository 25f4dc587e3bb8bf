"""Takes usage records out of a proxy's queue, over HTTP.

Taking removes: the proxy keeps nothing, acknowledges nothing and sends nothing twice. So a pop is never repeated, not
even after an error, and whatever arrived of an answer is handed over before anything is raised. If no answer came at
all, its records are lost, and only the proxy's own counts can tell.
"""

from collections.abc import Callable

import msgspec

from exporter.errors import BadAnswerError, ProxyError, SourceGoneError
from exporter.sources.client import ProxyClient
from exporter.sources.detect import Source

POP_COUNT = 500
"""Records per call: 1.2 MB as CPA 7.2 writes them, far below the limit of a body even with long error texts."""

MAX_POPS = 10_000
"""Pops per drain, so that it ends, and its thread can do something else, under traffic that never does."""

_ANSWERS = frozenset({200, 404})


class Popped(msgspec.Struct, frozen=True):
    """What came of one pop: a JSON array as the proxy sent it.

    ``complete`` is false if the body ends early; ``error`` then says why, and the records behind its end are lost.
    """

    body: bytes
    complete: bool
    error: ProxyError | None


class Drained(msgspec.Struct, frozen=True):
    """What came of a drain. ``emptied`` is false if it ended with more records waiting, at its limit or at a stop."""

    pops: int
    elements: int
    emptied: bool


def pop(client: ProxyClient, source: Source, count: int = POP_COUNT) -> Popped:
    """Take up to ``count`` records, the oldest first.

    Raises SourceGoneError on a 404, BadAnswerError if the answer was not a queue's, and the errors of ``client``.
    """
    answer = client.get(f"{source.paths.queue}?count={count}", accept=_ANSWERS)
    if answer.status == 404:
        raise SourceGoneError(
            f"{client.where} has no usage queue any more (404): its version changed, or its management is off."
        )
    # Whatever CPA itself sends here is records that it has forgotten, even if it cannot be read.
    if answer.complete and not (answer.body and answer.from_cpa) and not answer.body.lstrip().startswith(b"["):
        raise BadAnswerError(
            f"{client.where} answered its usage queue with something that is no list. Is there a server in between?"
        )
    return Popped(body=bytes(answer.body), complete=answer.complete, error=answer.error)


def drain(
    client: ProxyClient,
    source: Source,
    *,
    handle: Callable[[bytes, bool], int],
    count: int = POP_COUNT,
    max_pops: int = MAX_POPS,
    may_pop: Callable[[], bool] = lambda: True,
    ended: Callable[[bool], None] = lambda _cut: None,
) -> Drained:
    """Pop until fewer than ``count`` records come, at most ``max_pops`` times, and while ``may_pop()``.

    ``handle`` gets each body and whether it is complete, stores it durably before it returns, and returns the number of
    its elements. A body that breaks off is handed over, and then its error is raised. ``ended`` follows each pop and
    ``handle``; it gets whether the answer to a request that was sent is not whole. Raises as ``pop`` does.
    """
    elements = pops = 0
    while pops < max_pops and may_pop():
        pops += 1
        cut = False
        try:
            try:
                popped = pop(client, source, count)
            except ProxyError as exc:
                cut = exc.answer_lost
                raise
            cut = popped.error is not None
            seen = handle(popped.body, popped.complete) if popped.body else 0
        finally:
            ended(cut)
        elements += seen
        if popped.error is not None:
            raise popped.error
        if seen < count:
            return Drained(pops=pops, elements=elements, emptied=True)
    return Drained(pops=pops, elements=elements, emptied=False)
