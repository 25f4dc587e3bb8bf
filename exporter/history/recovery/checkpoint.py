"""The state of a proxy as the checkpoint that ``exporter_book`` takes: what has changed since the last one.

The documents name nobody: they hold pseudonyms of clients, credentials and accounts.
"""

import msgspec

from exporter.history.client import Row
from exporter.ledger.store.snapshots import MarkKey
from exporter.ledger.sync.export_state import ProxyState
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.snapshot import Mark
from exporter.normalize.wire import without_nul

HASH_KEY = "hash_key"
"""Kind of the document with the sign of the hash key."""


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
        known = self._sent or ProxyState({}, {})
        documents = {HASH_KEY: self._key_sign} | state.documents if self._sent is None else state.documents
        changes = {
            "state": {kind: value for kind, value in documents.items() if known.documents.get(kind) != value},
            "baselines": [_baseline(key, mark) for key, mark in state.marks.items() if known.marks.get(key) != mark],
            "gone": [{"client": client, "model": model} for client, model in known.marks.keys() - state.marks.keys()],
            "whole": self._sent is None,
        }
        # A ledger of an older version may hold a NUL, which the database refuses.
        return msgspec.json.decode(without_nul(msgspec.json.encode(changes)), type=Row)

    def sent(self, state: ProxyState) -> None:
        """Remember that Supabase has ``state``."""
        self._sent = state


def _baseline(key: MarkKey, mark: Mark) -> Row:
    sha256 = None if mark.sha256 is None else mark.sha256.hex()
    return {"client": key[0], "model": key[1]} | msgspec.structs.asdict(mark) | {"sha256": sha256}
