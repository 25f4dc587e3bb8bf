"""Polls one proxy: finds its source, takes its inventory, and books what the source delivers.

A poller belongs to one thread at a time. A poll never raises: a failure becomes the proxy's state, is counted by
reason, and is logged when it changes, not when it repeats.
"""

import contextlib
import math
from dataclasses import replace
from typing import Protocol

import structlog

from exporter.errors import LedgerError, ProxyError, ProxyUnreachableError, SourceGoneError, UnsupportedProxyError
from exporter.ingest.loss_watch import LossWatch
from exporter.ingest.parts import IngestParts
from exporter.ingest.queue import QueueIngest
from exporter.ingest.snapshot import SnapshotIngest
from exporter.sentences import joined, say
from exporter.sources.all_sources import detect
from exporter.sources.base import POLL_SECONDS, Receiver, Source
from exporter.sources.inventory import fetch_inventory
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.proxy_config import Flags, other_exporter
from exporter.sources.proxy_status import FAILURE_REASONS, ProxyStatus
from exporter.sources.usage_subscription import STARVES

_POLLS_PER_RETENTION = 4
_STORES_PER_RETENTION = 10
"""The last success is stored this many times per retention, so that it is hardly out of date after a crash."""
_REFRESH_SECONDS = 60.0
"""Time between reads of inventory and flags: eleven calls or more, each of which costs the proxy a password check."""
_GONE_SECONDS = 3600.0
"""A problem of the inventory that comes back later is logged again."""

_log = structlog.get_logger("exporter.poller")


class PollObserver(Protocol):
    """Counts polls by the proxy's name. Each poll that ``started`` is ``finished``, even if it ``failed``."""

    def started(self, proxy: str) -> None: ...

    def failed(self, proxy: str, reason: str) -> None: ...

    def finished(self, proxy: str, seconds: float) -> None: ...


class Poller:
    """Polls one proxy. Any thread may read ``status``."""

    def __init__(
        self,
        client: ProxyClient,
        parts: IngestParts,
        *,
        observer: PollObserver,
        false_start_usd: float,
        longest_interval_seconds: float = math.inf,
    ) -> None:
        """``false_start_usd`` is for ``SnapshotIngest``."""
        self.name = client.name
        self._client = client
        self._pseudonym = parts.pseudonym
        self._ledger, self._clock = parts.ledger, parts.clock
        self.status = ProxyStatus(name=client.name, since_ms=self._clock.now_ms())
        self._observer = observer
        self._longest_interval = longest_interval_seconds
        self._source: Source | None = None
        self._is_doubtful = False
        """Whether the source, version or server may have changed."""
        self._refreshed_at: float | None = None
        self._problems_seen_at: dict[str, float] = {}
        self._unlisted: set[str] = set()
        self._to_look_up: set[str] = set()
        self._ledger.register(self.name)
        self._queue = QueueIngest(self.name, parts, self._meet_credentials)
        snapshots = SnapshotIngest(self.name, parts, self._meet_credentials, false_start_usd=false_start_usd)
        self._losses = LossWatch(client, ledger=self._ledger, clock=self._clock)
        self._receiver = Receiver(
            records=self._queue.take,
            snapshot=snapshots.take,
            may_take=self._losses.begin_pop,
            taken=self._losses.end_pop,
            missed=self._losses.note_missed,
        )
        self._comparable = False
        """Whether the last inventory is whole and its counts are still to be compared with what is read after it."""
        self._read_until_ms: int | None = None
        """When a stop ended a subscription, if one did."""

    def interval_seconds(self) -> float:
        """Time between two polls: short against the retention, after which an unread record is lost."""
        usual = POLL_SECONDS if self._source is None or self._is_doubtful else self._source.poll_seconds
        retention = self.status.retention_seconds
        by_retention = retention / _POLLS_PER_RETENTION if retention else usual
        return max(1.0, min(usual, by_retention, self._longest_interval))

    def poll(self) -> None:
        """Read everything that the proxy has. Never raises."""
        started = self._clock.monotonic()
        self._observer.started(self.name)
        try:
            if not self._to_look_up:
                self._queue.work_off()
            source = self._read()
            retention = self.status.retention_seconds
            store_every_ms = min(60_000, retention * 1000 // _STORES_PER_RETENTION) if retention else 60_000
            self._ledger.polled(self.name, at_ms=self._clock.now_ms(), store_every_ms=store_every_ms)
            self._note_success(source)
        except ProxyError as exc:
            self._is_doubtful |= isinstance(exc, ProxyUnreachableError | UnsupportedProxyError)
            self._enter(exc.reason, str(exc))
        except LedgerError as exc:
            self._enter("ledger", str(exc))
        except Exception as exc:  # noqa: BLE001 - whatever it is, it must show, and must not end the polling
            if self.status.state != "internal_error":
                _log.exception("poll_failed", proxy=self.name)
            sentence = say(
                "The exporter failed ({kind}): please report it, with the log's poll_failed.", kind=type(exc).__name__
            )
            self._enter("internal_error", sentence)
        finally:
            self._observer.finished(self.name, self._clock.monotonic() - started)

    def stop(self) -> None:
        """End a poll after the pop under way, which is marked on disk in case its answer is lost. For any thread."""
        self._losses.stop()
        if self._source is not None:
            if not self._source.way.has_rivals:
                self._read_until_ms = self._clock.now_ms()
            self._source.stop()

    def cut(self, *, pops: bool) -> None:
        """End the call under way, but a pop only if ``pops``. What has arrived is still booked. For any thread."""
        if pops or not self._losses.is_popping:
            self._client.cancel()

    def finish(self) -> None:
        """After the last poll, log what was held back, and try once more to store what the ledger refused."""
        if self._source is not None:
            self._source.close()
        try:
            self._queue.work_off()
        except LedgerError as exc:
            if self._queue.unsaved:
                message = f"They were in memory only, and are missing from all figures. {exc}"
                _log.error("records_lost", proxy=self.name, records=self._queue.unsaved, message=message)
        self._losses.restarts.tell()
        last_ms = self._ledger.flow(self.name).last_success_ms
        if self._losses.read_at is not None and last_ms is not None:
            with contextlib.suppress(LedgerError):  # already logged; the next start sees too long a gap
                self._ledger.polled(self.name, at_ms=self._read_until_ms or last_ms, store_every_ms=0)
        self._client.close()

    def _read(self) -> Source:
        known = self._source
        try:
            return self._read_source()
        except SourceGoneError:
            if known is None:
                raise
            # Version or server have changed since the last poll: read what there is now at once.
            self._is_doubtful = True
            return self._read_source()

    def _detected(self) -> Source:
        """Detect the source again. If it is unchanged, the old one continues: it may be in the middle of something."""
        known, found = self._source, detect(self._client)
        if known is not None:
            if (type(known), known.paths, known.version) == (type(found), found.paths, found.version):
                found = known
            else:
                known.close()
        self._source, self._is_doubtful, self._refreshed_at = found, False, None
        if found is not known:
            self.status = replace(self.status, **Flags()._asdict())
        self._note_flags(found.read_flags())
        if known is None and (sentence := other_exporter(self._client, found.paths)):
            _log.warning("other_exporter", proxy=self.name, message=sentence)
        return found

    def _read_source(self) -> Source:
        source = self._source
        if source is None or self._is_doubtful:
            source = self._detected()
        if self._refreshed_at is None or self._to_look_up:
            looked_up = set(self._to_look_up)
            self._to_look_up -= looked_up  # a thread of the source's own may add further ones meanwhile
            self._take_inventory(source)
            if looked_up:
                self._unlisted |= looked_up  # the ones in no list
                self._queue.work_off()
        elif self._clock.monotonic() - self._refreshed_at >= _REFRESH_SECONDS:
            self._note_flags(source.read_flags())
            self._take_inventory(source)

        try:
            is_emptied = source.poll(self._receiver, self._clock.now_ms())
        except ProxyError:
            self._losses.may_have_lost = True  # the records of an answer that did not arrive are lost
            raise
        self._losses.follow(source, self.status)
        if not source.is_cumulative and is_emptied and self._comparable:
            # All records that the last inventory counted have been read.
            self._comparable = False
            self._losses.compare_counts(self.status)
        if self._client.version != source.version:
            self._is_doubtful = True
        return source

    def _take_inventory(self, source: Source) -> None:
        self._refreshed_at = now = self._clock.monotonic()
        self._comparable = False
        self._unlisted.clear()
        inventory = fetch_inventory(self._client, source.paths, self._pseudonym, now_ms=self._clock.now_ms())
        whole = not inventory.problems
        for problem in inventory.problems:
            if now - self._problems_seen_at.get(problem, -math.inf) > _GONE_SECONDS:
                _log.warning("inventory_incomplete", proxy=self.name, problem=problem)
            self._problems_seen_at[problem] = now
        taken = self._ledger.take_inventory(
            self.name, inventory.accounts, whole=whole, counts_restarts=not source.is_cumulative
        )
        self._comparable = whole
        listed = {id_ for id_, _ in taken}
        # A partial inventory must not make accounts vanish.
        missing = [] if whole else [each for each in self.status.accounts if each[0] not in listed]
        self.status = replace(self.status, accounts=(*taken, *missing))

    def _meet_credentials(self, handles: set[str]) -> bool:
        """Look up credentials that no inventory has named, once, so that their first records get the right names.

        Records from the source's own thread must not wait for that: True leaves the look-up to the next poll.
        """
        source = self._source
        if source is None or self._refreshed_at is None:
            return False
        if self._clock.monotonic() - self._refreshed_at < POLL_SECONDS / 2:
            return False
        new = {handle for handle in handles - self._unlisted if handle}
        if all(self._ledger.name_store.is_listed(self.name, handle) for handle in new):
            return False
        if source.is_pushed:
            self._to_look_up |= new
            return True
        self._take_inventory(source)
        self._comparable = False  # its counts include attempts whose records are still to come
        # A credential in no list stays unknown: there is no reason to ask again before the next regular inventory.
        self._unlisted |= new
        return False

    def _note_flags(self, flags: Flags) -> None:
        """Take over the proxy's settings. One that could not be read stays as it was: it decides what a gap is."""
        self.status = replace(self.status, **flags.stated)

    def _note_success(self, source: Source) -> None:
        way = source.way
        self.status = replace(
            self.status,
            source=f"{way.name}-{source.paths.api}",
            source_is_cumulative=source.is_cumulative,
            source_is_pushed=source.is_pushed,
            version=self._client.version,
            commit=self._client.commit,
        )
        if self.status.publishing_enabled is False:
            self._enter(
                "publishing_off",
                say(
                    "{where} does not record usage. Set usage-statistics-enabled: true in its config.yaml (it takes"
                    " effect at once).",
                    where=self._client.where,
                ),
            )
        elif way.has_rivals and (found := self._losses.detector) is not None and found.suspicion:
            beside = joined(say("To read beside it, set source: subscribe (CLIPROXY_SOURCE)."), STARVES)
            self._enter("another_consumer", joined(found.sentence(self._client.where), way.note or beside))
        else:
            read = say("{where} is read from its usage {way}.", where=self._client.where, way=way.name)
            self._enter("ok", joined(read, way.note))

    def _enter(self, state: str, sentence: str) -> None:
        before = self.status
        if state in FAILURE_REASONS:
            self._observer.failed(self.name, state)
        if before.state == state:
            self.status = replace(before, sentence=sentence)
            return
        self.status = replace(before, state=state, sentence=sentence, since_ms=self._clock.now_ms())
        log = _log.info if state == "ok" else _log.warning
        log("proxy_state", proxy=self.name, state=state, before=before.state, message=sentence)
