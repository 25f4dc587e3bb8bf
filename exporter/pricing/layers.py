"""All price lists in order: the user's file, the catalogue, the feed, the default price."""

from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from exporter.clock import Clock
from exporter.pricing.catalogue import load_catalogue
from exporter.pricing.cost import Price
from exporter.pricing.feed import FeedStore, PriceFeed
from exporter.pricing.lookup import Catalogue, PriceList, override_ways
from exporter.pricing.price_file import DEFAULT_MODEL, by_name, read_price_file
from exporter.pricing.pricer import DEFAULT_PRICE, Pricer
from exporter.pricing.vendors import OPENAI_COMPATIBLE
from exporter.sentences import say
from exporter.settings.watched import WatchedFile

_log = structlog.get_logger("exporter.pricing")


@dataclass(frozen=True, kw_only=True)
class _InUse:
    """What the user's file says: its rows, their number, the default price, and providers whose writes live an hour."""

    prices: PriceList
    rows: int
    default: Price
    one_hour_writes: frozenset[str]


def _read(path: Path) -> _InUse:
    file, default = read_price_file(path), DEFAULT_PRICE
    if file.default is not None:
        default = replace(default, origin=f"{path.name} {DEFAULT_MODEL}", tariff=file.default)
    prices = PriceList(by_name(file.rows, list_name=path.name), ways=override_ways)
    return _InUse(prices=prices, rows=len(file.rows), default=default, one_hour_writes=file.one_hour_writes)


class UserPrices(WatchedFile[_InUse]):
    """The prices of one file: a ``Catalogue``."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ProblemsError."""
        kind, name = say("price file"), say("prices")
        super().__init__(path, _read, kind=kind, name=name, log=_log, size=lambda file: {"rows": file.rows})

    def find(self, provider: str, model: str, *, at_ms: int) -> Price | None:
        """See ``Catalogue.find``."""
        return self.content.prices.find(provider, model, at_ms=at_ms)

    def default(self) -> Price:
        """The price of models that no list knows: the file's, else the built-in one."""
        return self.content.default

    def one_hour_writes(self, provider: str) -> bool:
        """Whether the file says that a provider's cache writes live for an hour. CPA's name may have its prefix."""
        name, found = provider.strip().lower(), self.content.one_hour_writes
        return name in found or name.removeprefix(OPENAI_COMPATIBLE) in found


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
