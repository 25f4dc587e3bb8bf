"""The running program: makes its objects, starts and stops its threads, and does the regular upkeep."""

import math
import threading
import time
from collections.abc import Sequence

import structlog
from prometheus_client import CollectorRegistry, Counter, PlatformCollector, ProcessCollector, disable_created_metrics

from exporter import __version__
from exporter.clock import Clock
from exporter.days import DAY_MS
from exporter.errors import LedgerError
from exporter.history.history import INTERVAL_SECONDS
from exporter.history.state import HistoryStatus
from exporter.ingest.poller import Poller
from exporter.ingest.queue import QueueIngest
from exporter.ingest.quota_asker import ASK_SECONDS, QuotaAsker
from exporter.jobs.memory import give_back
from exporter.jobs.scheduler import Worker, run_loop
from exporter.ledger.database import DataDirectoryLock
from exporter.limits.notices import INTERVAL_SECONDS as NOTICE_SECONDS
from exporter.metrics.credentials import QUOTA_FETCHES
from exporter.metrics.exposition import Exposition
from exporter.metrics.proxies import PollMetrics
from exporter.settings.model import Settings
from exporter.sources.proxy_status import ProxyStatus
from exporter.sources.quota_calls import TIMEOUTS
from exporter.usage.question import Questions
from exporter.web.access import Access
from exporter.web.config_file import WebConfig, read_web_config
from exporter.web.overview import Overview
from exporter.web.server import WebServer
from exporter.web.site import Site, make_app
from exporter.web.status_page import StatusPage
from exporter.wiring import Parts, connect

_UPKEEP_SECONDS = 5.0
_RETENTION_SECONDS = 3600.0
_REJECTED_RETENTION_MS = 30 * DAY_MS
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
        clock = clock or Clock()
        data_dir = settings.exporter_data_dir
        self._lock = DataDirectoryLock(data_dir)
        self._stopping = threading.Event()
        self.parts = parts = Parts(settings, clock, alone=True, statuses=self.statuses)
        ledger, shown_names = parts.ledger, parts.shown_names
        self._noted_names = -1
        self._note_aliases()
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        polls = PollMetrics(registry)
        polled = {proxy.name for proxy in settings.proxies}
        # A proxy that was removed from the settings may still have records to book or to try again.
        self._removed = [QueueIngest(proxy, parts.ingest) for proxy in ledger.name_store.proxies if proxy not in polled]
        self._pollers = [
            Poller(
                connect(proxy, ledger, clock),
                parts.ingest,
                observer=polls,
                false_start_usd=settings.false_start_cost_usd,
                longest_interval_seconds=settings.collector_interval_seconds or math.inf,
            )
            for proxy in settings.proxies
        ]
        self.asker = QuotaAsker(
            statuses=self.statuses,
            clients={proxy.name: connect(proxy, ledger, clock, TIMEOUTS) for proxy in settings.asked_proxies},
            ledger=ledger,
            shown_names=shown_names,
            clock=clock,
            fetches=QUOTA_FETCHES.direct(Counter, registry),
        )
        history = parts.history
        self._poll_workers = [Worker(f"poll-{each.name}", each.poll, each.interval_seconds) for each in self._pollers]
        self._historians = [Worker("history", history.work, lambda: INTERVAL_SECONDS)] if history else []
        notifier = parts.notifier(self._stopping.is_set)
        notifiers = [Worker("notices", notifier.work, lambda: NOTICE_SECONDS)] if notifier else []
        user, feed = parts.prices.user, parts.prices.feed
        prices = [Worker("prices-file", user.reload, lambda: _UPKEEP_SECONDS)] if user else []
        prices += [Worker("prices-feed", feed.refresh, feed.interval_seconds)] if feed else []
        days = ledger.days
        self._writers = [
            Worker("upkeep", self._keep_up, lambda: _UPKEEP_SECONDS),
            Worker("retention", self._prune, lambda: _RETENTION_SECONDS),
            Worker("day-sums", lambda: days.refresh(self._stopping.is_set), lambda: days.interval_seconds),
            Worker("quotas", self.asker.ask_next, lambda: ASK_SECONDS),
            *self._poll_workers,
            *self._historians,
        ]
        self._workers = [*self._writers, *prices, *notifiers]
        exposition = Exposition(
            ledger=ledger,
            shown_names=shown_names,
            statuses=self.statuses,
            prices=parts.prices,
            limits=parts.limits,
            history=self.history_status,
            clock=clock,
            registry=registry,
        )
        page = StatusPage(
            overview=Overview(ledger=ledger, shown_names=shown_names, clock=clock, zone=settings.zone),
            statuses=self.statuses,
            prices=parts.prices,
            limits=parts.limits,
            history=self.history_status,
            unasked=lambda: self.asker.unknown,
        )
        token = settings.exporter_token
        web_file = settings.exporter_web_config
        web_config = read_web_config(web_file) if web_file is not None else WebConfig()
        site = Site(
            scrape=exposition.scrape,
            page=page,
            questions=Questions(ledger=ledger, shown_names=shown_names, clock=clock, zone=settings.zone),
            trigger=self.trigger,
            reload=self.reload,
            proxies=[proxy.name for proxy in settings.proxies],
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
            "history": settings.supabase_url or "in the ledger alone",
        }
        self.web = WebServer(
            make_app(site),
            host=settings.exporter_host,
            port=settings.exporter_port,
            tls=web_config.tls_server_config,
        )

    def statuses(self) -> Sequence[ProxyStatus]:
        """The state of each proxy, in the order of the configuration."""
        return [poller.status for poller in self._pollers]

    def history_status(self) -> HistoryStatus | None:
        """The state of the history, None without one."""
        history = self.parts.history
        return None if history is None else history.status

    def trigger(self) -> None:
        """Poll all proxies now, and try to bring the history up to date, in the background."""
        if self.parts.history is not None:
            self.parts.history.ask()
        for worker in (*self._poll_workers, *self._historians):
            worker.ask()

    def reload(self) -> list[str]:
        """Read the files of aliases, prices and limits again now. Returns the problems, one sentence each."""
        shown_names, limits, prices = self.parts.shown_names, self.parts.limits, self.parts.prices.user
        if prices is not None:
            prices.reload(now=True)
        shown_names.reload(now=True)
        problems = [shown_names.file_problem, prices.problem if prices is not None else ""]
        try:
            limits.refresh(now=True)
        except LedgerError as exc:
            problems.append(str(exc))
        problems = [problem for problem in (*problems, *limits.problems) if problem]
        _log.info("reloaded", problems=len(problems))
        return problems

    def _keep_up(self) -> None:
        """Do what only the passing of time makes due: midnight, limits, edited files, new series, the ledger's size."""
        ledger, shown_names = self.parts.ledger, self.parts.shown_names
        give_back()
        ledger.births.publish(after_seconds=float(self.parts.settings.exporter_series_birth_seconds))
        ledger.periods.refresh()
        shown_names.reload()
        self.parts.limits.refresh()
        if all(status.up for status in self.statuses()):  # else an alias may be for something unknown so far
            shown_names.note_misfits()
        for queue in self._removed:
            queue.work_off()
        ledger.measure()
        self._note_aliases()

    def _note_aliases(self) -> None:
        if (version := self.parts.shown_names.version) != self._noted_names:
            self.parts.note_aliases()
            self._noted_names = version

    def _prune(self) -> None:
        """Delete what has been kept long enough."""
        retention = self.parts.ledger.retention
        now_ms = retention.believable_now_ms(self.parts.clock.now_ms())
        if now_ms is None:
            return
        wanted_ms = self.parts.settings.exporter_retention_days * DAY_MS
        entries, rejected = retention.prune(
            entries_before_ms=now_ms - max(wanted_ms, self.parts.limits.longest_window_ms + DAY_MS),
            rejected_before_ms=now_ms - _REJECTED_RETENTION_MS,
            stopping=self._stopping.is_set,
            sent_only=self.parts.history is not None,
        )
        if entries or rejected:
            _log.info("pruned", entries=entries, rejected=rejected)

    def run(self, stop: threading.Event) -> None:
        """Serve and poll until ``stop`` is set, then finish the work in progress."""
        for worker in self._workers:
            worker.start()
        self.web.start()
        _log.info("started", version=__version__, url=self.web.url, **self._told)
        run_loop(self._workers, stop)
        self._stop()

    def _stop(self) -> None:
        remote = self.parts.remote
        began = time.monotonic()
        self._stopping.set()
        for worker in self._workers:
            worker.stop()
        for part in (*self._pollers, self.asker, self.parts.prices.feed, self.parts.history):
            if part is not None:
                part.stop()
        self.web.stop()  # takes up to 2 s, in which pops continue
        self._await_workers(began + _PATIENCE_SECONDS)
        for poller in self._pollers:
            poller.cut(pops=False)
        if remote is not None:
            remote.cut()  # what was sent without an answer is sent again at the next start
        self._await_workers(began + _PATIENCE_WITH_POPS_SECONDS)
        for poller in self._pollers:
            poller.cut(pops=True)
        all_ended = self._await_workers(began + _STOP_SECONDS)
        if all_ended:
            for poller in self._pollers:
                poller.finish()
            self.asker.close()
            self.parts.ledger.close()
            if remote is not None:
                remote.close()
        self._lock.release()
        _log.info("stopped", finished=all_ended)

    def _await_workers(self, deadline: float) -> bool:
        # Price lists and notices are not waited for: they hold no usage that could be lost.
        ended = [worker.join(deadline - time.monotonic()) for worker in self._writers]
        return all(ended)
