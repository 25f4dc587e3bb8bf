"""What a lost ledger is restored from besides its entries: its state at one moment.

Ids mean nothing in another ledger, so clients appear here by pseudonym, credentials by what identifies them, and
sessions of limits by what has a window of its own. Nothing here names anybody.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgspec

from exporter.ledger.credential_store import MASKED, ROOTS
from exporter.ledger.store.snapshots import MarkKey, read_marks, read_restored
from exporter.normalize.snapshot import Mark, has_restarted
from exporter.normalize.wire_record import without_nul

_CLIENTS_PER_PART = 500
_K = TypeVar("_K")
_V = TypeVar("_V")


class ExportedCredential(NamedTuple):
    """A credential and all those merged into it. ``long_names`` are its names in the history, the current one first.

    ``keys`` and ``names`` are (kind, value): see the ledger's schema. ``readable`` are the names shown without an
    alias, the current one first; checkpoints of older versions lack them.
    """

    long_names: tuple[str, ...]
    provider: str
    billing: int
    openai_compatible: bool
    keys: tuple[tuple[str, str], ...]
    names: tuple[tuple[str, str], ...]
    readable: tuple[str, ...] = ()


class ExportedClient(NamedTuple):
    pseudonym: str
    masked: str


class ExportedSession(NamedTuple):
    """A session of a limit: see ``exporter.ledger.views.limit_windows``.

    ``scope`` is the kind and value of what has a window of its own: a credential's long name, a client's pseudonym or a
    model. Both are empty if one window counts all.
    """

    limit: str
    scope: tuple[str, str]
    ended_ms: int
    started_ms: int | None


class ExportedSnapshots(msgspec.Struct, frozen=True):
    """The last good snapshot of a proxy: see ``exporter.ledger.store.snapshots.LastSnapshot``."""

    snapshot_ms: int | None = None
    counted_from_ms: int | None = None
    counted_until_ms: int | None = None


class ExportedLimits(msgspec.Struct, frozen=True):
    """Manual resets by limit in ms, and sessions: those of the whole exporter, without other proxies' credentials."""

    anchors: Mapping[str, int] = {}
    sessions: tuple[ExportedSession, ...] = ()


CREDENTIALS, SNAPSHOTS, LIMITS, HASH_KEY = "credentials", "snapshots", "limits", "hash_key"
CLIENTS = "clients/"
"""Kinds of documents. ``CLIENTS`` is followed by the number of a part; only the last part grows."""

OF_CLIENTS = "from client where id in (select s.client from series s join route r on r.id = s.route where r.proxy = ?)"
"""Ends a statement that selects the clients of a proxy."""

# Without those of other proxies' credentials, and of credentials that were merged into another one.
_SESSIONS = """
with parted as (
    select *, substr(scope, 1, instr(scope, ':') - 1) as kind, substr(scope, instr(scope, ':') + 1) as value
    from limit_session
)
select limit_id, kind, case kind when 'credential' then c.label when 'client' then k.pseudonym else value end,
    ended_ms, started_ms
from parted
left join credential c on kind = 'credential' and c.id = cast(value as integer) and c.proxy = ? and merged_into is null
left join client k on kind = 'client' and k.id = cast(value as integer)
where kind <> 'credential' or c.id is not null order by limit_id, scope
"""


@dataclass(frozen=True, slots=True)
class ProxyState:
    """State of one proxy: documents by kind, and its last snapshot. Equal states need not be sent twice."""

    documents: dict[str, Any]
    marks: Mapping[MarkKey, Mark]


def changed(now: Mapping[_K, _V], sent: Mapping[_K, _V]) -> dict[_K, _V]:
    """What is new, or has changed since it was sent."""
    return {key: value for key, value in now.items() if sent.get(key) != value}


def checkpoint(state: ProxyState | None, sent: ProxyState | None, *, key_sign: str) -> dict[str, Any] | None:
    """The checkpoint that ``exporter_book`` takes: what ``state`` has and ``sent`` has not; None if that is nothing."""
    if state is None or state == sent:
        return None
    known = sent or ProxyState({}, {})
    documents = state.documents if sent is not None else {HASH_KEY: key_sign} | state.documents
    found = {
        "state": changed(documents, known.documents),
        "baselines": [_baseline(*each) for each in changed(state.marks, known.marks).items()],
        "gone": [{"client": client, "model": model} for client, model in known.marks.keys() - state.marks.keys()],
        "whole": sent is None,
    }
    # A ledger of an older version may hold a NUL, which the database refuses.
    return msgspec.json.decode(without_nul(msgspec.json.encode(found)), type=dict[str, Any])


def _baseline(key: MarkKey, mark: Mark) -> dict[str, Any]:
    sha256 = None if mark.sha256 is None else mark.sha256.hex()
    return {"client": key[0], "model": key[1]} | msgspec.structs.asdict(mark) | {"sha256": sha256}


def read_state(connection: sqlite3.Connection, proxy: int) -> ProxyState:
    """The state of a proxy, as the ledger has it."""
    snapshots = connection.execute(
        "select coalesce(restored_snapshot_ms, snapshot_ms), counted_from_ms, counted_until_ms from proxy where id = ?",
        (proxy,),
    ).fetchone()
    roots = dict(connection.execute(f"{ROOTS} select id, root from root"))
    anchors = dict(connection.execute("select limit_id, anchor_ms from limit_anchor order by 1"))
    sessions = connection.execute(_SESSIONS, (proxy,))
    documents: dict[str, Any] = {
        SNAPSHOTS: ExportedSnapshots(*snapshots),
        CREDENTIALS: _credentials(connection, proxy, roots),
        LIMITS: ExportedLimits(
            anchors, tuple(ExportedSession(limit, (kind, value), *span) for limit, kind, value, *span in sessions)
        ),
    }
    return ProxyState(documents | _clients(connection, proxy), _marks(connection, proxy))


def _marks(connection: sqlite3.Connection, proxy: int) -> dict[MarkKey, Mark]:
    """The marks of the last snapshot.

    The next look books what a proxy without details counted between the restored snapshot and the first contact. Until
    then, the marks are lower by that: if this ledger is lost before, the next one books it.
    """
    marks = read_marks(connection, "snapshot_series", proxy)
    restored = read_restored(connection, proxy)
    if restored is None:
        return marks
    counted = {} if has_restarted(restored.first, restored.marks) else restored.marks
    for series in restored.first:
        key = (series.key, series.model)
        mark, before = marks.get(key), counted.get(key, Mark(0, 0))
        if mark is not None and mark.requests >= series.requests:
            requests = mark.requests - series.requests + before.requests
            marks[key] = Mark(requests, max(0, mark.tokens - series.tokens + before.tokens))
    return marks or dict(restored.marks)


def _credentials(
    connection: sqlite3.Connection, proxy: int, roots: Mapping[int, int]
) -> tuple[ExportedCredential, ...]:
    rows = connection.execute(
        "select id, label, readable, provider, billing, openai_compatible from credential where proxy = ? order by id",
        (proxy,),
    ).fetchall()
    called: defaultdict[int, dict[str, None]] = defaultdict(dict)
    shown: defaultdict[int, dict[str, None]] = defaultdict(dict)
    for id_, name, readable, *_ in sorted(rows, key=lambda row: roots[row[0]] != row[0]):
        called[roots[id_]][name] = shown[roots[id_]][readable] = None
    keys: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    for kind, value, id_ in connection.execute(
        "select kind, value, credential from credential_key where proxy = ? order by kind, value", (proxy,)
    ):
        if kind == MASKED:
            called[roots[id_]][value] = None
        else:
            keys[roots[id_]].append((kind, value))
    names: defaultdict[int, dict[tuple[str, str], None]] = defaultdict(dict)
    for kind, value, id_ in connection.execute("select kind, value, credential from credential_name order by 1, 2, 3"):
        names[roots[id_]][(kind, value)] = None
    return tuple(
        ExportedCredential(
            tuple(called[id_]),
            provider,
            billing,
            bool(compatible),
            tuple(keys[id_]),
            tuple(names[id_]),
            tuple(filter(None, shown[id_])),
        )
        for id_, _, _, provider, billing, compatible in rows
        if roots[id_] == id_
    )


def _clients(connection: sqlite3.Connection, proxy: int) -> dict[str, tuple[ExportedClient, ...]]:
    parts: defaultdict[int, list[ExportedClient]] = defaultdict(list)
    for id_, pseudonym, masked in connection.execute(f"select id, pseudonym, label {OF_CLIENTS} order by id", (proxy,)):
        parts[id_ // _CLIENTS_PER_PART].append(ExportedClient(pseudonym, masked))
    return {f"{CLIENTS}{part}": tuple(clients) for part, clients in parts.items()}
