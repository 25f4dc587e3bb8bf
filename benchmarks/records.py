"""The input of all benchmarks: bodies of a usage queue, made of the demo's traffic.

Records have the shape of CPA 7.2 with response headers. The accounts with the longest headers (OAuth of Claude and
Codex) are left out: the others have 1.4 kB a record, which flatters the exporter less, because ``json.loads`` pays for
every header and the exporter does not. A few thousand records are made once and sent again and again with new times,
because making them costs more than booking them.
"""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import count, cycle, islice

from exporter.simulator.world import CREDENTIALS
from tests.fakes.steered.traffic import Attempt, Traffic

SECONDS_BETWEEN_RECORDS = 0.7
"""10 million records in 81 days. The busier a proxy, the smaller the roll-up's share of the ledger."""

_MADE = 12_000
_LONG_HEADERS = {
    each.auth_index for each in CREDENTIALS if each.kind == "oauth" and each.provider in ("claude", "codex")
}


@dataclass(frozen=True, slots=True)
class _Template:
    """A record, cut where its time and its client's key belong."""

    before_key: bytes
    after_key: bytes
    latency_seconds: float


_Choice = tuple[_Template, bytes]
"""A record to send and the client's key to send it under."""


def real_labels() -> Iterator[_Choice]:
    """The demo's own spread: some 55 label sets, a few of them busy."""
    return ((template, key) for template, key, _ in cycle(_templates()))


def random_labels(label_sets: int) -> Iterator[_Choice]:
    """Each record has one of this many label sets, all equally likely: the worst case for a booking."""
    draw = random.Random(1)  # noqa: S311 - invented traffic, nothing secret
    return (_with_labels(draw.randrange(label_sets), at) for at in count())


def every_label_set(label_sets: int) -> Iterator[_Choice]:
    """Each of this many label sets once, then each once more."""
    return (_with_labels(at % label_sets, at) for at in count())


class Stream:
    """Bodies of records that follow each other in time; the first ``records`` of them lie in the past."""

    def __init__(self, choices: Iterator[_Choice], *, records: int) -> None:
        self._choices = choices
        self._ended = time.time() - records * SECONDS_BETWEEN_RECORDS

    def body(self, records: int = 1000) -> bytes:
        """The next records, in the order in which they ended, as the proxy sends them."""
        return b"[%b]" % b",".join(self._record(*choice) for choice in islice(self._choices, records))

    def bodies(self, number: int) -> list[bytes]:
        """The next ``number`` bodies of 1,000 records."""
        return [self.body() for _ in range(number)]

    def _record(self, template: _Template, key: bytes) -> bytes:
        self._ended += SECONDS_BETWEEN_RECORDS
        started = datetime.fromtimestamp(self._ended - template.latency_seconds, UTC).isoformat().encode()
        return b'{"timestamp":"%b"%b%b%b' % (started, template.before_key, key, template.after_key)


@cache
def _templates() -> list[tuple[_Template, bytes, tuple[str, str]]]:
    """Templates with their own clients' keys, and the credential and model of each."""
    made = Traffic(seed=1, zone=UTC).batch(_MADE, ending=time.time(), span_seconds=3600.0)
    return [_cut(attempt) for attempt in made if attempt.auth_index not in _LONG_HEADERS]


def _cut(attempt: Attempt) -> tuple[_Template, bytes, tuple[str, str]]:
    record = dict(attempt.record)
    del record["timestamp"]
    text = json.dumps(record, separators=(",", ":")).encode()
    key = record["api_key"].encode()
    field = b'"api_key":"'
    before, after = text.split(field + key, 1)
    template = _Template(b"," + before[1:] + field, after, record["latency_ms"] / 1000)
    return template, key, (attempt.auth_index, attempt.model)


@cache
def _by_pair() -> list[list[_Template]]:
    """The templates of each pair of credential and model."""
    pairs: dict[tuple[str, str], list[_Template]] = {}
    for template, _, pair in _templates():
        pairs.setdefault(pair, []).append(template)
    return list(pairs.values())


def _with_labels(label_set: int, at: int) -> _Choice:
    pairs = _by_pair()
    client, pair = divmod(label_set, len(pairs))
    templates = pairs[pair]
    return templates[at % len(templates)], b"sk-demo-client-%d" % client
