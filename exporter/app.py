"""Wiring: which object gets which. Reads top to bottom; nothing else in the package makes these objects."""

import math
import threading
import time
from collections.abc import Callable, Sequence

import structlog
from prometheus_client import CollectorRegistry, disable_created_metrics

from exporter import __version__
from exporter.clock import Clock, SystemClock
from exporter.errors import LedgerError
from exporter.history.claims import proxy_fingerprint
from exporter.history.client import Remote
from exporter.history.predecessor.model_pricing import price_task
from exporter.history.predecessor.rate_limit_configs import config_task
from exporter.history.predecessor.rate_limit_status import status_task
from exporter.history.state import HistoryStatus
from exporter.history.sync import INTERVAL_SECONDS, History
from exporter.history.tasks import prune_task, snapshot_task
from exporter.ingest.poller import Poller
from exporter.ingest.queue import QueueIngest
from exporter.ingest.snapshot import SnapshotIngest
from exporter.ledger.database import FILE_NAME, DataDirectoryLock
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.store.retention import believable_now_ms
from exporter.limits.board import LimitBoard
from exporter.limits.model import LimitSource
from exporter.limits.supabase_source import StoredLimits
from exporter.limits.windows import DEFAULT_THRESHOLDS, Thresholds
from exporter.limits.yaml_source import UserLimits
from exporter.metrics.exposition import Exposition
from exporter.metrics.polls import PollMetrics
from exporter.normalize.pseudonyms import Pseudonym, Pseudonyms, load_hash_key
from exporter.pricing.engine import Pricer
from exporter.pricing.layers import PriceLayers, open_prices
from exporter.proxy_status import ProxyStatus
from exporter.scheduler import Loop, Worker
from exporter.settings.model import ProxySettings, Settings
from exporter.sources.auth_guard import KeyGuard
from exporter.sources.client import ProxyClient
from exporter.usage.question import Questions
from exporter.web.access import Access
from exporter.web.overview import Overview
from exporter.web.page import Page
from exporter.web.server import WebServer
from exporter.web.site import Site, make_app
from exporter.web.usage_page import UsagePages

HASH_KEY_FILE = "hash.key"

_UPKEEP_SECONDS = 5.0
_RETENTION_SECONDS = 3600.0
_DAY_MS = 86_400_000
_REJECTED_RETENTION_MS = 30 * _DAY_MS
_PATIENCE_SECONDS = 3.0
"""How long a stop waits for a call under way before it cuts the connection."""
_PATIENCE_WITH_POPS_SECONDS = 8.0
"""The same for a pop, whose records are nowhere else."""
_STOP_SECONDS = 9.0
"""Docker kills after 10 s."""

_log = structlog.get_logger("exporter")


class Exporter:
    """The whole program but for its command line. Raises ExporterError if it cannot start."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no types here
        clock = clock or SystemClock()
        data_dir = settings.exporter_data_dir
        self._lock = DataDirectoryLock(data_dir)
        self._ledger = open_ledger(settings, clock, alone=True)
        pseudonyms = open_pseudonyms(settings)
        registry = CollectorRegistry(auto_describe=False)
        polls = PollMetrics(registry)
        self.prices = open_price_layers(settings, self._ledger, clock)
        pricer = self.prices.pricer
        self._clients = [connect(proxy, self._ledger, clock) for proxy in settings.proxies]

        def queue_ingest(proxy: str) -> QueueIngest:
            return QueueIngest(proxy, ledger=self._ledger, pricer=pricer, pseudonym=pseudonyms.of, clock=clock)

        polled = {proxy.name for proxy in settings.proxies}
        # Of a proxy that was taken out of the settings, records may still wait to be booked, or to be tried again.
        self._left = [queue_ingest(proxy) for proxy in self._ledger.dictionary.proxies if proxy not in polled]
        self._pollers = [
            Poller(
                client=client,
                ledger=self._ledger,
                queue=queue_ingest(client.name),
                snapshots=SnapshotIngest(
                    client.name,
                    ledger=self._ledger,
                    pricer=pricer,
                    pseudonym=pseudonyms.of,
                    clock=clock,
                    false_start_usd=settings.false_start_cost_usd,
                ),
                pseudonym=pseudonyms.of,
                clock=clock,
                observer=polls,
                longest_interval_seconds=settings.collector_interval_seconds or math.inf,
            )
            for client in self._clients
        ]
        self._poll_workers = [_poll_worker(poller) for poller in self._pollers]
        self._birth_seconds = float(settings.exporter_series_birth_seconds)
        upkeep = Worker("upkeep", self._keep_up, lambda: _UPKEEP_SECONDS)
        self._retention_ms = settings.exporter_retention_days * _DAY_MS
        retention = Worker("retention", self._prune, lambda: _RETENTION_SECONDS)
        days = self._ledger.days
        day_sums = Worker("day-sums", lambda: days.refresh(self._stopping.is_set), lambda: days.interval_seconds)
        self._stopping = threading.Event()
        self._ledger_problem = ""
        self._clock = clock
        labels = Labels(self._ledger.dictionary, settings.aliases, pseudonyms.of)
        self.limits = open_limits(settings, self._ledger, labels, clock)
        self._remote = open_remote(settings)
        self._history = (
            None
            if self._remote is None
            else open_history(
                settings,
                remote=self._remote,
                ledger=self._ledger,
                labels=labels,
                pseudonym=pseudonyms.of,
                limits=self.limits,
                pricer=pricer,
                clock=clock,
                stopping=self._stopping.is_set,
            )
        )
        self._historians = _history_workers(self._history)
        self._writers = [upkeep, retention, day_sums, *self._poll_workers, *self._historians]
        self._workers = [*self._writers, *_price_workers(self.prices)]
        self._loop = Loop(self._workers)
        exposition = Exposition(
            ledger=self._ledger,
            labels=labels,
            statuses=self.statuses,
            prices=self.prices,
            limits=self.limits,
            history=self.history_status,
            clock=clock,
            registry=registry,
        )
        page = Page(
            overview=Overview(ledger=self._ledger, labels=labels, clock=clock, zone=settings.zone),
            ledger=self._ledger,
            labels=labels,
            statuses=self.statuses,
            prices=self.prices,
            limits=self.limits,
            history=self.history_status,
            clock=clock,
        )
        token = settings.exporter_token
        site = Site(
            exposition=exposition,
            page=page,
            usage=UsagePages(Questions(ledger=self._ledger, labels=labels, clock=clock, zone=settings.zone)),
            trigger=self.trigger,
            limits=self.limits,
            clock=clock,
            access=Access(
                token=token.get_secret_value() if token else None, allowed_hosts=settings.exporter_allowed_hosts
            ),
        )
        self.web = WebServer(make_app(site), host=settings.exporter_host, port=settings.exporter_port)

    def statuses(self) -> Sequence[ProxyStatus]:
        """The state of each proxy, in the order of the configuration."""
        return [poller.status for poller in self._pollers]

    def history_status(self) -> HistoryStatus | None:
        """How the history is doing, None if there is none."""
        return None if self._history is None else self._history.status

    def trigger(self) -> None:
        """Poll all proxies now, and try to bring the history up to date, in the background."""
        if self._history is not None:
            self._history.ask()
        for worker in (*self._poll_workers, *self._historians):
            worker.ask()

    def run(self, stop: threading.Event) -> None:
        """Serve and poll until ``stop`` is set, then finish what is in hand."""
        for worker in self._workers:
            worker.start()
        self.web.start()
        _log.info("started", version=__version__, url=self.web.url, proxies=len(self._pollers))
        self._loop.run(stop)
        self._stop()

    def _stop(self) -> None:
        began = time.monotonic()
        self._stopping.set()
        for worker in self._workers:
            worker.stop()
        for poller in self._pollers:
            poller.stop()
        if self.prices.feed is not None:
            self.prices.feed.stop()
        if self._history is not None:
            self._history.stop()
        self.web.stop()  # takes up to 2 s, in which the pops go on
        self._await_workers(began + _PATIENCE_SECONDS)
        for poller, client in zip(self._pollers, self._clients, strict=True):
            if not poller.is_popping:
                client.cancel()
        if self._remote is not None:
            self._remote.cut()  # what was sent without an answer is sent again at the next start
        self._await_workers(began + _PATIENCE_WITH_POPS_SECONDS)
        for client in self._clients:
            client.cancel()  # what has arrived of a pop is still stored and booked
        all_ended = self._await_workers(began + _STOP_SECONDS)
        if all_ended:
            for poller, client in zip(self._pollers, self._clients, strict=True):
                poller.finish()
                client.close()
            self._ledger.close()
            if self._remote is not None:
                self._remote.close()
        self._lock.release()
        _log.info("stopped", finished=all_ended)

    def _await_workers(self, deadline: float) -> bool:
        # Not the price lists: what hangs there holds nothing that could be lost.
        ended = [worker.join(deadline - time.monotonic()) for worker in self._writers]
        return all(ended)

    def _keep_up(self) -> None:
        """What time alone changes: midnight, limits, young series that were shown long enough, the file's size."""
        try:
            self._ledger.publish(after_seconds=self._birth_seconds)
            self._ledger.periods.refresh()
            self.limits.refresh()
            for queue in self._left:
                queue.work_off()
            self._ledger.measure()
        except LedgerError as exc:
            self._tell_ledger(str(exc))
        else:
            self._tell_ledger("")

    def _tell_ledger(self, problem: str) -> None:
        if problem != self._ledger_problem:
            self._ledger_problem = problem
            if problem:
                _log.error("ledger_failed", message=problem)
            else:
                _log.info("ledger_works_again")

    def _prune(self) -> None:
        newest_ms = self._ledger.newest_entry_ms()
        if newest_ms is None:
            return
        now_ms = believable_now_ms(int(self._clock.now() * 1000), newest_ms)
        pruned = self._ledger.retention.prune(
            entries_before_ms=now_ms - self._retention_ms,
            rejected_before_ms=now_ms - _REJECTED_RETENTION_MS,
            stopping=self._stopping.is_set,
            sent_only=self._history is not None,
        )
        if pruned.entries or pruned.rejected:
            _log.info("pruned", entries=pruned.entries, rejected=pruned.rejected)


def open_ledger(settings: Settings, clock: Clock, *, alone: bool = False) -> Ledger:
    """The ledger of these settings; ``alone``: no other process has it open. Raises LedgerError."""
    return Ledger(
        settings.exporter_data_dir / FILE_NAME,
        clock=clock,
        zone=settings.zone,
        max_label_sets=settings.exporter_max_label_sets,
        alone=alone,
    )


def open_price_layers(settings: Settings, ledger: Ledger, clock: Clock) -> PriceLayers:
    """The price lists of these settings. Raises SettingsError and LedgerError."""
    return open_prices(
        file=settings.exporter_prices_file,
        feed_url=settings.exporter_prices_url if settings.exporter_prices_refresh else None,
        store=ledger.price_feed,
        clock=clock,
    )


def open_limits(settings: Settings, ledger: Ledger, labels: Labels, clock: Clock) -> LimitBoard:
    """The limits of these settings, the file's first. Raises SettingsError and LedgerError."""
    file = settings.exporter_limits_file
    user = UserLimits(file, zone=settings.zone) if file is not None else None

    def thresholds() -> Thresholds:
        return user.thresholds if user is not None else DEFAULT_THRESHOLDS

    sources: list[LimitSource] = [user] if user is not None else []
    if settings.supabase_url is not None:
        sources.append(StoredLimits(ledger.limit_configs, zone=settings.zone, thresholds=thresholds))
    return LimitBoard(ledger=ledger, labels=labels, sources=sources, provider_thresholds=thresholds, clock=clock)


def open_remote(settings: Settings) -> Remote | None:
    """The Supabase project of these settings, None without one. Nothing is sent yet."""
    if settings.supabase_url is None or settings.supabase_secret_key is None:
        return None
    return Remote(settings.supabase_url, settings.supabase_secret_key.get_secret_value())


def proxy_signs(settings: Settings) -> dict[str, str]:
    """By name, what tells in the Supabase project of these settings who reads the same proxy; empty without a key."""
    key = settings.supabase_secret_key
    if key is None:
        return {}
    return {
        proxy.name: management_key and proxy_fingerprint(management_key, project_key=key.get_secret_value())
        for proxy in settings.proxies
        for management_key in [proxy.management_key.get_secret_value()]
    }


def open_history(
    settings: Settings,
    *,
    remote: Remote,
    ledger: Ledger,
    labels: Labels,
    pseudonym: Pseudonym,
    limits: LimitBoard,
    pricer: Pricer,
    clock: Clock,
    stopping: Callable[[], bool],
) -> History:
    """The history of these settings."""
    return History(
        remote=remote,
        ledger=ledger,
        labels=labels,
        pseudonym=pseudonym,
        clock=clock,
        zone=settings.zone,
        retention_ms=settings.exporter_retention_days * _DAY_MS,
        polled={proxy.name for proxy in settings.proxies},
        sign_of=proxy_signs(settings).__getitem__,
        tasks=[
            config_task(remote, ledger, limits, clock),
            status_task(remote, ledger, limits, clock),
            snapshot_task(remote, clock),
            price_task(remote, ledger, pricer, clock),
            prune_task(
                remote, ledger, clock, zone=settings.zone, days=settings.exporter_history_days, stopping=stopping
            ),
        ],
    )


def open_pseudonyms(settings: Settings) -> Pseudonyms:
    """The pseudonyms of these settings. Raises SettingsError."""
    configured = settings.exporter_hash_key
    return Pseudonyms(
        load_hash_key(configured.get_secret_value() if configured else None, settings.exporter_data_dir / HASH_KEY_FILE)
    )


def connect(proxy: ProxySettings, ledger: Ledger, clock: Clock) -> ProxyClient:
    """A client of ``proxy`` whose refusals are remembered in ``ledger``. Raises SettingsError and LedgerError."""
    ledger.register(proxy.name)
    key = proxy.management_key.get_secret_value()
    guard = KeyGuard(
        proxy=proxy.name,
        url=proxy.url,
        key=key,
        # Not the hash key: whoever changes that must not get a refused key tried again.
        keyed_hash=Pseudonyms(ledger.salt).of_bytes,
        store=ledger.refusals,
        clock=clock,
    )
    return ProxyClient(name=proxy.name, url=proxy.url, key=key, guard=guard)


def _price_workers(prices: PriceLayers) -> list[Worker]:
    user, feed = prices.user, prices.feed
    workers = [Worker("prices-file", user.reload, lambda: _UPKEEP_SECONDS)] if user is not None else []
    if feed is not None:
        workers.append(Worker("prices-feed", feed.refresh, lambda: feed.interval_seconds))
    return workers


def _history_workers(history: History | None) -> list[Worker]:
    return [] if history is None else [Worker("history", history.work, lambda: INTERVAL_SECONDS)]


def _poll_worker(poller: Poller) -> Worker:
    return Worker(f"poll-{poller.name}", poller.poll, lambda: poller.interval_seconds)
