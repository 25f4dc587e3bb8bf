"""The identity of a queue record. That of a snapshot's detail is in ``test_snapshot.py``."""

import json
from typing import Any

import pytest

from exporter.normalize.fingerprint import queue_fingerprint
from exporter.normalize.wire_record import Wire, decode_line

_RECORD = {
    "timestamp": "2026-10-01T12:00:00.123456789Z",
    "auth_index": "0123456789abcdef",
    "provider": "claude",
    "model": "claude-sonnet-4-5",
    "alias": "sonnet",
    "endpoint": "POST /v1/messages",
    "request_id": "00000001",
    "latency_ms": 1500,
    "ttft_ms": 300,
    "failed": True,
    "fail": {"status_code": 429},
    "tokens": {
        "input_tokens": 1,
        "output_tokens": 2,
        "reasoning_tokens": 3,
        "cached_tokens": 4,
        "total_tokens": 5,
    },
}


def _fingerprint(**changes: Any) -> int:
    wire = decode_line(json.dumps(_RECORD | changes).encode())
    assert isinstance(wire, Wire)
    return queue_fingerprint("default", wire)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 6961473310861105478),
        ({"tokens": None, "fail": None}, -6384666691625247544),
    ],
    ids=["all fields", "a success without tokens"],
)
def test_the_identity_never_changes(changes: dict[str, Any], expected: int) -> None:
    """With a different one, an import or a restored history would book again what is there."""
    assert _fingerprint(**changes) == expected
