"""The tables of pools and of windows with their age, which the dashboards of limits and of accounts show.

Tables name an account by ``proxy``, ``provider`` and ``credential``, so that their columns can be joined.
"""

from typing import Any

from grafana_foundation_sdk.builders import table

from grafana.generator.parts import (
    ORANGE,
    TEXT,
    USED_STEPS,
    leads_to,
    listing,
    rows,
    steps_of,
    with_columns,
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
USD: dict[str, Any] = {"unit": "currencyUSD", "decimals": 2}
LINKED = {"Account": leads_to("cliproxy-accounts", "credential")}


def each(expr: str, *more: str) -> str:
    """The largest of each account, for each value of ``more``."""
    return f"max by ({', '.join((*KEY, *more))}) ({expr})"


def pools() -> table.Panel:
    """How many accounts of each provider work, and for how long."""
    pool = 'proxy=~"$proxy",provider=~"$provider"'
    panel = listing(
        "Pools: the accounts of each provider",
        "How many accounts of a provider work now, when the next one is back, and when none works any more at the pace"
        " so far. Unknown: nothing is known of the account's windows. Empty: not known, or not within a day.",
        unit="short",
    ).no_value("-")
    states = ("usable", "cooling", "exhausted", "unknown")
    for state, letter in zip(states, "ABCD", strict=True):
        panel = panel.with_target(
            rows(f'sum by (proxy, provider) (cliproxy_pool_accounts{{{pool},state="{state}"}})', letter)
        )
    return with_columns(
        panel.with_target(
            rows(f"max by (proxy, provider) (cliproxy_pool_next_back_timestamp_seconds{{{pool}}} - time() > 0)", "E")
        ).with_target(
            rows(f"max by (proxy, provider) (cliproxy_pool_empty_timestamp_seconds{{{pool}}} - time() > 0)", "F")
        ),
        {
            "provider": "Provider",
            "proxy": "Proxy",
            "Value #A": "Usable",
            "Value #B": "Cooling down",
            "Value #C": "Exhausted",
            "Value #D": "Unknown",
            "Value #E": "Next one back in",
            "Value #F": "All empty in",
        },
        {
            "Next one back in": {"unit": "dtdurations", "decimals": 1},
            "All empty in": {"unit": "dtdurations", "decimals": 1},
        },
        sort="Exhausted",
    )


def windows() -> table.Panel:
    """The providers' windows, and since when and from what they are known."""
    observed = limit("observed_timestamp_seconds", OF_PROVIDER)
    reset = limit("reset_timestamp_seconds", OF_PROVIDER)
    return with_columns(
        listing(
            "Windows, with age and source",
            "Every window that a provider reports. Age is how long ago the share was true. Source: header is an answer"
            " to a request, signal is what the proxy keeps of such answers, active is an answer to a question about the"
            " account. Refused: the provider refused a request, and told no share.",
            unit="short",
        )
        .no_value("-")
        .with_target(rows(per_limit(limit("used_ratio", OF_PROVIDER)), "A"))
        .with_target(rows(per_limit(f"{reset} - time() > 0"), "B"))
        .with_target(rows(per_limit(f"time() - {observed}"), "C"))
        .with_target(rows(per_limit(limit("source_info"), "max", "source"), "D"))
        .with_target(rows(per_limit(limit("inferred")), "E")),
        {
            "credential": "Account",
            "window": "Window",
            "scope": "Scope",
            "Value #A": "Used",
            "Value #B": "Resets in",
            "Value #C": "Age",
            "source": "Source",
            "Value #E": "Refused",
        },
        LINKED
        | {
            "Used": SHARE,
            "Resets in": {"unit": "dtdurations", "decimals": 1},
            "Age": {
                "unit": "dtdurations",
                "decimals": 1,
                "thresholds": steps_of(((None, TEXT), (3600, ORANGE))),
                "custom_cellOptions": {"type": "color-text"},
            },
            "Refused": {"mappings": [words(_1=("yes", ORANGE))], "custom_width": 80},
        },
        sort="Used",
    )
