"""Prices usage records: every record gets a cost, and it says which price it was and what that price could not cover.

A model that no catalogue knows is charged at the default price and says so (``basis``): a number that is obviously a
guess is more use than a hole, as long as nobody can mistake it for a known price. What a known price does not cover is
the other case: those tokens add nothing, and the record is counted as unpriced, because a guess hidden inside an exact
sum could not be told from it.
"""

from collections.abc import Sequence

from exporter.pricing.catalogue import Catalogue
from exporter.pricing.price import MatchedBy, Price, cost, pico_per_token
from exporter.records import Basis, Cost, Tokens, UsageRecord

_DEFAULT_INPUT = pico_per_token("0.15")
_DEFAULT_OUTPUT = pico_per_token("0.60")

DEFAULT_PRICE = Price(
    input=_DEFAULT_INPUT,
    output=_DEFAULT_OUTPUT,
    cache_read=_DEFAULT_INPUT,
    cache_write=_DEFAULT_INPUT,
    origin="_default",
    matched_by=MatchedBy.DEFAULT,
)
"""The row ``_default`` of the predecessor's price table. Cached input costs what other input costs."""

# CPA writes these when the upstream's answer did not name the model.
_UNNAMED = frozenset({"", "unknown"})


class Pricer:
    """Finds the price that held at a record's time and works out the cost. The first catalogue with a price wins."""

    def __init__(self, catalogues: Sequence[Catalogue]) -> None:
        self._catalogues = tuple(catalogues)

    def price(self, record: UsageRecord) -> Cost:
        """What this record costs. Never fails: there is always the default price."""
        model = record.model if record.model.strip().lower() not in _UNNAMED else record.alias
        price = self.price_of(record.provider, model, at_ms=record.ts_ms)
        basis = Basis.DEFAULT if price is DEFAULT_PRICE else Basis.EXACT
        if record.service_tier and _any(record.tokens):
            # No price here is one for a service tier, and the base price would be wrong: priority costs twice as much.
            return Cost(nano_usd=0, basis=basis, price=price.text, unpriced="no_tier_price")
        return Cost(
            nano_usd=cost(price, record.tokens),
            basis=basis,
            price=price.text,
            unpriced=_unpriced(price, record.tokens),
        )

    def price_of(self, provider: str, model: str, *, at_ms: int) -> Price:
        """What a model costs at a moment (ms since the epoch); the default price if no catalogue has it."""
        for catalogue in self._catalogues:
            if (price := catalogue.find(provider, model, at_ms=at_ms)) is not None:
                return price
        return DEFAULT_PRICE


def _any(tokens: Tokens) -> bool:
    return bool(tokens.prompt or tokens.output or tokens.unclassified)


def _unpriced(price: Price, tokens: Tokens) -> str:
    """Why some tokens have no price: the first reason that applies, or nothing."""
    if tokens.unclassified:
        return "unclassified_tokens"
    if tokens.cache_read and price.rates(tokens.prompt).cache_read is None:
        return "no_cache_read_price"
    if tokens.cache_write and price.rates(tokens.prompt).cache_write is None:
        return "no_cache_write_price"
    if tokens.output and price.rates(tokens.prompt).output is None:
        return "no_output_price"
    return ""
