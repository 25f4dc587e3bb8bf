"""Turns settings into objects, for the program and its commands."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

from exporter.clock import Clock
from exporter.days import DAY_MS
from exporter.history.claims import proxy_signs
from exporter.history.history import History
from exporter.history.predecessor.model_pricing import price_task
from exporter.history.predecessor.rate_limits import config_task, status_task
from exporter.history.predecessor.usage_snapshots import snapshot_task
from exporter.history.pruning import prune_task
from exporter.history.sender import Ends
from exporter.history.supabase_client import Remote
from exporter.ingest.parts import IngestParts
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.limits.board import LimitBoard
from exporter.limits.limit_file import watch_limit_file
from exporter.limits.notices import Notifier, Services
from exporter.limits.supabase_limits import SupabaseLimits
from exporter.normalize.pseudonyms import Pseudonyms, load_hash_key, sign_of_key
from exporter.pricing.pricer import Pricer, open_prices
from exporter.settings.model import Settings
from exporter.settings.proxies import ProxySettings
from exporter.sources.addresses import fingerprints
from exporter.sources.auth_guard import KeyGuard
from exporter.sources.proxy_client import ProxyClient, Timeouts
from exporter.sources.proxy_status import Statuses

HASH_KEY_FILE = "hash.key"


@dataclass(frozen=True)
class Parts:
    """The parts of the program, as the settings say, each made when it is first used. For one thread.

    ``alone``: no other process has the ledger open. ``statuses`` are those of the proxies that are polled. Making
    a part raises SettingsError and LedgerError.
    """

    settings: Settings
    clock: Clock = field(default_factory=Clock)
    alone: bool = False
    statuses: Statuses = tuple

    @cached_property
    def ledger(self) -> Ledger:
        ledger = Ledger(
            self.settings.exporter_data_dir / FILE_NAME,
            clock=self.clock,
            zone=self.settings.zone,
            max_label_sets=self.settings.exporter_max_label_sets,
            alone=self.alone,
        )
        asked = self.settings.asked_proxies
        ledger.quotas.unasked = {proxy.name for proxy in self.settings.proxies if proxy not in asked}
        return ledger

    @cached_property
    def pseudonyms(self) -> Pseudonyms:
        key, file = self.settings.exporter_hash_key, self.settings.exporter_data_dir / HASH_KEY_FILE
        return Pseudonyms(load_hash_key(key.get_secret_value() if key else None, file))

    @cached_property
    def shown_names(self) -> ShownNames:
        return ShownNames(
            self.ledger.name_store,
            self.settings.aliases,
            self.pseudonyms.of,
            file=self.settings.exporter_config,
            nearest_pseudonym=self.pseudonyms.nearest,
        )

    def note_aliases(self) -> None:
        """Note the aliases in the ledger, so that a client with one keeps it, and its past, under another hash key."""
        aliases, sign = self.shown_names.aliases_of_clients(), sign_of_key(self.pseudonyms.of)
        self.ledger.note_aliases(aliases, key_sign=sign)

    @cached_property
    def prices(self) -> Pricer:
        return open_prices(
            file=self.settings.exporter_prices_file,
            feed_url=self.settings.exporter_prices_url if self.settings.exporter_prices_refresh else None,
            store=self.ledger.price_feed,
            clock=self.clock,
        )

    @cached_property
    def ingest(self) -> IngestParts:
        return IngestParts(ledger=self.ledger, pricer=self.prices, pseudonym=self.pseudonyms.of, clock=self.clock)

    @cached_property
    def limits(self) -> LimitBoard:
        """The limits of the file come before those in Supabase."""
        settings = self.settings
        file, zone = settings.exporter_limits_file, settings.zone
        return LimitBoard(
            ledger=self.ledger,
            shown_names=self.shown_names,
            file=watch_limit_file(file, zone=zone) if file is not None else None,
            stored=SupabaseLimits(self.ledger.limits, zone=zone) if settings.supabase_url is not None else None,
            zone=zone,
            clock=self.clock,
            polled=[proxy.name for proxy in settings.proxies],
            statuses=self.statuses,
        )

    def notifier(self, stopping: Callable[[], bool]) -> Notifier | None:
        """None without EXPORTER_NOTIFY_URLS."""
        if not self.settings.notify_urls:
            return None
        return Notifier(self.limits, Services(self.settings.notify_urls), stopping=stopping)

    @cached_property
    def remote(self) -> Remote | None:
        """The Supabase project, None without one. Nothing is sent yet."""
        url, key = self.settings.supabase_url, self.settings.supabase_secret_key
        return Remote(url, key.get_secret_value()) if url is not None and key is not None else None

    @cached_property
    def history(self) -> History | None:
        """None without a Supabase project."""
        if self.remote is None:
            return None
        zone, days = self.settings.zone, self.settings.exporter_history_days
        return History(
            Ends(
                remote=self.remote,
                ledger=self.ledger,
                shown_names=self.shown_names,
                pseudonym=self.pseudonyms.of,
                clock=self.clock,
            ),
            retention_ms=self.settings.exporter_retention_days * DAY_MS,
            signs=proxy_signs(self.settings),
            tasks=[
                config_task(self.remote, self.limits),
                status_task(self.remote, self.limits),
                snapshot_task(self.remote, self.clock),
                price_task(self.remote, self.ledger, self.prices, self.clock),
                prune_task(self.remote, self.ledger, self.clock, zone=zone, days=days),
            ],
        )


def connect(proxy: ProxySettings, ledger: Ledger, clock: Clock, timeouts: Timeouts | None = None) -> ProxyClient:
    """A client of ``proxy`` whose refusals are remembered in ``ledger``. Raises SettingsError and LedgerError."""
    ledger.register(proxy.name)
    key = proxy.management_key.get_secret_value()
    # Not the hash key, because changing that must not cause another try of a refused key.
    known_as = partial(fingerprints, proxy.url, key, Pseudonyms(ledger.salt).of_bytes)
    guard = KeyGuard(proxy=proxy.name, known_as=known_as, store=ledger.refusals, clock=clock)
    return ProxyClient(
        name=proxy.name,
        url=proxy.url,
        key=key,
        guard=guard,
        subscribes=proxy.source == "subscribe",
        timeouts=timeouts,
    )
