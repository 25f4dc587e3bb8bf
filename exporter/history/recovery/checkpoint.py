"""The state of a proxy as the checkpoint that ``exporter_book`` takes: what has changed since the last one.

The documents name nobody: they hold pseudonyms of clients, credentials and accounts.
"""

from collections.abc import Mapping

import msgspec

from exporter.history.client import Row
from exporter.ledger.store.snapshots import MarkKey
from exporter.ledger.sync.export_state import ExportedSession, ProxyState
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.snapshot import Mark
from exporter.normalize.wire import without_nul

CREDENTIALS, SNAPSHOTS, LIMITS, HASH_KEY = "credentials", "snapshots", "limits", "hash_key"
CLIENTS = "clients/"
"""Kinds of documents. ``CLIENTS`` is followed by the number of a part."""


class LimitState(msgspec.Struct, frozen=True):
    """Manual resets by limit in ms, and sessions."""

    anchors: dict[str, int] = {}
    sessions: tuple[ExportedSession, ...] = ()


def sign_of_key(pseudonym: Pseudonym) -> str:
    """A text that changes only with the hash key of the pseudonyms, and reveals nothing else."""
    return pseudonym("the hash key")


class Checkpoints:
    """Remembers which state Supabase has."""

    def __init__(self, key_sign: str) -> None:
        """``key_sign`` is the sign of the hash key."""
        self._key_sign = key_sign
        self._sent: ProxyState | None = None

    def changes(self, state: ProxyState) -> Row | None:
        """What must be sent so that Supabase has ``state``; None if it has."""
        if state == self._sent:
            return None
        known = {} if self._sent is None else self._documents(self._sent)
        documents = {kind: value for kind, value in self._documents(state).items() if known.get(kind) != value}
        marks: Mapping[MarkKey, Mark] = {} if self._sent is None else self._sent.marks
        changes = {
            "state": documents,
            "baselines": [_baseline(key, mark) for key, mark in state.marks.items() if marks.get(key) != mark],
            "gone": [{"client": client, "model": model} for client, model in marks.keys() - state.marks.keys()],
            "whole": self._sent is None,
        }
        # A ledger of an older version may hold a NUL, which the database refuses.
        encoded = msgspec.json.encode(changes)
        cleaned = without_nul(encoded)
        return changes if cleaned is encoded else msgspec.json.decode(cleaned, type=Row)

    def sent(self, state: ProxyState) -> None:
        """Remember that Supabase has ``state``."""
        self._sent = state

    def _documents(self, state: ProxyState) -> dict[str, object]:
        documents: dict[str, object] = {
            HASH_KEY: self._key_sign,
            SNAPSHOTS: state.snapshots,
            CREDENTIALS: state.credentials,
            LIMITS: LimitState(dict(state.anchors), state.sessions),
        }
        documents |= {f"{CLIENTS}{part}": clients for part, clients in state.clients.items()}
        return {kind: msgspec.to_builtins(document) for kind, document in documents.items()}


def _baseline(key: MarkKey, mark: Mark) -> Row:
    sha256 = None if mark.sha256 is None else mark.sha256.hex()
    return {"client": key[0], "model": key[1]} | msgspec.structs.asdict(mark) | {"sha256": sha256}
