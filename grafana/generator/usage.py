"""How much was used in the chosen time range, altogether and by name."""

from grafana_foundation_sdk.builders import stat, table

from grafana.generator.dashboards import ACCOUNTS, OVERVIEW
from grafana.generator.parts import USD, Column, big_number, joined, leads_to, listing
from grafana.generator.queries import SERIES, all_tokens, increase

_LEADS_TO = {"model": OVERVIEW, "client": OVERVIEW, "credential": ACCOUNTS}


def requests() -> stat.Panel:
    """All requests."""
    return _total("Requests", "Failed ones included.", increase("cliproxy_requests_total", SERIES))


def tokens() -> stat.Panel:
    """All tokens."""
    return _total(
        "Tokens", "Input including what came from a cache, output, and unclassified tokens.", all_tokens(increase)
    )


def _total(title: str, meaning: str, expr: str) -> stat.Panel:
    queries = {title.lower(): expr}
    return big_number(title, f"In the time range. {meaning}", queries, unit="short", decimals=1, none="none")


def table_of(label: str, title: str) -> table.Panel:
    """What each value of ``label`` used, the most tokens first. A click on one selects it."""

    def of(billing: str) -> str:
        cost = increase("cliproxy_cost_usd_total", f'{SERIES},billing="{billing}"', label)
        return f"{cost} > 0"

    read, whole = (increase(f"cliproxy_{kind}_tokens_total", SERIES, label) for kind in ("cache_read", "input"))
    return joined(
        listing(
            title,
            "In the time range. Cached is the share of the input that came from the provider's cache. Spent is"
            " money, value what the use of accounts with a login would have cost by API key. A click selects a name.",
            f"{increase('cliproxy_requests_total', SERIES, label)} > 0",
            f"{all_tokens(increase, label)} > 0",
            f"{read} / ({whole} > 0)",
            of("metered"),
            of("subscription"),
        ),
        Column(label, title[:-1], leads_to(_LEADS_TO[label], label)),
        Column("Value #A", "Requests", {"decimals": 0, "custom_width": 70}),
        Column("Value #B", "Tokens", {"decimals": 1, "custom_width": 76}),
        Column("Value #C", "Cached", {"unit": "percentunit", "decimals": 0, "custom_width": 60}),
        Column("Value #D", "Spent", USD | {"custom_width": 65}),
        Column("Value #E", "Value", USD | {"custom_width": 70}),
        sort="Tokens",
    )
