"""The accounts: which can be used, what is left of them and since when that is known, what they did and are worth."""

from grafana_foundation_sdk.builders import dashboard, stat, table, timeseries

from grafana.generator.account_tables import ACCOUNT_COLUMN, BRIEF, KEY, OF_PROVIDER, SHARE, each, pools, windows
from grafana.generator.dashboards import ACCOUNTS, new_dashboard
from grafana.generator.parts import (
    COLORED_TEXT,
    DURATION,
    GREEN,
    ORANGE,
    RED,
    TEXT,
    USD,
    Column,
    Steps,
    amounts,
    big_number,
    joined,
    listing,
    steps_of,
    words,
)
from grafana.generator.queries import ACCOUNT, ATTEMPT, all_tokens, increase, limit, or_zero, rate, share
from grafana.generator.worth import with_worth

_UP = f"cliproxy_credential_up{{{ACCOUNT}}}"
_RETRY = f"cliproxy_credential_retry_timestamp_seconds{{{ACCOUNT}}}"
_ROOM = f"cliproxy_credential_room_timestamp_seconds{{{ACCOUNT}}}"


def build() -> dashboard.Dashboard:
    """The whole dashboard, in reading order."""
    return with_worth(
        new_dashboard(
            ACCOUNTS,
            "Which account can be used, what is left of it, and what is it worth? Click an account to see only that "
            "one.",
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
                "Accounts that their proxy does not use until a time that it states.",
                f"count({_RETRY} > time())",
                ((None, GREEN), (1, ORANGE)),
            )
        )
        .with_panel(pools().height(8).span(24))
        .with_panel(_accounts().height(11).span(24))
        .with_row(dashboard.Row("What is left of it?"))
        .with_panel(windows().height(12).span(14))
        .with_panel(_answers().height(12).span(10))
        .with_row(dashboard.Row("What was done with it?"))
        .with_panel(_attempts().height(8).span(8))
        .with_panel(_failed().height(8).span(8))
        .with_panel(_tokens().height(8).span(8))
    )


# --- which account can be used? ---------------------------------------------------------------------------------------


def _number(title: str, description: str, count: str, steps: Steps = ((None, RED), (1, GREEN))) -> stat.Panel:
    return (
        big_number(
            title,
            f"{description} Only accounts with a login count; API keys have no such state.",
            {title.lower(): or_zero(count, if_there_is=f"count({_UP})")},
            unit="short",
            steps=steps,
            none="no accounts",
        )
        .height(3)
        .span(8)
    )


def _accounts() -> table.Panel:
    info = f"cliproxy_credential_info{{{ACCOUNT}}}"
    # The counts of an account remain when it is gone.
    attempts = f"({increase('cliproxy_credential_attempts_total', ACCOUNT, *KEY)} and on (proxy, credential) {info})"
    failed = increase("cliproxy_credential_attempts_total", f'{ACCOUNT},result="failed"', *KEY)
    share_of_failed = {"unit": "percentunit", "decimals": 1}
    share_of_failed |= {"thresholds": steps_of(((None, TEXT), (0.1, ORANGE), (0.25, RED))), **COLORED_TEXT}
    return joined(
        listing(
            "Accounts, nearest to exhaustion first",
            "Usable, status and cooldown are as the proxy last reported them. Attempts are the proxy's own counts in"
            " the time range. The fullest window is the one with the least left. Empty: not known.",
            each(info, "plan", "auth_type"),
            each(_UP),
            f"{each(f'cliproxy_credential_status{{{ACCOUNT}}}', 'status')} == 1",
            f"{each(_RETRY)} - time() > 0",
            each(limit("used_ratio", OF_PROVIDER)),
            attempts,
            share(failed, attempts),
            f"{each(_ROOM)} - time() > 0",
        ),
        ACCOUNT_COLUMN,
        Column("provider", "Provider"),
        Column("proxy", "Proxy"),
        Column("auth_type", "Login"),
        Column("plan", "Plan"),
        Column(
            "Value #B",
            "Usable",
            {"mappings": [words(_0=("no", RED), _1=("yes", GREEN))], **COLORED_TEXT, "custom_width": 80},
        ),
        Column("status", "Status"),
        Column("Value #D", "Back in", DURATION),
        Column("Value #H", "Room in", DURATION),
        Column("Value #E", "Fullest window", SHARE),
        Column("Value #F", "Attempts", {"decimals": 0, "custom_width": 90}),
        Column("Value #G", "Failed", {**share_of_failed, "custom_width": 90}),
        sort="Fullest window",
    )


# --- what is left of it? ----------------------------------------------------------------------------------------------


def _answers() -> table.Panel:
    return joined(
        listing(
            "What providers tell when they are asked",
            "With EXPORTER_QUOTAS=active: when the provider is asked about an account next, the last result, money"
            " left, how often its owner may reset its windows at once, and the share of a Claude week used"
            " elsewhere.",
            f"{each(f'cliproxy_quota_next_fetch_timestamp_seconds{{{ACCOUNT}}}')} - time()",
            each(f"cliproxy_balance_usd{{{ACCOUNT}}}", "balance"),
            each(f"cliproxy_quota_reset_credits{{{ACCOUNT}}}"),
            each(f"cliproxy_quota_elsewhere_ratio{{{ACCOUNT}}}"),
            each(f"cliproxy_quota_last_result_info{{{ACCOUNT}}}", "result"),
        ),
        ACCOUNT_COLUMN,
        Column("Value #A", "Asked in", BRIEF),
        Column("result", "Last time", {"custom_width": 95}),
        Column("balance", "Balance of"),
        Column("Value #B", "Left", USD),
        Column("Value #C", "Resets"),
        Column("Value #D", "Elsewhere", {"unit": "percentunit", "decimals": 0, "custom_width": 85}),
        sort="Left",
    )


# --- what was done with it? -------------------------------------------------------------------------------------------


def _attempts() -> timeseries.Panel:
    attempts = rate("cliproxy_credential_attempts_total", ACCOUNT, "credential")
    return amounts(
        "Attempts per hour, by account, all models and clients",
        "As the proxy counts them, including calls that leave no usage record.",
        {"{{credential}}": f"3600 * {attempts} > 0"},
        unit="short",
    )


def _failed() -> timeseries.Panel:
    failed = rate("cliproxy_failed_requests_total", ATTEMPT, "credential", "code")
    return amounts(
        "Failed requests per hour, by account and code, all clients",
        "401: the login is no longer valid. 429: too many requests, or a window is used up.",
        {"{{credential}} {{code}}": f"3600 * {failed} > 0"},
        unit="short",
    ).no_value("No request failed")


def _tokens() -> timeseries.Panel:
    queries = {"{{credential}}": f"3600 * {all_tokens(rate, 'credential')} > 0"}
    meaning = "Input, output and unclassified tokens."
    return amounts("Tokens per hour, by account", meaning, queries, unit="short")
