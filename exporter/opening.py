"""Opens what the settings name, for the program and its commands: ledger, prices, limits, Supabase, proxies."""

from collections.abc import Callable

from exporter.clock import Clock
from exporter.history.claims import proxy_signs
from exporter.history.client import Remote
from exporter.history.predecessor.model_pricing import price_task
from exporter.history.predecessor.rate_limits import config_task, status_task
from exporter.history.sender import Ends
from exporter.history.sync import History
from exporter.history.tasks import prune_task, snapshot_task
from exporter.ledger.database import FILE_NAME
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.limits.board import LimitBoard
from exporter.limits.limit_file import watch_limit_file
from exporter.limits.notices import Notifier, Services
from exporter.limits.supabase_source import StoredLimits
from exporter.normalize.pseudonyms import Pseudonym, Pseudonyms, load_hash_key
from exporter.pricing.layers import PriceLayers, open_prices
from exporter.pricing.pricer import Pricer
from exporter.settings.model import Settings
from exporter.settings.proxies import ProxySettings
from exporter.sources.auth_guard import KeyGuard
from exporter.sources.client import ProxyClient, Timeouts
from exporter.sources.proxy_status import Statuses

HASH_KEY_FILE = "hash.key"
_DAY_MS = 86_400_000


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


def open_limits(
    settings: Settings, ledger: Ledger, labels: Labels, clock: Clock, statuses: Statuses = tuple
) -> LimitBoard:
    """The limits of these settings, the file's first. Raises SettingsError and LedgerError."""
    file = settings.exporter_limits_file
    return LimitBoard(
        ledger=ledger,
        labels=labels,
        file=watch_limit_file(file, zone=settings.zone) if file is not None else None,
        stored=StoredLimits(ledger.limits, zone=settings.zone) if settings.supabase_url is not None else None,
        zone=settings.zone,
        clock=clock,
        statuses=statuses,
    )


def open_notifier(settings: Settings, board: LimitBoard, *, stopping: Callable[[], bool]) -> Notifier | None:
    """The sender of notices about limits, None without EXPORTER_NOTIFY_URLS. Raises SettingsError and LedgerError."""
    if not settings.notify_urls:
        return None
    return Notifier(board, Services(settings.notify_urls), stopping=stopping)


def open_remote(settings: Settings) -> Remote | None:
    """The Supabase project of these settings, None without one. Nothing is sent yet."""
    if settings.supabase_url is None or settings.supabase_secret_key is None:
        return None
    return Remote(settings.supabase_url, settings.supabase_secret_key.get_secret_value())


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
        Ends(remote=remote, ledger=ledger, labels=labels, pseudonym=pseudonym, clock=clock, zone=settings.zone),
        retention_ms=settings.exporter_retention_days * _DAY_MS,
        signs=proxy_signs(settings),
        tasks=[
            config_task(remote, limits),
            status_task(remote, limits),
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


def connect(proxy: ProxySettings, ledger: Ledger, clock: Clock, timeouts: Timeouts | None = None) -> ProxyClient:
    """A client of ``proxy`` whose refusals are remembered in ``ledger``. Raises SettingsError and LedgerError."""
    ledger.register(proxy.name)
    key = proxy.management_key.get_secret_value()
    guard = KeyGuard(
        proxy=proxy.name,
        url=proxy.url,
        key=key,
        # Not the hash key, because changing that must not cause another try of a refused key.
        keyed_hash=Pseudonyms(ledger.salt).of_bytes,
        store=ledger.refusals,
        clock=clock,
    )
    return ProxyClient(
        name=proxy.name,
        url=proxy.url,
        key=key,
        guard=guard,
        subscribes=proxy.source == "subscribe",
        timeouts=timeouts,
    )
