"""What the ledger knows of a proxy beside its entries, in one moment: what a lost ledger is restored from."""

import sqlite3
from dataclasses import dataclass

from exporter.ledger.dictionary import Dictionary


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyState:
    """State of one proxy. Equal states need not be sent twice."""


def read_state(connection: sqlite3.Connection, dictionary: Dictionary, proxy: int) -> ProxyState:
    """The state of a proxy."""
    return ProxyState()
