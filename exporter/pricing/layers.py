"""All price lists in order: the user's file, the catalogue, the feed, the default price."""

from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from exporter.clock import Clock
from exporter.pricing.catalogue import load_catalogue
from exporter.pricing.feed import FeedStore, PriceFeed
from exporter.pricing.lookup import PriceList, override_ways
from exporter.pricing.price_file import DEFAULT_MODEL, by_name, read_price_file
from exporter.pricing.pricer import DEFAULT_PRICE, NO_FILE, Pricer, UserPrices
from exporter.sentences import say
from exporter.settings.watched import WatchedFile

_log = structlog.get_logger("exporter.pricing")


def watch_price_file(path: Path) -> WatchedFile[UserPrices]:
    """The prices of the user's file. Raises ProblemsError for a mistake in it."""
    kind, name = say("price file"), say("prices")
    return WatchedFile(path, _read, kind=kind, name=name, log=_log, size=lambda file: {"rows": file.rows})


def _read(path: Path) -> UserPrices:
    file, default = read_price_file(path), DEFAULT_PRICE
    if file.default is not None:
        default = replace(default, origin=f"{path.name} {DEFAULT_MODEL}", tariff=file.default)
    prices = PriceList(by_name(file.rows, list_name=path.name), ways=override_ways)
    return UserPrices(prices=prices, rows=len(file.rows), default=default, one_hour_writes=file.one_hour_writes)


@dataclass(frozen=True, kw_only=True)
class PriceLayers:
    """The pricer, and its lists that change while the program runs; ``None`` where there is none."""

    pricer: Pricer
    user: WatchedFile[UserPrices] | None
    feed: PriceFeed | None

    @property
    def problems(self) -> list[str]:
        """What is wrong with the lists, a sentence each. The last good lists stay in use."""
        return [each.problem for each in (self.user, self.feed) if each is not None and each.problem]


def open_prices(*, file: Path | None, feed_url: str | None, store: FeedStore, clock: Clock) -> PriceLayers:
    """Load the lists. Without ``feed_url`` there is no feed.

    Raises SettingsError for a wrong price file, and LedgerError if ``store`` cannot be read.
    """
    catalogue = load_catalogue()
    user = watch_price_file(file) if file is not None else None
    feed = PriceFeed(url=feed_url, store=store, known=catalogue.knows, clock=clock) if feed_url is not None else None
    pricer = Pricer(
        [catalogue] if feed is None else [catalogue, feed],
        user=lambda: user.content if user is not None else NO_FILE,
    )
    return PriceLayers(pricer=pricer, user=user, feed=feed)
