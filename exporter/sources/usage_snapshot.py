"""Fetches the cumulative ``/usage`` of CPA up to 6.9 and of forks. Reading changes nothing on the proxy."""

from email.utils import parsedate_to_datetime

import msgspec

from exporter.errors import SourceGoneError
from exporter.sources.client import ProxyClient
from exporter.sources.detect import Source

MAX_SNAPSHOT_BYTES = 512 * 1024 * 1024
"""One detail takes 260 bytes: two million of them, months without a restart of the proxy."""

_ANSWERS = frozenset({200, 404})


class FetchedSnapshot(msgspec.Struct, frozen=True):
    """A whole body, and when the proxy sent it, by its own clock (ours where it does not tell)."""

    body: bytes | bytearray
    taken_ms: int


def fetch_snapshot(client: ProxyClient, source: Source, *, now_ms: int) -> FetchedSnapshot:
    """The snapshot as it is now.

    Raises SourceGoneError on a 404, and the errors of ``client``, also for a body that broke off: half a snapshot would
    look like a restart.
    """
    answer = client.get(source.paths.usage, accept=_ANSWERS, max_bytes=MAX_SNAPSHOT_BYTES)
    if answer.status == 404:
        raise SourceGoneError(
            f"{client.where} has no usage snapshot any more (404): its version changed, or its management is off."
        )
    if answer.error is not None:
        raise answer.error
    return FetchedSnapshot(body=answer.body, taken_ms=_date_ms(answer.headers.get("date", "")) or now_ms)


def _date_ms(text: str) -> int | None:
    try:
        return int(parsedate_to_datetime(text).timestamp() * 1000)
    except ValueError:
        return None
