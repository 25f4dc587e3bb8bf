"""Sums of calendar periods."""

from msgspec.structs import asdict

from exporter.ledger.labels import Route
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.periods import PERIODS
from exporter.metrics.family import Samples, filling, gauge
from exporter.records import Billing

_ROUTE = Route.__struct_fields__

PERIOD_COST = gauge(
    "cliproxy_period_cost_usd",
    (*_ROUTE, "billing", "period"),
    "Cost in US dollars of a calendar period in the configured time zone: today, yesterday, or this month,"
    " which includes records that a fast clock dates into a later day of it.",
)
PERIOD_TOKENS = gauge(
    "cliproxy_period_tokens",
    (*_ROUTE, "period"),
    "All tokens (input, output, unclassified) of a calendar period in the configured time zone.",
)
PERIOD_REQUESTS = gauge(
    "cliproxy_period_requests", (*_ROUTE, "period"), "Requests of a calendar period in the configured time zone."
)
PERIOD_START = gauge(
    "cliproxy_period_start_timestamp_seconds",
    ("period",),
    "When a calendar period began in the configured time zone: today, yesterday, or this month.",
)


@filling(PERIOD_COST, PERIOD_TOKENS, PERIOD_REQUESTS, PERIOD_START)
def period_families(ledger: Ledger) -> Samples:
    _, routes, starts = ledger.periods.current
    for period in PERIODS:
        yield PERIOD_START.at(starts.get(period), period=period)
        for route, by_period in routes.items():
            usage, named = by_period[period], asdict(ledger.name_store.routes[route])
            for billing in Billing:
                if any(billing in each for each in by_period.values()):
                    yield PERIOD_COST(usage.cost(billing) / 1e9, **named, billing=billing.word, period=period)
            yield PERIOD_TOKENS(usage.total.tokens, **named, period=period)
            yield PERIOD_REQUESTS(usage.total.requests, **named, period=period)
