"""Providers' answers through the proxy's ``api-call``, recorded or made up, as the exporter reads them."""

import json
from datetime import UTC, datetime
from typing import Any

from exporter.quotas.all_providers import PROVIDERS
from exporter.quotas.base import Call, Report
from exporter.quotas.reading import Reading
from exporter.sources.quota_calls import read_tunnel
from tests.fakes.recordings import body_of, recorded

NOW_MS = 1_795_536_000_000 - 1_947_000
"""2026-11-24 15:27:33 UTC, when the answers of CPA 7.2.140 were recorded."""
HOUR_MS = 3_600_000

ASKED = {name: provider.questions for name, provider in PROVIDERS.items() if provider.questions}
"""What providers are asked about an account."""
CALLS = [call for questions in ASKED.values() for question in questions for call in question.ways if call]
_BY_URL = {call.url: call for call in CALLS}


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def call_of(provider: str, question: int = 0, way: int = 0) -> Call:
    call = ASKED[provider][question].ways[way]
    assert call is not None
    return call


def wrapped(body: Any, *, status: Any = 200, **headers: str) -> bytes:
    """The proxy's answer around a provider's body: an object becomes JSON, a text stays unchanged."""
    text = body if isinstance(body, str) else json.dumps(body)
    named = {name.replace("_", "-").title(): [value] for name, value in headers.items()}
    return json.dumps({"status_code": status, "header": named, "body": text}).encode()


def told(call: Call, body: Any, *, status: Any = 200, **headers: str) -> Report:
    """The report in a provider's answer with this body, received at ``NOW_MS``."""
    return read_tunnel(call, 200, wrapped(body, status=status, **headers), received_ms=NOW_MS)


def told_by(name: str, call: Call | None = None, version: str = "v7.2.140/api-call/") -> Report:
    """The report in a recorded answer, read as ``call``, by default the call of the recorded page."""
    recording = recorded(f"{version}{name}.json")
    call = call or _BY_URL[recording["request"]["body"]["url"]]
    return read_tunnel(call, recording["status"], body_of(f"{version}{name}.json"), received_ms=NOW_MS)


def windows(readings: tuple[Reading, ...]) -> dict[tuple[str, str], float]:
    """The used share, by window and scope."""
    return {(reading.window, reading.scope): reading.used_ratio for reading in readings}


def one(report: Report) -> Reading:
    (reading,) = report.readings
    return reading
