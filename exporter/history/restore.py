"""Merges what Supabase has of a proxy into a new ledger, while polls continue."""

from collections.abc import Iterator, Mapping
from datetime import date, timedelta, timezone
from typing import Any, TypeVar

import msgspec
import structlog

from exporter.days import day_start_ms, moment_ms
from exporter.errors import HistoryMisconfiguredError
from exporter.history.claims import STALE_SECONDS
from exporter.history.sender import Ends
from exporter.history.supabase_client import PAGE_ROWS, Row, expect
from exporter.ledger.history.checkpoint import (
    CLIENTS,
    CREDENTIALS,
    HASH_KEY,
    LIMITS,
    SNAPSHOTS,
    ExportedClient,
    ExportedCredential,
    ExportedLimits,
    ExportedSnapshots,
)
from exporter.ledger.history.restoring import Progress
from exporter.ledger.labels import OF_ROUTE
from exporter.ledger.store.snapshots import MarkKey
from exporter.normalize.pseudonyms import sign_of_key
from exporter.normalize.snapshot import Mark
from exporter.quotas.reading import OVERAGE, Reading
from exporter.sentences import say

_ROLLUP_ORDER = ("bucket", *OF_ROUTE, "credential", "client", "basis", "billing")
_LAST_ZONE = timezone(timedelta(hours=-12))
"""A day that has begun here has begun everywhere: the exporter that wrote the history may have had another zone."""

_T = TypeVar("_T")
_log = structlog.get_logger("exporter.history")


class Restore:
    """Restores one proxy. Use it once."""

    def __init__(self, ends: Ends, proxy: str) -> None:
        self.ends, self.proxy = ends, proxy
        self._restoring = ends.ledger.restoring(proxy)
        self._documents: Mapping[str, Any] = {}
        self._records = 0

    def steps(self, *, retention_ms: int, deleted_before: date | None) -> Iterator[str]:
        """Merge what the project has, step by step; each yields a sentence on the progress.

        Records no older than ``retention_ms`` become entries; those of days before ``deleted_before`` may be gone. If
        a ``Restore`` fails or is left after any step, another one goes on from there. Raises HistoryError and
        LedgerError.
        """
        mine = {"proxy": self.proxy}
        remote = self.ends.remote
        states = list(remote.rows("exporter_checkpoints", "kind,value,updated_at", order=("kind",), where=mine))
        newest = remote.first("usage_records", "ts", newest="ts", where=mine)
        rolled = remote.first("usage_rollups", "bucket", newest="bucket", where=mine)
        quotas = list(remote.rows("quota_readings", order=("credential", "quota", "scope"), where=mine))
        if not states and newest is None and rolled is None and not quotas:
            self._restoring.finish(ExportedLimits())
            return

        yield self._sentence()
        self._documents = {row["kind"]: row["value"] for row in states}
        self._take_names()
        snapshots, marks = self._snapshots()
        progress = self._restoring.begin(
            since_ms=self.ends.clock.now_ms() - retention_ms,
            newest_ms=None if newest is None else moment_ms(newest["ts"]),
            deleted_before_ms=None if deleted_before is None else day_start_ms(deleted_before, _LAST_ZONE),
            snapshots=snapshots,
            marks=marks,
        )
        while progress.rollups is not None:
            progress = self._take_rollups(progress, progress.rollups)
            yield self._sentence()
        while rows := self._records_after(progress):
            progress = msgspec.structs.replace(progress, after=(rows[-1]["ts_ms"], int(rows[-1]["fingerprint"])))
            self._restoring.add_records(rows, progress)
            self._records += len(rows)
            yield self._sentence()
        made_ms = self.ends.ledger.backlog.made_ms()
        written = [moment_ms(row["updated_at"]) for row in states if row["kind"] == LIMITS]
        self._restoring.finish(
            self._document(LIMITS, ExportedLimits, {}),
            precedes=made_ms is not None and all(ms < made_ms + STALE_SECONDS * 1000 for ms in written),
            readings=[(row["credential"], _reading(row)) for row in quotas],
        )
        _log.info("history_restored", proxy=self.proxy, records=self._records)

    def _sentence(self) -> str:
        return say(
            "The ledger is restoring the proxy {proxy} from Supabase, {records} records so far. Polls continue.",
            proxy=self.proxy,
            records=self._records,
        )

    # --- names --------------------------------------------------------------------------------------------------------

    def _take_names(self) -> None:
        kinds = [kind for kind in self._documents if kind.startswith(CLIENTS)]
        clients = [client for kind in kinds for client in self._document(kind, tuple[ExportedClient, ...], ())]
        called = {} if self._has_same_key else self._pseudonyms_by_name()
        self._restoring.take_names(
            credentials=self._document(CREDENTIALS, tuple[ExportedCredential, ...], ()),
            clients=[(client, called.get(client.masked) or client.pseudonym) for client in clients],
        )

    @property
    def _has_same_key(self) -> bool:
        return self._document(HASH_KEY, str, "") in ("", sign_of_key(self.ends.pseudonym))

    def _pseudonyms_by_name(self) -> dict[str, str | None]:
        """The current pseudonyms of clients with an alias, by which they are recognized if the hash key was lost."""
        rows = self.ends.remote.rows(
            "exporter_labels", "label,shown", order=("label",), where={"proxy": self.proxy, "kind": "client"}
        )
        called = {alias: pseudonym for pseudonym, alias in self.ends.shown_names.aliases_of_clients().items()}
        return {row["label"]: called.get(row["shown"]) for row in rows if row["shown"] != row["label"]}

    # --- the rest -----------------------------------------------------------------------------------------------------

    def _snapshots(self) -> tuple[ExportedSnapshots, dict[MarkKey, Mark]]:
        """The proxy's last snapshot, with its marks."""
        state = self._document(SNAPSHOTS, ExportedSnapshots, {})
        if not self._has_same_key:
            # The series are under pseudonyms of the lost key, which match no client now.
            return msgspec.structs.replace(state, snapshot_ms=None), {}
        rows = self.ends.remote.rows("exporter_baselines", order=("client", "model"), where={"proxy": self.proxy})
        return state, {(row["client"], row["model"]): _mark(row) for row in rows}

    def _take_rollups(self, progress: Progress, place: tuple[str, int]) -> Progress:
        """Merge the next page. A bucket can span pages, so the place counts how many of its rows have been read."""
        bucket, skipped = place
        page = self.ends.remote.some(
            "usage_rollups",
            "*",
            order=_ROLLUP_ORDER,
            where={"proxy": self.proxy},
            filters=[("bucket", "gte", bucket)] if bucket else [],
            start=skipped,
        )
        rows = [row for row in page if moment_ms(row["bucket"]) < progress.from_ms]
        rollups = None
        # A short page is not the end: a project may have a lower limit.
        if rows and len(rows) == len(page):
            last = str(rows[-1]["bucket"])
            rollups = (last, sum(row["bucket"] == last for row in rows) + (skipped if last == bucket else 0))
        progress = msgspec.structs.replace(progress, rollups=rollups)
        self._restoring.add_rollups(rows, progress)
        return progress

    def _records_after(self, progress: Progress) -> list[Row]:
        ts_ms, fingerprint = progress.after
        answer = self.ends.remote.call(
            "exporter_records",
            p_proxy=self.proxy,
            p_ts_ms=ts_ms,
            p_fingerprint=str(fingerprint),
            p_limit=PAGE_ROWS,
        )
        return expect(list, answer)

    def _document(self, kind: str, type_: type[_T], missing: object) -> _T:
        """A document of the checkpoint, or ``missing`` as one."""
        try:
            return msgspec.convert(self._documents.get(kind, missing), type_)
        except msgspec.ValidationError as exc:
            raise HistoryMisconfiguredError(
                "The row {kind} of {proxy} in exporter_checkpoints, from which the ledger is restored, has a shape"
                " that this version does not know. Use the version that wrote it, or delete the row.",
                kind=kind,
                proxy=self.proxy,
                reason="bad_data",
            ) from exc


def _mark(row: Row) -> Mark:
    sha256 = row["sha256"]
    return Mark(row["requests"], row["tokens"], row["length"], None if sha256 is None else bytes.fromhex(sha256))


def _reading(row: Row) -> Reading:
    """A row of ``quota_readings``."""
    values = {
        "window": row["quota"],
        "resets_ms": None if row["resets_at"] is None else moment_ms(row["resets_at"]),
        "observed_ms": moment_ms(row["observed_at"]),
        "ratio_inferred": row["inferred"] and row["status"] in ("rejected", OVERAGE) and row["used_ratio"] == 1,
    }
    return msgspec.convert(row | values, Reading)
