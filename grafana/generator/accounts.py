"""The accounts: which can be used, what is left of them and since when that is known, what they did and are worth."""

from grafana_foundation_sdk.builders import dashboard, stat, table, timeseries

from grafana.generator.account_tables import KEY, LINKED, OF_PROVIDER, SHARE, USD, each, pools, windows
from grafana.generator.parts import (
    GREEN,
    ORANGE,
    RED,
    TEXT,
    Steps,
    amounts,
    big_number,
    listing,
    new_dashboard,
    now,
    over_time,
    rows,
    steps_of,
    with_columns,
    words,
)
from grafana.generator.queries import ACCOUNT, ATTEMPT, SERIES, increase, limit, or_zero, rate, share
from grafana.generator.worth import with_worth

UID = "cliproxy-accounts"

_UP = f"cliproxy_credential_up{{{ACCOUNT}}}"
_RETRY = f"cliproxy_credential_retry_timestamp_seconds{{{ACCOUNT}}}"
_ROOM = f"cliproxy_credential_room_timestamp_seconds{{{ACCOUNT}}}"


def build() -> dashboard.Dashboard:
    """The whole dashboard, in reading order."""
    return with_worth(
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
        .with_panel(pools().height(8).span(24))
        .with_panel(_accounts().height(11).span(24))
        .with_row(dashboard.Row("What is left of it?"))
        .with_panel(windows().height(12).span(16))
        .with_panel(_told().height(12).span(8))
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


def _accounts() -> table.Panel:
    attempts = increase("cliproxy_credential_attempts_total", ACCOUNT, *KEY)
    failed = increase("cliproxy_credential_attempts_total", f'{ACCOUNT},result="failed"', *KEY)
    return with_columns(
        listing(
            "Accounts, nearest to exhaustion first",
            "Usable, status and cooldown are what the proxy told last. Attempts are the proxy's own counts in the time"
            " range. The fullest window is the one of which least is left. Empty: not known.",
            unit="short",
        )
        .no_value("-")
        .with_target(rows(each(f"cliproxy_credential_info{{{ACCOUNT}}}", "plan", "auth_type"), "A"))
        .with_target(rows(each(_UP), "B"))
        .with_target(rows(f"{each(f'cliproxy_credential_status{{{ACCOUNT}}}', 'status')} == 1", "C"))
        .with_target(rows(f"{each(_RETRY)} - time() > 0", "D"))
        .with_target(rows(each(limit("used_ratio", OF_PROVIDER)), "E"))
        .with_target(rows(attempts, "F"))
        .with_target(rows(share(failed, attempts), "G"))
        .with_target(rows(f"{each(_ROOM)} - time() > 0", "H")),
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
        LINKED
        | {
            "Usable": {
                "mappings": [words(_0=("no", RED), _1=("yes", GREEN))],
                "custom_cellOptions": {"type": "color-text"},
                "custom_width": 80,
            },
            "Back in": {"unit": "dtdurations", "decimals": 1},
            "Room in": {"unit": "dtdurations", "decimals": 1},
            "Fullest window": SHARE,
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


def _told() -> table.Panel:
    return with_columns(
        listing(
            "What providers tell when they are asked",
            "With EXPORTER_QUOTAS=active: when an account is asked about next, what came of it last, money left,"
            " how often its owner may reset its windows at once, and the share of a Claude week used elsewhere.",
            unit="short",
        )
        .no_value("-")
        .with_target(rows(f"{each(f'cliproxy_quota_next_fetch_timestamp_seconds{{{ACCOUNT}}}')} - time()", "A"))
        .with_target(rows(each(f"cliproxy_balance_usd{{{ACCOUNT}}}", "balance"), "B"))
        .with_target(rows(each(f"cliproxy_quota_reset_credits{{{ACCOUNT}}}"), "C"))
        .with_target(rows(each(f"cliproxy_quota_elsewhere_ratio{{{ACCOUNT}}}"), "D"))
        .with_target(rows(each(f"cliproxy_quota_last_result_info{{{ACCOUNT}}}", "result"), "E")),
        {
            "credential": "Account",
            "Value #A": "Asked in",
            "result": "Last time",
            "balance": "Balance of",
            "Value #B": "Left",
            "Value #C": "Resets",
            "Value #D": "Elsewhere",
        },
        LINKED
        | {
            "Asked in": {"unit": "dtdurations", "decimals": 1},
            "Left": USD,
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
