"""Prices usage records: every record gets a cost, which says what its price did not cover.

The price is from the first list that has one: the user's file, the catalogue, the daily list. A model that no list
knows gets the default price, and its cost says so (``basis``): an obvious guess is more useful than a gap, if nobody
can mistake it for a known price. Tokens that a known price does not cover are different: they add nothing, and the
record counts as unpriced, because nobody could find a guess hidden inside an exact sum.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from exporter.clock import Clock
from exporter.pricing.catalogue import load_catalogue
from exporter.pricing.feed import FeedStore, PriceFeed
from exporter.pricing.lookup import NO_PRICES, PriceList, override_ways
from exporter.pricing.model_names import OPENAI_COMPATIBLE
from exporter.pricing.price import MatchedBy, Price, Rule, Tariff, cost, pico_per_token, usd_per_million
from exporter.pricing.price_file import DEFAULT_MODEL, by_name, read_price_file
from exporter.records import Cost, Tokens, UsageRecord
from exporter.sentences import say
from exporter.settings.watched import WatchedFile

_DEFAULT_INPUT = pico_per_token("0.15")
_DEFAULT_OUTPUT = pico_per_token("0.60")

DEFAULT_PRICE = Price(
    origin=DEFAULT_MODEL,
    matched_by=MatchedBy.DEFAULT,
    tariff=Tariff(
        input=_DEFAULT_INPUT,
        output=_DEFAULT_OUTPUT,
        cache_read=_DEFAULT_INPUT,
        cache_write=_DEFAULT_INPUT,
    ),
)
"""The row ``_default`` of the predecessor's price table. Cached input costs as much as other input."""

# CPA writes these if the upstream's answer did not name the model.
_UNNAMED = frozenset({"", "unknown"})

_NO_TOKENS = Tokens()


@dataclass(frozen=True, kw_only=True)
class UserPrices:
    """What the user's price file says: its prices and their number, and the price of models that no list knows.

    ``rules``, by provider in lower case, change the prices of other lists.
    """

    prices: PriceList = NO_PRICES
    rows: int = 0
    default: Price = DEFAULT_PRICE
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)

    def rules_of(self, provider: str) -> tuple[Rule, ...]:
        """The rules for a provider, which they may name with or without CPA's prefix."""
        name = provider.strip().lower() if self.rules else ""  # nearly always empty, and each record asks
        return self.rules.get(name) or self.rules.get(name.removeprefix(OPENAI_COMPATIBLE), ())


_NO_FILE = UserPrices()


def watch_price_file(path: Path) -> WatchedFile[UserPrices]:
    """The prices of the user's file. Raises ProblemsError for a mistake in it."""
    kind, name = say("price file"), say("prices")
    return WatchedFile(path, _read, kind=kind, name=name, size=lambda file: {"rows": file.rows})


def _read(path: Path) -> UserPrices:
    file, default = read_price_file(path), DEFAULT_PRICE
    if file.default is not None:
        default = replace(default, origin=f"{path.name} {DEFAULT_MODEL}", tariff=file.default)
    prices = PriceList(by_name(file.rows, list_name=path.name), ways=override_ways)
    return UserPrices(prices=prices, rows=len(file.rows), default=default, rules=file.rules)


class Pricer:
    """Finds the price in force at a record's time and computes the cost.

    ``user`` and ``feed`` change while the program runs; each is ``None`` where there is none.
    """

    def __init__(
        self, catalogue: PriceList, *, user: WatchedFile[UserPrices] | None = None, feed: PriceFeed | None = None
    ) -> None:
        self.user = user
        self.feed = feed
        self._catalogue = catalogue

    @property
    def problems(self) -> list[str]:
        """What is wrong with the lists, a sentence each. The last good lists stay in use."""
        return [each.problem for each in (self.user, self.feed) if each is not None and each.problem]

    def price(self, record: UsageRecord) -> Cost:
        """What this record costs. Never fails: there is always the default price."""
        model = record.model if record.model.strip().lower() not in _UNNAMED else record.alias
        price = self.price_of(record.provider, model, at_ms=record.ts_ms)
        basis, text = price.basis, price.text(record.service_tier)
        tokens = record.tokens
        if tokens == _NO_TOKENS:
            is_success = record.counted and not record.code
            return Cost(nano_usd=0, basis=basis, price=text, unpriced="no_usage" if is_success else "")
        tariff = price.at(record.service_tier)
        if tariff is None and not record.tier_only_asked:
            return Cost(nano_usd=0, basis=basis, price=text, unpriced="no_tier_price")
        nano_usd, unpriced = cost((tariff or price.tariff).rates(tokens), tokens)
        if tariff is None and not unpriced:
            unpriced = "tier_at_base_price"
        return Cost(nano_usd=nano_usd, basis=basis, price=text, unpriced=unpriced)

    def price_of(self, provider: str, model: str, *, at_ms: int) -> Price:
        """What a model costs at a moment (ms since the epoch); the default price if no list has it.

        The feed prices only models that the catalogue has never heard of.
        """
        user = self.user.content if self.user is not None else _NO_FILE
        if user.rows and (price := user.prices.find(provider, model, at_ms=at_ms)) is not None:
            return price
        price = self._catalogue.find(provider, model, at_ms=at_ms)
        if price is None and self.feed is not None and not self._catalogue.knows(provider, model):
            price = self.feed.prices.find(provider, model, at_ms=at_ms)
        if price is None:
            return user.default
        for rule in user.rules_of(provider):
            price = price.under(rule)
        return price

    def current(self, provider: str, model: str, *, at_ms: int) -> dict[str, Decimal]:
        """USD per million tokens at a moment, by the values of the label ``bucket``, without unpriced buckets.

        These are the prices of a short prompt without a service tier.
        """
        prices = self.price_of(provider, model, at_ms=at_ms).tariff.by_bucket()
        return {bucket: usd_per_million(pico) for bucket, pico in prices.items() if pico is not None}


def open_prices(*, file: Path | None, feed_url: str | None, store: FeedStore, clock: Clock) -> Pricer:
    """Load the lists. Without ``feed_url`` there is no feed.

    Raises SettingsError for a wrong price file, and LedgerError if ``store`` cannot be read.
    """
    return Pricer(
        load_catalogue(),
        user=watch_price_file(file) if file is not None else None,
        feed=PriceFeed(url=feed_url, store=store, clock=clock) if feed_url is not None else None,
    )
