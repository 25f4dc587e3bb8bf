"""How much was used in the chosen time range, altogether and by name."""

from grafana_foundation_sdk.builders import stat, table
from grafana_foundation_sdk.models import dashboard as models

from grafana.generator.parts import big_number, joined, leads_to, listing, now, properties, rows
from grafana.generator.queries import SERIES, increase, share

_KINDS = ("input", "output", "unclassified")
_LEADS_TO = {"model": "cliproxy-overview", "client": "cliproxy-overview", "credential": "cliproxy-accounts"}


def requests() -> stat.Panel:
    """All requests."""
    return _total("Requests", "Failed ones included.", increase("cliproxy_requests_total", SERIES))


def tokens() -> stat.Panel:
    """All tokens."""
    return _total("Tokens", "Input with what came from a cache, output, and those of no kind.", _tokens())


def _total(title: str, meaning: str, expr: str) -> stat.Panel:
    return (
        big_number(title, f"In the time range. {meaning}", unit="short")
        .decimals(1)
        .no_value("none")
        .with_target(now(expr, title.lower()))
    )


def _tokens(*by: str) -> str:
    return " + ".join(increase(f"cliproxy_{kind}_tokens_total", SERIES, *by) for kind in _KINDS)


def table_of(label: str, title: str) -> table.Panel:
    """What each value of ``label`` used, the most tokens first. A click on one selects it."""

    def of(billing: str) -> str:
        cost = increase("cliproxy_cost_usd_total", f'{SERIES},billing="{billing}"', label)
        return f"{cost} > 0"

    read = increase("cliproxy_cache_read_tokens_total", SERIES, label)
    columns = {
        label: title[:-1],
        "Value #A": "Requests",
        "Value #B": "Tokens",
        "Value #C": "From cache",
        "Value #D": "Spent",
        "Value #E": "Value",
    }
    return (
        listing(
            title,
            "In the time range. From cache is the share of the input that came from the provider's cache. Spent is"
            " money, value what the use of accounts with a login would have cost by API key. A click selects a name.",
            unit="short",
        )
        .no_value("-")
        .with_target(rows(f"{increase('cliproxy_requests_total', SERIES, label)} > 0", "A"))
        .with_target(rows(f"{_tokens(label)} > 0", "B"))
        .with_target(rows(share(read, increase("cliproxy_input_tokens_total", SERIES, label)), "C"))
        .with_target(rows(of("metered"), "D"))
        .with_target(rows(of("subscription"), "E"))
        .transformations(
            [
                *joined(columns),
                models.DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": "Tokens", "desc": True}]}),
            ]
        )
        .override_by_name(title[:-1], properties(custom_minWidth=120, **leads_to(_LEADS_TO[label], label)))
        .override_by_name("Requests", properties(decimals=0))
        .override_by_name("Tokens", properties(decimals=1))
        .override_by_name("From cache", properties(unit="percentunit", decimals=0))
        .override_by_name("Spent", properties(unit="currencyUSD", decimals=2))
        .override_by_name("Value", properties(unit="currencyUSD", decimals=2))
    )
