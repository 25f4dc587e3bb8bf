"""The accounts: which can be used, what their windows say and since when, what was done with them and what it is worth.

Tables name an account by ``proxy``, ``provider`` and ``credential``, so that their columns can be joined.
"""

from typing import Any

from grafana_foundation_sdk.builders import dashboard, stat, table, timeseries
from grafana_foundation_sdk.models import dashboard as models

from grafana.generator.parts import (
    GREEN,
    ORANGE,
    RED,
    TEXT,
    USED_STEPS,
    Steps,
    amounts,
    big_number,
    graph,
    joined,
    leads_to,
    listing,
    new_dashboard,
    now,
    only,
    over_time,
    properties,
    ranking,
    rows,
    steps_of,
    words,
)
from grafana.generator.queries import (
    ACCOUNT,
    ATTEMPT,
    LIMIT,
    SERIES,
    increase,
    limit,
    named,
    or_zero,
    per_limit,
    rate,
    share,
)

UID = "cliproxy-accounts"

_KEY = ("proxy", "provider", "credential")
_OF_PROVIDER = 'kind="provider"'
_UP = f"cliproxy_credential_up{{{ACCOUNT}}}"
_RETRY = f"cliproxy_credential_retry_timestamp_seconds{{{ACCOUNT}}}"
_ROOM = f"cliproxy_credential_room_timestamp_seconds{{{ACCOUNT}}}"
_BAR = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
_SHARE: dict[str, Any] = {
    "unit": "percentunit",
    "decimals": 0,
    "min": 0,
    "max": 1,
    "thresholds": steps_of(USED_STEPS),
    "custom_cellOptions": _BAR,
    "custom_minWidth": 110,
}
_USD: dict[str, Any] = {"unit": "currencyUSD", "decimals": 2}
_LINK = leads_to(UID, "credential")


def build() -> dashboard.Dashboard:
    """The whole dashboard, in reading order."""
    return (
        new_dashboard(
            "CLIProxyAPI: accounts",
            UID,
            "Which account can be used, what is left of it, and what is it worth? Click an account to see it alone.",
        )
        .with_row(dashboard.Row("Which account can be used?"))
        .with_panel(_number("Usable accounts", "Accounts that their proxy would use now.", f"count({_UP} == 1)"))
        .with_panel(
            _number(
                "Unusable accounts",
                "Accounts that their proxy would not use now: disabled, or cooling down.",
                f"count({_UP} == 0)",
                ((None, GREEN), (1, ORANGE)),
            )
        )
        .with_panel(
            _number(
                "Accounts cooling down",
                "Accounts that their proxy leaves alone until a moment that it tells.",
                f"count({_RETRY} > time())",
                ((None, GREEN), (1, ORANGE)),
            )
        )
        .with_panel(_pools().height(8).span(24))
        .with_panel(_accounts().height(11).span(24))
        .with_row(dashboard.Row("What is left of it?"))
        .with_panel(_windows().height(12).span(16))
        .with_panel(_told().height(12).span(8))
        .with_row(dashboard.Row("What was done with it?"))
        .with_panel(_attempts().height(8).span(8))
        .with_panel(_failed().height(8).span(8))
        .with_panel(_tokens().height(8).span(8))
        .with_row(dashboard.Row("What is it worth?"))
        .with_panel(_plans().height(8).span(10))
        .with_panel(_capacities().height(8).span(14))
        .with_panel(_capacity_over_time().height(8).span(16))
        .with_panel(_capacity_changes().height(8).span(8))
    )


# --- which account can be used? ---------------------------------------------------------------------------------------


def _number(title: str, description: str, count: str, steps: Steps = ((None, RED), (1, GREEN))) -> stat.Panel:
    return (
        big_number(
            title,
            f"{description} Of accounts with a login; API keys have no such state.",
            unit="short",
            steps=steps,
        )
        .decimals(0)
        .no_value("no accounts")
        .height(3)
        .span(8)
        .with_target(now(or_zero(count, if_there_is=f"count({_UP})"), title.lower()))
    )


def _each(expr: str, *more: str) -> str:
    return f"max by ({', '.join((*_KEY, *more))}) ({expr})"


def _pools() -> table.Panel:
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
    return _with_columns(
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


def _accounts() -> table.Panel:
    attempts = increase("cliproxy_credential_attempts_total", ACCOUNT, *_KEY)
    failed = increase("cliproxy_credential_attempts_total", f'{ACCOUNT},result="failed"', *_KEY)
    return _with_columns(
        listing(
            "Accounts, nearest to exhaustion first",
            "Usable, status and cooldown are what the proxy told last. Attempts are the proxy's own counts in the time"
            " range. The fullest window is the one of which least is left. Empty: not known.",
            unit="short",
        )
        .no_value("-")
        .with_target(rows(_each(f"cliproxy_credential_info{{{ACCOUNT}}}", "plan", "auth_type"), "A"))
        .with_target(rows(_each(_UP), "B"))
        .with_target(rows(f"{_each(f'cliproxy_credential_status{{{ACCOUNT}}}', 'status')} == 1", "C"))
        .with_target(rows(f"{_each(_RETRY)} - time() > 0", "D"))
        .with_target(rows(_each(limit("used_ratio", _OF_PROVIDER)), "E"))
        .with_target(rows(attempts, "F"))
        .with_target(rows(share(failed, attempts), "G"))
        .with_target(rows(f"{_each(_ROOM)} - time() > 0", "H")),
        {
            "credential": "Account",
            "provider": "Provider",
            "proxy": "Proxy",
            "auth_type": "Login",
            "plan": "Plan",
            "Value #B": "Usable",
            "status": "Status",
            "Value #D": "Back in",
            "Value #H": "Room in",
            "Value #E": "Fullest window",
            "Value #F": "Attempts",
            "Value #G": "Failed",
        },
        {
            "Usable": {
                "mappings": [words(_0=("no", RED), _1=("yes", GREEN))],
                "custom_cellOptions": {"type": "color-text"},
                "custom_width": 80,
            },
            "Back in": {"unit": "dtdurations", "decimals": 1},
            "Room in": {"unit": "dtdurations", "decimals": 1},
            "Fullest window": _SHARE,
            "Attempts": {"decimals": 0, "custom_width": 90},
            "Failed": {
                "unit": "percentunit",
                "decimals": 1,
                "thresholds": steps_of(((None, TEXT), (0.1, ORANGE), (0.25, RED))),
                "custom_cellOptions": {"type": "color-text"},
                "custom_width": 90,
            },
        },
        sort="Fullest window",
    )


# --- what is left of it? ----------------------------------------------------------------------------------------------


def _windows() -> table.Panel:
    observed = limit("observed_timestamp_seconds", _OF_PROVIDER)
    reset = limit("reset_timestamp_seconds", _OF_PROVIDER)
    return _with_columns(
        listing(
            "Windows, with age and source",
            "Every window that a provider reports. Age is how long ago the share was true. Source: header is an answer"
            " to a request, signal is what the proxy keeps of such answers, active is an answer to a question about the"
            " account. Refused: the provider refused a request, and told no share.",
            unit="short",
        )
        .no_value("-")
        .with_target(rows(per_limit(limit("used_ratio", _OF_PROVIDER)), "A"))
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
        {
            "Used": _SHARE,
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


def _told() -> table.Panel:
    return _with_columns(
        listing(
            "What providers tell when they are asked",
            "With EXPORTER_QUOTAS=active: when an account is asked about next, money paid in advance that is left,"
            " how often its owner may reset its windows at once, and the share of a Claude week used elsewhere.",
            unit="short",
        )
        .no_value("-")
        .with_target(rows(f"{_each(f'cliproxy_quota_next_fetch_timestamp_seconds{{{ACCOUNT}}}')} - time()", "A"))
        .with_target(rows(_each(f"cliproxy_balance_usd{{{ACCOUNT}}}", "balance"), "B"))
        .with_target(rows(_each(f"cliproxy_quota_reset_credits{{{ACCOUNT}}}"), "C"))
        .with_target(rows(_each(f"cliproxy_quota_elsewhere_ratio{{{ACCOUNT}}}"), "D")),
        {
            "credential": "Account",
            "Value #A": "Asked in",
            "balance": "Balance of",
            "Value #B": "Left",
            "Value #C": "Resets",
            "Value #D": "Elsewhere",
        },
        {
            "Asked in": {"unit": "dtdurations", "decimals": 1},
            "Left": _USD,
            "Elsewhere": {"unit": "percentunit", "decimals": 0},
        },
        sort="Left",
    )


# --- what was done with it? -------------------------------------------------------------------------------------------


def _attempts() -> timeseries.Panel:
    attempts = rate("cliproxy_credential_attempts_total", ACCOUNT, "credential")
    return amounts(
        "Attempts per hour, by account, all models and clients",
        "As the proxy counts them, with calls that leave no usage record.",
        unit="short",
    ).with_target(over_time(f"3600 * {attempts} > 0", "{{credential}}"))


def _failed() -> timeseries.Panel:
    failed = rate("cliproxy_failed_requests_total", ATTEMPT, "credential", "code")
    return (
        amounts(
            "Failed requests per hour, by account and code, all clients",
            "401: the login is no longer valid. 429: too many requests, or a window is used up.",
            unit="short",
        )
        .no_value("No request failed")
        .with_target(over_time(f"3600 * {failed} > 0", "{{credential}} {{code}}"))
    )


def _tokens() -> timeseries.Panel:
    read = rate("cliproxy_input_tokens_total", SERIES, "credential")
    written = rate("cliproxy_output_tokens_total", SERIES, "credential")
    return amounts("Tokens per hour, by account", "Input and output tokens.", unit="short").with_target(
        over_time(f"3600 * ({read} + {written}) > 0", "{{credential}}")
    )


# --- what is it worth? ------------------------------------------------------------------------------------------------

_NO_ESTIMATE = "Not known before an account was used for some time"


def _plans() -> table.Panel:
    price = f"cliproxy_plan_price_per_month{{{ACCOUNT}}}"
    value = f"cliproxy_plan_value_usd{{{ACCOUNT}}}"
    in_dollars = f'cliproxy_plan_price_per_month{{{ACCOUNT},currency="USD"}} > 0'
    return _with_columns(
        listing(
            "Subscriptions: value of this month against their price",
            "What the account was used for in this calendar month at API prices, and what its plan costs. The price is"
            " under plans in the limits file; a price in another currency is not compared.",
            unit="short",
        )
        .no_value("No plan has a price in the limits file")
        .with_target(rows(_each(price, "currency"), "A"))
        .with_target(rows(_each(value), "B"))
        .with_target(rows(f"{_each(value)} / {_each(in_dollars)}", "C")),
        {
            "credential": "Account",
            "provider": "Provider",
            "Value #A": "Price a month",
            "currency": "Currency",
            "Value #B": "Value so far",
            "Value #C": "Times its price",
        },
        {
            "Price a month": {"decimals": 2},
            "Value so far": _USD,
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

    return _with_columns(
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
        {"Worth": _USD, "At least": _USD, "At most": _USD},
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
        .override_by_name("Account", properties(**_LINK))
    )


def _with_columns(
    panel: table.Panel, columns: dict[str, str], looks: dict[str, dict[str, Any]], *, sort: str
) -> table.Panel:
    panel = panel.transformations(
        [
            *joined(columns),
            models.DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": sort, "desc": True}]}),
        ]
    )
    for title, look in (looks | ({"Account": _LINK} if "Account" in columns.values() else {})).items():
        panel = panel.override_by_name(title, properties(**look))
    return panel
