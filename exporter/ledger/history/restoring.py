"""Merges what the history has of a proxy into a ledger that does not know it.

It runs beside bookings, in small transactions that each note how far it came: killed anywhere, the next run continues
from there. Restored entries were not received from the proxy, so they are in no flow, and they are not live, so they
are in no counter; they are in roll-up, periods and windows.

Up to a moment, the beginning of a quarter of an hour, the roll-up is taken over as it is; from then on it is made from
the entries. So nothing is counted twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import asdict

from exporter.days import moment_ms
from exporter.ledger.changes import Change, Changes
from exporter.ledger.columns import OF_PROXY
from exporter.ledger.credential_store import MASKED, Credential
from exporter.ledger.history.checkpoint import (
    ExportedClient,
    ExportedCredential,
    ExportedLimits,
    ExportedSession,
    ExportedSnapshots,
)
from exporter.ledger.labels import OF_ROUTE, Route
from exporter.ledger.name_store import ANONYMOUS, BY_NAME, OTHER
from exporter.ledger.schema import BUCKET_MS, RESTORED
from exporter.ledger.store.booking import add_rollups, insert_restored, roll_up_again
from exporter.ledger.store.snapshots import MarkKey, save_marks
from exporter.normalize.snapshot import Mark
from exporter.quotas.reading import Reading
from exporter.records import UNKNOWN_CREDENTIAL, Basis, Billing, CredentialFacts

Row = dict[str, Any]
"""A row of the history, values by column."""

_SAVE_SESSION = """
insert into limit_session (limit_id, scope, ended_ms, started_ms) values (?1, ?2, ?3, ?4)
on conflict do update set ended_ms = ?3, started_ms = ?4
where ?5 or (?3, coalesce(?4, 0)) > (ended_ms, coalesce(started_ms, 0))
"""


class Progress(msgspec.Struct, frozen=True):
    """How far a restore has come. Records are taken over from ``from_ms`` on.

    ``rollups`` is the bucket that the roll-ups have reached, as the history writes it, and how many of that bucket;
    None when all are here. ``after`` is the identity of the last record.
    """

    from_ms: int
    rollups: tuple[str, int] | None
    after: tuple[int, int]


class Restoring:
    """Writes what is restored of a proxy. For one thread; bookings go on beside it. All methods raise LedgerError."""

    def __init__(self, changes: Changes, proxy: str) -> None:
        self._changes = changes
        self._changing = partial(changes.changing, proxy)
        self._clients: dict[str, int] = {}
        self._pseudonyms: dict[str, int] = {}

    def take_names(
        self, *, credentials: Iterable[ExportedCredential], clients: Iterable[tuple[ExportedClient, str]]
    ) -> None:
        """Make the keys and names find the same clients and credentials here as in the lost ledger.

        Each run calls this first. Each client comes with its current pseudonym, which is a new one if the hash key was
        lost.
        """
        with self._changing() as change:
            for credential in credentials:
                _take_credential(change, credential)
            for client, pseudonym in clients:
                # A client that is new here keeps its name, unless its pseudonym has changed.
                masked = client.masked if pseudonym == client.pseudonym else ""
                id_ = change.name_store.client_id(change.connection, pseudonym, masked=masked)
                self._clients[client.masked] = self._pseudonyms[client.pseudonym] = id_

    def begin(
        self,
        *,
        since_ms: int,
        newest_ms: int | None,
        deleted_before_ms: int | None,
        snapshots: ExportedSnapshots,
        marks: Mapping[MarkKey, Mark],
    ) -> Progress:
        """Decide what to take over as records and what as roll-ups, and take over the last snapshot.

        Records are wanted from ``since_ms`` on. The history's newest is from ``newest_ms``, and those before
        ``deleted_before_ms`` may have been deleted there. If an earlier run has begun, returns how far that came.
        """
        with self._changing() as change:
            connection, of_proxy = change.connection, (change.proxy,)
            stored, pruned_ms = connection.execute(
                "select history_restore, pruned_before_ms from proxy where id = ?", of_proxy
            ).fetchone()
            if stored is not None:
                return msgspec.json.decode(stored, type=Progress)
            deleted_ms = -(-(deleted_before_ms or 0) // BUCKET_MS) * BUCKET_MS
            if pruned_ms is not None:
                # This ledger has a long past of its own, and knows the sums of what has been pruned.
                progress = Progress(max(pruned_ms, deleted_ms), None, (max(pruned_ms, deleted_ms) - 1, 2**63 - 1))
            else:
                oldest = f"select min(ts_ms) from entry where {OF_PROXY}"
                (oldest_ms,) = connection.execute(oldest, of_proxy).fetchone()
                moments = [ms for ms in (since_ms, newest_ms, oldest_ms) if ms is not None]
                from_ms = max(min(moments) // BUCKET_MS * BUCKET_MS, deleted_ms)
                _forget(change, from_ms, snapshots)
                progress = Progress(from_ms, ("", 0), (from_ms - 1, 2**63 - 1))
            # For the next look at a snapshot: see ``exporter.ledger.store.snapshots``.
            change.set(
                "restored_snapshot_ms = ?1,"
                " counted_from_ms = min(coalesce(counted_from_ms, ?2), coalesce(?2, counted_from_ms)),"
                " counted_until_ms = max(coalesce(counted_until_ms, ?3), coalesce(?3, counted_until_ms))",
                *msgspec.structs.astuple(snapshots),
            )
            connection.execute("delete from restored_series where proxy = ?", of_proxy)
            save_marks(connection, "restored_series", change.proxy, marks)
            _note(change, progress)
            change.touched.append(0)
        return progress

    def add_rollups(self, rows: Sequence[Row], progress: Progress) -> None:
        """Take over rows of ``usage_rollups``, and note the new ``progress``."""
        with self._changing() as change:
            buckets = [{"bucket": moment_ms(row["bucket"]) // BUCKET_MS} for row in rows]
            add_rollups(change, [row | self._ids(change, row) | at for row, at in zip(rows, buckets, strict=True)])
            _note(change, progress)

    def add_records(self, rows: Sequence[Row], progress: Progress) -> None:
        """Take over records, as ``exporter_records`` returns them, unless they are here; note the new ``progress``."""
        with self._changing() as change:
            insert_restored(change, [row | self._ids(change, row) | _of_entry(change, row) for row in rows])
            _note(change, progress)

    def finish(
        self,
        limits: ExportedLimits,
        *,
        precedes: bool = False,
        readings: Iterable[tuple[str, Reading]] = (),
    ) -> None:
        """Take over open windows and quotas; then the proxy is restored.

        ``precedes``: they were written before this ledger was made. ``readings`` are by long name of the credential.
        """
        with self._changes.windows.held, self._changing() as change:
            connection = change.connection
            connection.executemany(
                "insert into limit_anchor (limit_id, anchor_ms) values (?, ?)"
                " on conflict (limit_id) do update set anchor_ms = max(anchor_ms, excluded.anchor_ms)",
                list(limits.anchors.items()),
            )
            self._take_sessions(change, limits.sessions, precedes=precedes)
            found = [(_credential(change, name), reading) for name, reading in readings]
            change.quotas.update(self._changes.quotas.note(connection, found, now_ms=change.now_ms))
            change.set("history_stage = ?, history_restore = null", RESTORED)
            connection.execute(
                "delete from first_series where proxy = ?1"
                " and not exists (select 1 from restored_series where proxy = ?1)"
                " and (select restored_snapshot_ms from proxy where id = ?1) is null",
                (change.proxy,),
            )

    def _take_sessions(self, change: Change, sessions: Iterable[ExportedSession], *, precedes: bool) -> None:
        """Store sessions. Those that come from before this ledger replace its own, which it opened without all records.

        Otherwise, or if another proxy has already been restored, the newer of two sessions holds.
        """
        (others,) = change.connection.execute(
            "select exists (select 1 from proxy where history_stage = ? and id <> ?)", (RESTORED, change.proxy)
        ).fetchone()
        replaces = precedes and not others
        change.connection.executemany(
            _SAVE_SESSION,
            [(each.limit, self._scope(change, each), each.ended_ms, each.started_ms, replaces) for each in sessions],
        )

    def _scope(self, change: Change, session: ExportedSession) -> str:
        kind, value = session.scope
        if kind == "credential":
            value = str(_credential(change, value))
        elif kind == "client":
            known = self._pseudonyms.get(value)
            value = str(change.name_store.client_id(change.connection, value) if known is None else known)
        return f"{kind}:{value}" if kind else ""

    def _ids(self, change: Change, row: Row) -> Row:
        """What the ledger has in place of the names in a row of the history."""
        series = change.name_store.series_with(
            change.connection,
            Route(change.name_store.proxy_names[change.proxy], *(row[name] for name in OF_ROUTE)),
            _credential(change, row["credential"]),
            self._client(change, row["client"]),
        )
        basis, billing = Basis[row["basis"].upper()], Billing[row["billing"].upper()]
        return {"series": series, "basis": basis.value, "billing": billing.value}

    def _client(self, change: Change, masked: str) -> int:
        if masked not in self._clients:
            self._clients |= {known: id_ for id_, known in change.name_store.clients.items() if known == masked}
        if masked not in self._clients:
            pseudonym = {OTHER: OTHER, ANONYMOUS: ""}.get(masked, BY_NAME + masked)
            self._clients[masked] = change.name_store.client_id(change.connection, pseudonym, masked=masked)
        return self._clients[masked]


def _note(change: Change, progress: Progress) -> None:
    change.set("history_restore = ?", msgspec.json.encode(progress).decode())


def _forget(change: Change, before_ms: int, snapshots: ExportedSnapshots) -> None:
    """Forget what a snapshot repeated, if the history has it in another form.

    The history has only the roll-up of times before ``before_ms``, and only counts of what ended while the proxy sent
    no details. What is live stays, because it is in the counters.
    """
    forgotten = change.connection.execute(
        f"delete from entry where {OF_PROXY} and (ts_ms < ?2"
        " or ts_ms + latency_ms between ?3 - 1000 and ?4 + 1000 and not live)",
        (change.proxy, before_ms, snapshots.counted_from_ms, snapshots.counted_until_ms),
    )
    change.unbooked -= forgotten.rowcount
    roll_up_again(change.connection, change.proxy)
    change.set("pruned_before_ms = ?", before_ms)


def _of_entry(change: Change, row: Row) -> Row:
    return {
        "fingerprint": int(row["fingerprint"]),
        "price": change.name_store.price_id(change.connection, row["price"]),
        "counted": row["requests"],
        "live": 0,
    }


def _credential(change: Change, long_name: str) -> int:
    """The id of the credential with a name of the history. If no document has it, it is made with only that name."""
    found = change.name_store.find_credential(change.proxy, MASKED, long_name)
    if found is None:
        kept = ExportedCredential((long_name,), "", int(UNKNOWN_CREDENTIAL.billing), False, (), ())
        return _take_credential(change, kept)
    return found.id


def _take_credential(change: Change, kept: ExportedCredential) -> int:
    """Find the credential here, by its permanent keys before its ``auth_index``, or make it; return its id.

    What is bound here already stays: it comes from the proxy as it is now.
    """
    connection, name_store, proxy = change.connection, change.name_store, change.proxy
    keys = sorted(kept.keys, key=lambda each: each[0] == "auth_index")
    names = [(MASKED, name) for name in (*kept.long_names, *kept.readable)]
    found = [name_store.find_credential(proxy, *key) for key in (*keys, *names)]
    found += [name_store.credential_named(proxy, name) for name in kept.long_names]
    met = (*keys, *kept.names)
    known = next((each for each in found if each is not None and not name_store.is_another(each, met)), None)
    facts = asdict(CredentialFacts(kept.provider, Billing(kept.billing), kept.openai_compatible))
    if known is None:
        # Retired, because the ledger knows what the proxy lists, or learns it at the next look.
        id_ = name_store.add_credential(
            connection, Credential(proxy=proxy, long_name=kept.long_names[0], retired=True, **facts)
        )
    else:
        id_ = known.id
        if not known.provider:
            name_store.change_credential(connection, id_, **facts)
        if name_store.credential_named(proxy, kept.long_names[0]) is None:
            name_store.change_credential(connection, id_, long_name=kept.long_names[0])
    for name in kept.readable[:1]:
        if all(each.proxy != proxy for each in name_store.credentials_with(MASKED, name)):
            name_store.change_credential(connection, id_, readable=name)
    for kind, value in (*keys, *names):
        if name_store.find_credential(proxy, kind, value) is None:
            name_store.bind(connection, proxy, kind, value, id_)
    for kind, value in kept.names:
        name_store.name(connection, kind, value, id_)
    return id_
