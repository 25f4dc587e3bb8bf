"""Identity v1 of a usage record: its time in ms and a 64-bit hash of what the proxy sent.

The list of fields is fixed forever: extending it would give every known record a second identity. None of them is
redacted, so a lost hash key changes no identity. ``request_id`` is among them but identifies nothing by itself.
"""

import hashlib
from typing import Any

import msgspec

from exporter.normalize.wire_record import Wire

_encode = msgspec.json.Encoder().encode


def queue_fingerprint(proxy: str, wire: Wire) -> int:
    """The signed 64-bit fingerprint of a queue record of the proxy named ``proxy``."""
    tokens, fail = wire.tokens, wire.fail
    fields = (
        "queue/1",
        proxy,
        wire.timestamp,
        wire.auth_index,
        wire.provider,
        wire.model,
        wire.alias,
        wire.endpoint,
        wire.request_id,
        wire.latency_ms,
        wire.ttft_ms,
        wire.failed,
        fail and fail.status_code,
        tokens and tokens.input_tokens,
        tokens and tokens.output_tokens,
        tokens and tokens.reasoning_tokens,
        tokens and tokens.cached_tokens,
        tokens and tokens.total_tokens,
    )
    return fingerprint_of(fields)


def fingerprint_of(fields: tuple[Any, ...]) -> int:
    """The signed 64-bit hash of ``fields``; the first one names their kind."""
    return int.from_bytes(hashlib.blake2b(_encode(fields), digest_size=8).digest(), "big", signed=True)


def fingerprint_of_equal(fingerprint: int, others: int) -> int:
    """The fingerprint of a record after this many ``others`` with this ``fingerprint``."""
    nth = fingerprint + others
    return nth - 2**64 if nth >= 2**63 else nth
