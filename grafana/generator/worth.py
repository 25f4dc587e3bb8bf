"""What subscriptions are worth: the row that the dashboards of limits and of accounts share."""

from grafana_foundation_sdk.builders import dashboard, table, timeseries

from grafana.generator.account_tables import ACCOUNT_COLUMN, SCOPE_COLUMNS, each
from grafana.generator.parts import (
    COLORED_TEXT,
    GREEN,
    TEXT,
    USD,
    Column,
    graph,
    joined,
    listing,
    ranking,
    steps_of,
    with_columns,
)
from grafana.generator.queries import ACCOUNT, LIMIT, increase, limit, named, per_limit


def with_worth(made: dashboard.Dashboard) -> dashboard.Dashboard:
    """The dashboard with that row at its end."""
    return (
        made.with_row(dashboard.Row("What is it worth?"))
        .with_panel(_plans().height(8).span(12))
        .with_panel(_capacities().height(8).span(12))
        .with_panel(_capacity_over_time().height(8).span(16))
        .with_panel(_capacity_changes().height(8).span(8))
    )


_NO_ESTIMATE = "Not known before an account was used for some time"


def _plans() -> table.Panel:
    price = f"cliproxy_plan_price_per_month{{{ACCOUNT}}}"
    value = f"cliproxy_plan_value_usd{{{ACCOUNT}}}"
    in_dollars = f'cliproxy_plan_price_per_month{{{ACCOUNT},currency="USD"}} > 0'
    times = {
        "decimals": 2,
        "noValue": "not in USD",
        "custom_width": 120,
        "thresholds": steps_of(((None, TEXT), (1, GREEN))),
        **COLORED_TEXT,
    }
    return joined(
        listing(
            "Subscriptions: value of this month against their price",
            "What the use of the account in this calendar month is worth at API prices, and what its plan costs. The"
            " price is under plans in the limits file; a price in another currency is not compared.",
            each(price, "currency"),
            each(value),
            f"{each(value)} / {each(in_dollars)}",
            none="No plan has a price in the limits file",
        ),
        ACCOUNT_COLUMN,
        Column("provider", "Provider", {"custom_width": 85}),
        Column("Value #A", "Price a month", {"decimals": 2, "custom_width": 105}),
        Column("currency", "Currency", {"custom_width": 80}),
        Column("Value #B", "Value so far", USD | {"custom_width": 100}),
        Column("Value #C", "Times its price", times),
        sort="Times its price",
    )


def _capacities() -> table.Panel:
    def worth(bound: str) -> str:
        return per_limit(limit("capacity_usd", f'bound="{bound}"'))

    return joined(
        listing(
            "What 100 % of a window is worth",
            "At API prices, estimated from the provider's readings and the use booked between them. The true value"
            " is between at least and at most. Tokens are of the mix so far.",
            worth("estimate"),
            worth("low"),
            worth("high"),
            per_limit(limit("capacity_tokens", 'bound="estimate"')),
            none=_NO_ESTIMATE,
        ),
        ACCOUNT_COLUMN,
        *SCOPE_COLUMNS,
        Column("Value #A", "Worth", USD),
        Column("Value #B", "At least", USD),
        Column("Value #C", "At most", USD),
        Column("Value #D", "Tokens"),
        sort="Worth",
    )


def _capacity_over_time() -> timeseries.Panel:
    estimate = limit("capacity_usd", 'bound="estimate"')
    return (
        graph(
            "Worth of 100 % over time",
            "The best estimate of each window, at API prices.",
            {"{{name}}": named(estimate, "provider", "credential", "limit", "scope")},
            unit="currencyUSD",
        )
        .no_value(_NO_ESTIMATE)
        .legend(ranking())
    )


def _capacity_changes() -> table.Panel:
    changes = increase(
        "cliproxy_limit_capacity_changes_total", LIMIT, "provider", "credential", "window", "scope", "change"
    )
    return with_columns(
        listing(
            "Windows that shrank or grew",
            "How often, in the time range, what 100 % of a window holds fell or rose by at least a tenth, confirmed"
            " by one whole window.",
            f"{changes} > 0",
            none="None in this time range",
        ).decimals(0),
        ACCOUNT_COLUMN,
        *SCOPE_COLUMNS,
        Column("change", "Change"),
        Column("Value", "Times"),
    )
