"""Wiring: makes every object and hands it what it needs. Nothing else in the package makes these objects."""

import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, disable_created_metrics

from exporter import __version__
from exporter.clock import Clock, SystemClock
from exporter.history.state import HistoryStatus
from exporter.history.sync import INTERVAL_SECONDS
from exporter.ingest.poller import Poller
from exporter.ingest.queue import QueueIngest
from exporter.ingest.quota_asker import ASK_SECONDS, QuotaAsker
from exporter.ingest.snapshot import SnapshotIngest
from exporter.jobs.scheduler import Loop, Worker
from exporter.jobs.upkeep import RETENTION_SECONDS, UPKEEP_SECONDS, Upkeep
from exporter.ledger.database import DataDirectoryLock
from exporter.ledger.labels import Labels
from exporter.metrics.exposition import Exposition
from exporter.metrics.proxies import PollMetrics
from exporter.metrics.quotas import QuotaMetrics
from exporter.notices.sender import INTERVAL_SECONDS as NOTICE_SECONDS
from exporter.opening import (
    connect,
    open_history,
    open_ledger,
    open_limits,
    open_notifier,
    open_price_layers,
    open_pseudonyms,
    open_remote,
)
from exporter.pricing.layers import PriceLayers
from exporter.settings.model import Settings
from exporter.sources.proxy_status import ProxyStatus
from exporter.sources.quota_calls import TIMEOUTS
from exporter.usage.question import Questions
from exporter.web.access import Access
from exporter.web.config_file import WebConfig, read_web_config
from exporter.web.overview import Overview
from exporter.web.page import Page
from exporter.web.server import WebServer
from exporter.web.site import Site, make_app

_PATIENCE_SECONDS = 3.0
"""How long a stop waits for a call in progress before it cuts the connection."""
_PATIENCE_WITH_POPS_SECONDS = 8.0
"""The same for a pop, whose records exist nowhere else."""
_STOP_SECONDS = 9.0
"""Docker kills after 10 s."""

_log = structlog.get_logger("exporter")


class Exporter:
    """The whole program except the command line. Raises ExporterError if it cannot start.

    ``is_demo``: each page says that its figures are invented.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None, is_demo: bool = False) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no types here
        clock = clock or SystemClock()
        data_dir = settings.exporter_data_dir
        self._lock = DataDirectoryLock(data_dir)
        self._ledger = open_ledger(settings, clock, alone=True)
        pseudonyms = open_pseudonyms(settings)
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        polls = PollMetrics(registry)
        self.prices = open_price_layers(settings, self._ledger, clock)
        pricer = self.prices.pricer
        self._clients = [connect(proxy, self._ledger, clock) for proxy in settings.proxies]

        def queue_ingest(proxy: str) -> QueueIngest:
            return QueueIngest(proxy, ledger=self._ledger, pricer=pricer, pseudonym=pseudonyms.of, clock=clock)

        polled = {proxy.name for proxy in settings.proxies}
        # A proxy that was removed from the settings may still have records to book or to try again.
        left = [queue_ingest(proxy) for proxy in self._ledger.dictionary.proxies if proxy not in polled]
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
        labels = Labels(
            self._ledger.dictionary,
            settings.aliases,
            pseudonyms.of,
            file=settings.exporter_config,
            nearest_pseudonym=pseudonyms.nearest,
        )
        self.asker = QuotaAsker(
            statuses=self.statuses,
            clients={proxy.name: connect(proxy, self._ledger, clock, TIMEOUTS) for proxy in settings.asked_proxies},
            ledger=self._ledger,
            labels=labels,
            clock=clock,
            observer=QuotaMetrics(registry),
        )
        asking = Worker("quotas", self.asker.ask_next, lambda: ASK_SECONDS)
        self._poll_workers = [_poll_worker(poller) for poller in self._pollers]
        self._stopping = threading.Event()
        self.limits = open_limits(settings, self._ledger, labels, clock, self.statuses)
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
        upkeep = Upkeep(
            ledger=self._ledger,
            limits=self.limits,
            labels=labels,
            prices=self.prices,
            statuses=self.statuses,
            left=left,
            clock=clock,
            birth_seconds=float(settings.exporter_series_birth_seconds),
            retention_days=settings.exporter_retention_days,
            sent_only=self._history is not None,
            stopping=self._stopping,
        )
        self.reload = upkeep.reload
        history = self._history
        self._historians = [] if history is None else [Worker("history", history.work, lambda: INTERVAL_SECONDS)]
        notifier = self._notifier = open_notifier(settings, self._ledger, self.limits, clock)
        notifiers = [] if notifier is None else [Worker("notices", notifier.work, lambda: NOTICE_SECONDS)]
        days = self._ledger.days
        self._writers = [
            Worker("upkeep", upkeep.keep_up, lambda: UPKEEP_SECONDS),
            Worker("retention", upkeep.prune, lambda: RETENTION_SECONDS),
            Worker("day-sums", lambda: days.refresh(self._stopping.is_set), lambda: days.interval_seconds),
            asking,
            *self._poll_workers,
            *self._historians,
        ]
        self._workers = [*self._writers, *_price_workers(self.prices), *notifiers]
        self._loop = Loop(self._workers)
        exposition = Exposition(
            ledger=self._ledger,
            labels=labels,
            statuses=self.statuses,
            prices=self.prices,
            limits=self.limits,
            history=self.history_status,
            outlooks=lambda: self.asker.outlook,
            clock=clock,
            registry=registry,
        )
        page = Page(
            overview=Overview(ledger=self._ledger, labels=labels, clock=clock, zone=settings.zone),
            statuses=self.statuses,
            prices=self.prices,
            limits=self.limits,
            history=self.history_status,
            unasked=lambda: self.asker.unknown,
        )
        token = settings.exporter_token
        web_file = settings.exporter_web_config
        web_config = read_web_config(web_file) if web_file is not None else WebConfig()
        site = Site(
            scrape=exposition.scrape,
            page=page,
            questions=Questions(ledger=self._ledger, labels=labels, clock=clock, zone=settings.zone),
            trigger=self.trigger,
            reload=self.reload,
            proxies=[proxy.name for proxy in settings.proxies],
            limits=self.limits,
            clock=clock,
            access=Access(
                token=token.get_secret_value() if token else None,
                allowed_hosts=settings.exporter_allowed_hosts,
                users=web_config.basic_auth_users,
            ),
            is_demo=is_demo,
            language=settings.exporter_language,
        )
        self._told = {
            "data_dir": str(data_dir),
            "zone": str(settings.zone),
            "readers": ", ".join(f"{proxy.name} of {proxy.url}" for proxy in settings.proxies),
        }
        self.web = WebServer(
            make_app(site),
            host=settings.exporter_host,
            port=settings.exporter_port,
            tls=web_config.tls_server_config,
            base=web_file.parent if web_file is not None else Path(),
        )

    def statuses(self) -> Sequence[ProxyStatus]:
        """The state of each proxy, in the order of the configuration."""
        return [poller.status for poller in self._pollers]

    def history_status(self) -> HistoryStatus | None:
        """The state of the history, None without one."""
        return None if self._history is None else self._history.status

    def trigger(self) -> None:
        """Poll all proxies now, and try to bring the history up to date, in the background."""
        if self._history is not None:
            self._history.ask()
        for worker in (*self._poll_workers, *self._historians):
            worker.ask()

    def run(self, stop: threading.Event) -> None:
        """Serve and poll until ``stop`` is set, then finish the work in progress."""
        for worker in self._workers:
            worker.start()
        self.web.start()
        _log.info("started", version=__version__, url=self.web.url, **self._told)
        self._loop.run(stop)
        self._stop()

    def _stop(self) -> None:
        began = time.monotonic()
        self._stopping.set()
        for worker in self._workers:
            worker.stop()
        for poller in self._pollers:
            poller.stop()
        self.asker.stop()
        if self.prices.feed is not None:
            self.prices.feed.stop()
        if self._history is not None:
            self._history.stop()
        if self._notifier is not None:
            self._notifier.stop()
        self.web.stop()  # takes up to 2 s, in which pops continue
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
            self.asker.close()
            self._ledger.close()
            if self._remote is not None:
                self._remote.close()
        self._lock.release()
        _log.info("stopped", finished=all_ended)

    def _await_workers(self, deadline: float) -> bool:
        # Not the price lists, which hold nothing that could be lost.
        ended = [worker.join(deadline - time.monotonic()) for worker in self._writers]
        return all(ended)


def _price_workers(prices: PriceLayers) -> list[Worker]:
    user, feed = prices.user, prices.feed
    workers = [Worker("prices-file", user.reload, lambda: UPKEEP_SECONDS)] if user is not None else []
    if feed is not None:
        workers.append(Worker("prices-feed", feed.refresh, lambda: feed.interval_seconds))
    return workers


def _poll_worker(poller: Poller) -> Worker:
    return Worker(f"poll-{poller.name}", poller.poll, lambda: poller.interval_seconds)
