"""The tables of pools and of windows with their age, which the dashboards of limits and of accounts show.

Tables name an account by ``proxy``, ``provider`` and ``credential``, so that their columns can be joined.
"""

from typing import Any

from grafana_foundation_sdk.builders import table

from grafana.generator.dashboards import ACCOUNTS
from grafana.generator.parts import (
    COLORED_TEXT,
    DURATION,
    ORANGE,
    TEXT,
    USED_STEPS,
    Column,
    joined,
    leads_to,
    listing,
    steps_of,
    words,
)
from grafana.generator.queries import limit, per_limit

KEY = ("proxy", "provider", "credential")
OF_PROVIDER = 'kind="provider"'
SHARE: dict[str, Any] = {
    "unit": "percentunit",
    "decimals": 0,
    "min": 0,
    "max": 1,
    "thresholds": steps_of(USED_STEPS),
    "custom_cellOptions": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
    "custom_minWidth": 110,
}
ACCOUNT_COLUMN = Column("credential", "Account", leads_to(ACCOUNTS, "credential"))
SCOPE_COLUMNS = (Column("window", "Window", {"custom_width": 70}), Column("scope", "Scope"))
BRIEF: dict[str, Any] = {**DURATION, "decimals": 0, "custom_width": 100}


def each(expr: str, *more: str) -> str:
    """The largest value of ``expr`` for each account and each value of ``more``."""
    return f"max by ({', '.join((*KEY, *more))}) ({expr})"


def pools() -> table.Panel:
    """How many accounts of each provider work, and for how long."""
    pool = 'proxy=~"$proxy",provider=~"$provider"'

    def accounts(state: str) -> str:
        return f'sum by (proxy, provider) (cliproxy_pool_accounts{{{pool},state="{state}"}})'

    def time_until(moment: str) -> str:
        return f"clamp_min(max by (proxy, provider) (cliproxy_pool_{moment}_timestamp_seconds{{{pool}}}) - time(), 0)"

    return joined(
        listing(
            "Pools: the accounts of each provider",
            "How many accounts of a provider work now, when the next one is back, and when none will work any more"
            " at the pace so far. Unknown: nothing is known of the account's windows. Empty: not known, or not"
            " within a day.",
            *map(accounts, ("usable", "cooling", "exhausted", "unknown")),
            time_until("next_back"),
            time_until("empty"),
        ),
        Column("provider", "Provider"),
        Column("proxy", "Proxy"),
        Column("Value #A", "Usable"),
        Column("Value #B", "Cooling down"),
        Column("Value #C", "Exhausted"),
        Column("Value #D", "Unknown"),
        Column("Value #E", "Next one back in", DURATION),
        Column("Value #F", "All empty in", DURATION),
        sort="Exhausted",
    )


def windows() -> table.Panel:
    """The providers' windows, and since when and from what they are known."""
    observed = limit("observed_timestamp_seconds", OF_PROVIDER)
    reset = limit("reset_timestamp_seconds", OF_PROVIDER)
    return joined(
        listing(
            "Windows, with age and source",
            "Every window that a provider reports. Age is how long ago it was reported. Source: header is an"
            " answer to a request, signal is what the proxy keeps of such answers, active is an answer to a question"
            " about the account. Refused: the provider refused a request without saying what share is used.",
            per_limit(limit("used_ratio", OF_PROVIDER)),
            per_limit(f"{reset} - time() > 0"),
            per_limit(f"time() - {observed}"),
            per_limit(limit("source_info")),
            per_limit(limit("inferred")),
        ),
        ACCOUNT_COLUMN,
        *SCOPE_COLUMNS,
        Column("Value #A", "Used", SHARE),
        Column("Value #B", "Resets in", {**DURATION, "custom_width": 140}),
        Column("Value #C", "Age", BRIEF | {"thresholds": steps_of(((None, TEXT), (3600, ORANGE)))} | COLORED_TEXT),
        Column("source", "Source", {"custom_width": 80}),
        Column("Value #E", "Refused", {"mappings": [words(_1=("yes", ORANGE))], "custom_width": 80}),
        sort="Used",
    )
