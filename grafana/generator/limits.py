"""The limits: how much is used, how fast, when each resets or runs out, who uses it, and what it is worth."""

from grafana_foundation_sdk.builders import dashboard, stat, table, timeseries

from grafana.generator.account_tables import ACCOUNT_COLUMN, SCOPE_COLUMNS, pools, windows
from grafana.generator.dashboards import LIMITS, new_dashboard
from grafana.generator.limit_table import full_table
from grafana.generator.parts import (
    GREEN,
    ORANGE,
    RED,
    USED_STEPS,
    Column,
    amounts,
    big_number,
    graph,
    listing,
    matrix,
    properties,
    ranking,
    thresholds,
    with_columns,
)
from grafana.generator.queries import (
    LEVEL,
    LIMIT,
    RUNS_OUT_IN,
    USED,
    all_tokens,
    joined_labels,
    limit,
    named,
    or_zero,
    rate,
    reached,
)
from grafana.generator.worth import with_worth


def build() -> dashboard.Dashboard:
    """The whole dashboard, in reading order."""
    return with_worth(
        new_dashboard(
            LIMITS,
            "How much of each limit is used, how fast, and when does it run out or reset?",
        )
        .with_row(dashboard.Row("Which limit runs out next?"))
        .with_panel(
            _number(
                "Critical limits",
                "Limits above their critical threshold, 95 % unless the limit says otherwise.",
                f"count({reached('critical')})",
                RED,
            )
        )
        .with_panel(
            _number(
                "Limits with a warning",
                "Limits above their warning threshold, 80 % unless the limit says otherwise, but not critical.",
                f"count({LEVEL} == 1)",
                ORANGE,
            )
        )
        .with_panel(
            _number(
                "Limits that run out before they reset",
                "Limits that are used up, or will be before their reset if use goes on as in this window so far.",
                f"count({RUNS_OUT_IN})",
                ORANGE,
            )
        )
        .with_panel(
            full_table(
                "Limits, nearest to exhaustion first",
                "Your own budgets and the windows that providers report. Pace is the used share over the share of the"
                " window that has passed: above 1 it runs out before it resets. A rolling window has no reset, and so"
                " no forecast.",
            )
            .height(13)
            .span(24)
        )
        .with_row(dashboard.Row("The windows of each account"))
        .with_panel(_accounts().height(7).span(16))
        .with_panel(_early_resets().height(7).span(8))
        .with_panel(windows().height(9).span(24))
        .with_panel(pools().height(7).span(24))
        .with_panel(
            _history(
                "Providers' windows over time",
                "What providers reported of each account's windows. A fall to 0 is a reset.",
                "provider",
                "credential",
                "limit",
                "scope",
            )
        )
        .with_row(dashboard.Row("Your own limits"))
        .with_panel(
            _history(
                "Own limits over time",
                "The used share of the limits that you have set. A fall to 0 is a reset.",
                "configured",
                "limit",
                "credential",
                "scope",
                "unit",
            )
        )
        .with_row(dashboard.Row("Who uses them up?"))
        .with_panel(_tokens("model").height(8).span(12))
        .with_panel(_tokens("client").height(8).span(12))
    )


def _number(title: str, description: str, count: str, color: str) -> stat.Panel:
    queries = {title.lower(): or_zero(count, if_there_is=f"count({USED})")}
    steps = ((None, GREEN), (1, color))
    return big_number(title, description, queries, unit="short", steps=steps, none="no limits").height(3).span(8)


def _accounts() -> table.Panel:
    window = "window"
    # The window and, if it is of some models only, which: "7d", "7d opus".
    joined = joined_labels(limit("used_ratio", 'kind="provider"'), window, "window", "scope")
    column = f'label_replace({joined}, "{window}", "$1", "{window}", "(.*?) *")'
    panel = (
        listing(
            "Used now, by account and window",
            "A row for each account, a column for each window that its provider reports. Empty: not reported, or the"
            " window has ended.",
            f"max by (credential, {window}) ({column})",
            unit="percentunit",
        )
        .min(0)
        .max(1)
        .decimals(0)
        .thresholds(thresholds(((None, "transparent"), (0, GREEN), *USED_STEPS[1:])))
    )
    background = properties(custom_cellOptions={"type": "color-background", "mode": "basic"})
    return (
        matrix(panel, "credential", window, "Account")
        .override_by_name("Account", properties(**ACCOUNT_COLUMN.look))
        .override_by_regexp("^(?!Account).*", background)
    )


_WARNING, _CRITICAL = "lowest warning threshold", "lowest critical threshold"


def _history(title: str, description: str, kind: str, *name_of: str) -> timeseries.Panel:
    matcher = f'kind="{kind}"'

    def lowest(severity: str) -> str:
        threshold = limit("threshold_ratio", f'{matcher},severity="{severity}"')
        return f"min({threshold})"

    panel = (
        graph(
            title,
            f"{description} The dashed lines are the lowest thresholds.",
            {
                "{{name}}": named(limit("used_ratio", matcher), *name_of),
                _WARNING: lowest("warning"),
                _CRITICAL: lowest("critical"),
            },
            unit="percentunit",
        )
        .axis_soft_max(1)
        .legend(ranking())
        .height(9)
        .span(24)
    )
    for name, color in ((_WARNING, ORANGE), (_CRITICAL, RED)):
        dashed = properties(
            color={"mode": "fixed", "fixedColor": color},
            custom_lineStyle={"fill": "dash", "dash": [8, 8]},
            custom_lineWidth=1,
        )
        panel = panel.override_by_name(name, dashed)
    return panel


def _early_resets() -> table.Panel:
    return with_columns(
        listing(
            "Early resets",
            "How often a provider emptied a window before its announced end, in the time range.",
            "sum by (credential, window, scope)"
            f" (increase(cliproxy_limit_early_resets_total{{{LIMIT}}}[$__range])) > 0",
            none="None in this time range",
        ).decimals(0),
        Column("credential", "Account"),
        *SCOPE_COLUMNS,
        Column("Value", "Early resets"),
    )


def _tokens(label: str) -> timeseries.Panel:
    return amounts(
        f"Tokens per hour, by {label}",
        "Input, output and unclassified tokens. Choose an account above to see who uses up its windows.",
        {f"{{{{{label}}}}}": f"3600 * {all_tokens(rate, label)} > 0"},
        unit="short",
    )
