"""What a key guard needs around it: a clock that tests set, and a store that outlives the guard."""

import hashlib
import threading
from collections.abc import Collection

import msgspec

from exporter.clock import Clock
from exporter.sources.addresses import fingerprints
from exporter.sources.auth_guard import KeyGuard, RefusedKey

KEY = "mgmt-planted-Q7vXr2"
"""The key of the recorded servers."""


class TurnableClock(Clock):
    """A clock that moves only when a test moves it. ``jump`` sets the wall clock alone, as an administrator does."""

    def __init__(self, now: float = 1_795_000_000.0, monotonic: float = 5_000.0) -> None:
        self._now = now
        self._monotonic = monotonic

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        self._now += seconds

    def reboot(self, monotonic: float) -> None:
        self._monotonic = monotonic


class MemoryRefusals:
    """A refusal store that keeps bytes, as a file would. ``fail`` makes its next saves fail."""

    def __init__(self) -> None:
        self._saved = b"[]"
        self.fail: Exception | None = None

    def load(self) -> tuple[RefusedKey, ...]:
        return msgspec.json.decode(self._saved, type=tuple[RefusedKey, ...])

    def replace(self, fingerprints: Collection[str], proxy: str, *new: RefusedKey) -> None:  # noqa: ARG002 # one proxy
        if new and self.fail is not None:
            raise self.fail
        self._saved = msgspec.json.encode([*(key for key in self.load() if not key.is_of(fingerprints)), *new])

    def turn(self, fingerprint: str) -> threading.Lock:  # noqa: ARG002 # nobody waits
        return threading.Lock()


def keyed_hash(value: bytes) -> str:
    return hashlib.blake2b(value, key=b"test", digest_size=8).hexdigest()


def make_guard(
    *,
    store: MemoryRefusals | None = None,
    clock: TurnableClock | None = None,
    url: str = "http://proxy.example:8317",
    key: str = KEY,
    addresses: tuple[str, ...] = (),
) -> KeyGuard:
    """A guard whose host in ``url`` resolves to ``addresses``."""
    return KeyGuard(
        proxy="default",
        known_as=lambda: fingerprints(url, key, keyed_hash, resolve=lambda _host: addresses),
        store=store or MemoryRefusals(),
        clock=clock or TurnableClock(),
    )
