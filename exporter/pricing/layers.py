"""All price lists in order: the user's file, the catalogue, the feed, the default price."""

from dataclasses import dataclass
from pathlib import Path

from exporter.clock import Clock
from exporter.pricing.catalogue import load_catalogue
from exporter.pricing.feed import FeedStore, PriceFeed
from exporter.pricing.lookup import Catalogue
from exporter.pricing.overrides import UserPrices
from exporter.pricing.pricer import DEFAULT_PRICE, Pricer


@dataclass(frozen=True, kw_only=True)
class PriceLayers:
    """The pricer, and its lists that change while the program runs; ``None`` where there is none."""

    pricer: Pricer
    user: UserPrices | None
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
    user = UserPrices(file) if file is not None else None
    feed = PriceFeed(url=feed_url, store=store, known=catalogue.knows, clock=clock) if feed_url is not None else None
    layers: list[Catalogue | None] = [user, catalogue, feed]
    return PriceLayers(
        pricer=Pricer(
            [layer for layer in layers if layer is not None],
            default=user.default if user is not None else lambda: DEFAULT_PRICE,
            one_hour_writes=user.one_hour_writes if user is not None else lambda _: False,
        ),
        user=user,
        feed=feed,
    )
