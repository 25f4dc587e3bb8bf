"""What subscriptions are worth: the row that the dashboards of limits and of accounts share."""

from grafana_foundation_sdk.builders import dashboard, table, timeseries

from grafana.generator.account_tables import LINKED, USD, each
from grafana.generator.parts import (
    GREEN,
    TEXT,
    graph,
    listing,
    only,
    over_time,
    properties,
    ranking,
    rows,
    steps_of,
    with_columns,
)
from grafana.generator.queries import ACCOUNT, LIMIT, increase, limit, named, per_limit


def with_worth(made: dashboard.Dashboard) -> dashboard.Dashboard:
    """The dashboard with that row below what it has."""
    return (
        made.with_row(dashboard.Row("What is it worth?"))
        .with_panel(_plans().height(8).span(10))
        .with_panel(_capacities().height(8).span(14))
        .with_panel(_capacity_over_time().height(8).span(16))
        .with_panel(_capacity_changes().height(8).span(8))
    )


_NO_ESTIMATE = "Not known before an account was used for some time"


def _plans() -> table.Panel:
    price = f"cliproxy_plan_price_per_month{{{ACCOUNT}}}"
    value = f"cliproxy_plan_value_usd{{{ACCOUNT}}}"
    in_dollars = f'cliproxy_plan_price_per_month{{{ACCOUNT},currency="USD"}} > 0'
    return with_columns(
        listing(
            "Subscriptions: value of this month against their price",
            "What the account was used for in this calendar month at API prices, and what its plan costs. The price is"
            " under plans in the limits file; a price in another currency is not compared.",
            unit="short",
        )
        .no_value("No plan has a price in the limits file")
        .with_target(rows(each(price, "currency"), "A"))
        .with_target(rows(each(value), "B"))
        .with_target(rows(f"{each(value)} / {each(in_dollars)}", "C")),
        {
            "credential": "Account",
            "provider": "Provider",
            "Value #A": "Price a month",
            "currency": "Currency",
            "Value #B": "Value so far",
            "Value #C": "Times its price",
        },
        LINKED
        | {
            "Price a month": {"decimals": 2},
            "Value so far": USD,
            "Times its price": {
                "decimals": 2,
                "thresholds": steps_of(((None, TEXT), (1, GREEN))),
                "custom_cellOptions": {"type": "color-text"},
            },
        },
        sort="Times its price",
    )


def _capacities() -> table.Panel:
    def worth(bound: str) -> str:
        return per_limit(limit("capacity_usd", f'bound="{bound}"'))

    return with_columns(
        listing(
            "What 100 % of a window is worth",
            "At API prices, estimated from the provider's readings and the use booked between them. The truth is"
            " between at least and at most. Tokens are of the mix so far.",
            unit="short",
        )
        .no_value(_NO_ESTIMATE)
        .with_target(rows(worth("estimate"), "A"))
        .with_target(rows(worth("low"), "B"))
        .with_target(rows(worth("high"), "C"))
        .with_target(rows(per_limit(limit("capacity_tokens", 'bound="estimate"')), "D")),
        {
            "credential": "Account",
            "window": "Window",
            "scope": "Scope",
            "Value #A": "Worth",
            "Value #B": "At least",
            "Value #C": "At most",
            "Value #D": "Tokens",
        },
        LINKED | {"Worth": USD, "At least": USD, "At most": USD},
        sort="Worth",
    )


def _capacity_over_time() -> timeseries.Panel:
    return (
        graph("Worth of 100 % over time", "The best estimate of each window, at API prices.", unit="currencyUSD")
        .no_value(_NO_ESTIMATE)
        .legend(ranking())
        .with_target(
            over_time(
                named(limit("capacity_usd", 'bound="estimate"'), "provider", "credential", "limit", "scope"), "{{name}}"
            )
        )
    )


def _capacity_changes() -> table.Panel:
    changes = increase(
        "cliproxy_limit_capacity_changes_total", LIMIT, "provider", "credential", "window", "scope", "change"
    )
    return (
        listing(
            "Windows that shrank or grew",
            "How often 100 % of a window became at least a tenth less or more, in the time range, once one whole window"
            " has confirmed it.",
            unit="short",
        )
        .decimals(0)
        .no_value("None in this time range")
        .with_target(rows(f"{changes} > 0"))
        .with_transformation(
            only({"credential": "Account", "window": "Window", "scope": "Scope", "change": "Change", "Value": "Times"})
        )
        .override_by_name("Account", properties(**LINKED["Account"]))
    )
