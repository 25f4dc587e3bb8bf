"""What use costs: now, by hour and by day. Money and the value of subscriptions are never added up."""

from grafana_foundation_sdk.builders import stat, timeseries

from grafana.generator.parts import amounts, big_number
from grafana.generator.queries import ANY_EXPORTER, ROUTE, SERIES, or_zero, rate

MONEY = "What API keys cost: real money."
VALUE = "What the use of accounts with a login would have cost by API key. No money is spent on it."
EITHER = (
    "Money, or the value of a subscription: the proxy did not say which, because it lists no account or key that"
    " the use matches."
)
_BEGAN = 'cliproxy_period_start_timestamp_seconds{period="month"}'
_OF_THE_MONTH = f"86400 * days_in_month({_BEGAN} + 15 * 86400) / clamp_min(time() - {_BEGAN}, 86400)"
"""The length of the month divided by the part of it that has passed in the exporter's zone, at least a day."""


def of_periods(title: str, billing: str, meaning: str) -> stat.Panel:
    """The cost of today, yesterday, this month so far and this whole month; unknown billing only where there is any."""

    def cost(period: str, more: str = "") -> str:
        return f'sum(cliproxy_period_cost_usd{{{ROUTE},billing="{billing}",period="{period}"}}{more})'

    there = f'group(cliproxy_period_cost_usd{{{ROUTE},billing="unknown"}})' if billing == "unknown" else ANY_EXPORTER
    costs = {
        "Today": cost("today"),
        "Yesterday": cost("yesterday"),
        "This month": cost("month"),
        "Month's end": cost("month", f" * ignoring (proxy, provider, model, billing) group_left () ({_OF_THE_MONTH})"),
    }
    return big_number(
        f"{title}, all accounts and clients",
        f"{meaning} Days and months begin at midnight in the exporter's time zone, whatever time range is chosen."
        " Month's end is a forecast at the pace of this month so far; it says little in its first days.",
        {name: or_zero(expr, if_there_is=there) for name, expr in costs.items()},
        unit="currencyUSD",
        decimals=2,
    )


def per_hour(title: str, billing: str, meaning: str) -> timeseries.Panel:
    """Bars of the chosen time range."""
    spent = rate("cliproxy_cost_usd_total", f'{SERIES},billing="{billing}"', "$by")
    return amounts(
        title,
        f"{meaning} Each bar is dollars per hour. Choose above what it is split by.",
        {"{{$by}}": f"3600 * {spent} > 0"},
        unit="currencyUSD",
    )


def by_day(title: str, billing: str, meaning: str) -> timeseries.Panel:
    """A bar at the start of each of the last 30 days. A rate looks back, so each bar takes the rate of a day later."""
    spent = rate("cliproxy_cost_usd_total", f'{SERIES},billing="{billing}"', "$by", offset="-$__interval")
    return (
        amounts(
            title,
            f"{meaning} The last 30 days, whatever time range is chosen; the last bar is today so far. Days begin at"
            " midnight in the time zone of the dashboard.",
            {"{{$by}}": f"86400 * {spent} > 0"},
            unit="currencyUSD",
        )
        .interval("1d")
        .time_from("30d")
    )
