"""The prices of recently used models, and the age of the daily list."""

from exporter.clock import Clock
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.periods import used_lately
from exporter.metrics.family import Samples, filling, gauge
from exporter.pricing.pricer import Pricer

PRICE = gauge(
    "cliproxy_price_usd_per_million_tokens",
    ("provider", "model", "bucket"),
    "Price of a model now, for models used today or yesterday: that of a short prompt without a service tier. bucket:"
    " input, cache_read, cache_write, output; reasoning if its price differs. Absent without a price.",
)
PRICE_FEED = gauge(
    "cliproxy_exporter_price_feed_last_success_timestamp_seconds", (), "When the daily price list was last read."
)


@filling(PRICE, PRICE_FEED)
def price_families(ledger: Ledger, prices: Pricer, clock: Clock) -> Samples:
    for provider, model in sorted(used_lately(ledger.periods.current, ledger.name_store)):
        for bucket, usd in prices.current(provider, model, at_ms=clock.now_ms()).items():
            yield PRICE(float(usd), provider=provider, model=model, bucket=bucket)
    if prices.feed is not None:
        yield PRICE_FEED.at(prices.feed.stored.fetched_ms)
