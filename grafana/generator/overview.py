"""The overview: what did it cost, what runs out next, is anything wrong, and where does it go?"""

from grafana_foundation_sdk.builders import common, dashboard, stat, table, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models

from grafana.generator import cost, usage
from grafana.generator.dashboards import OVERVIEW, new_dashboard
from grafana.generator.limit_table import short_table
from grafana.generator.parts import (
    COLORED_TEXT,
    GREEN,
    ORANGE,
    RED,
    TEXT,
    YELLOW,
    Column,
    Steps,
    amounts,
    big_number,
    graph,
    listing,
    ranking,
    thresholds,
    with_columns,
    words,
)
from grafana.generator.queries import (
    ANY_EXPORTER,
    ATTEMPT,
    FIRING,
    ROUTE,
    SERIES,
    increase,
    joined_labels,
    or_zero,
    rate,
    share,
)

_ERROR_STEPS: Steps = ((None, GREEN), (0.1, YELLOW), (0.25, RED))
_PROXY = 'proxy=~"$proxy"'


def build() -> dashboard.Dashboard:
    """The whole dashboard, in reading order."""
    return (
        new_dashboard(OVERVIEW, "What did it cost, what runs out next, is anything wrong?")
        .with_variable(_split_by())
        .with_row(dashboard.Row("What did it cost?"))
        .with_panel(cost.of_periods("Spent", "metered", cost.MONEY).height(4).span(8))
        .with_panel(cost.of_periods("Subscription value", "subscription", cost.VALUE).height(4).span(8))
        .with_panel(usage.requests().height(4).span(4))
        .with_panel(usage.tokens().height(4).span(4))
        .with_row(dashboard.Row("What runs out next?"))
        .with_panel(
            short_table(
                "Limits, nearest to exhaustion first",
                "Your own budgets and the windows that providers report. Used counts in the current window. Runs out"
                " is a forecast: when nothing will be left if use goes on as in this window so far.",
            )
            .height(9)
            .span(24)
        )
        .with_row(dashboard.Row("Is anything wrong?"))
        .with_panel(_exporter().height(4).span(2))
        .with_panel(_proxies().height(4).span(4))
        .with_panel(_last_read().height(4).span(3))
        .with_panel(_failed().height(4).span(4))
        .with_panel(_not_booked().height(4).span(4))
        .with_panel(_alerts().height(4).span(7))
        .with_row(dashboard.Row("Where does it go?"))
        .with_panel(cost.per_hour("Spent per hour, by $by", "metered", cost.MONEY).height(8).span(12))
        .with_panel(cost.per_hour("Subscription value per hour, by $by", "subscription", cost.VALUE).height(8).span(12))
        .with_panel(usage.table_of("model", "Models").height(9).span(8))
        .with_panel(usage.table_of("credential", "Accounts").height(9).span(8))
        .with_panel(usage.table_of("client", "Clients").height(9).span(8))
        .with_panel(_tokens().height(8).span(12))
        .with_panel(_cache_hits().height(8).span(12))
        .with_panel(_errors().height(8).span(8))
        .with_panel(
            _quantiles(
                "How long requests take, all accounts and clients",
                "cliproxy_request_duration_seconds",
                "Duration of successful requests until their end.",
            )
            .height(8)
            .span(8)
        )
        .with_panel(
            _quantiles(
                "Time to the first token, all accounts and clients",
                "cliproxy_time_to_first_token_seconds",
                "How long it takes until an answer begins.",
            )
            .height(8)
            .span(8)
        )
        # Collapsed, because it reads a month of samples each time that it is shown.
        .with_row(
            dashboard.Row("What did it cost by day?")
            .collapsed(True)
            .with_panel(cost.by_day("Spent by day, by $by", "metered", cost.MONEY).height(8).span(12))
            .with_panel(cost.by_day("Subscription value by day, by $by", "subscription", cost.VALUE).height(8).span(12))
        )
        .with_row(
            dashboard.Row("Is there cost of unknown billing?")
            .collapsed(True)
            .with_panel(cost.of_periods("Unknown billing", "unknown", cost.EITHER).no_value("none").height(8).span(8))
            .with_panel(
                cost.per_hour("Unknown billing per hour, by $by", "unknown", cost.EITHER)
                .no_value("No cost of unknown billing")
                .height(8)
                .span(16)
            )
        )
    )


def _split_by() -> dashboard.CustomVariable:
    return (
        dashboard.CustomVariable("by")
        .label("Cost by")
        .description("What the graphs of cost are split by.")
        .values("model,client,credential,provider")
        .current(models.VariableOption(text="model", value="model"))
    )


# --- is anything wrong? -----------------------------------------------------------------------------------------------


def _exporter() -> stat.Panel:
    recently = "max_over_time(cliproxy_exporter_build_info[1h])"
    return (
        big_number(
            "Exporter",
            "Whether Prometheus can read the exporter. While it is down nothing new is shown, and no limit is watched.",
            {"exporter": f"min(up and on (job, instance) {recently})"},
            unit="none",
            steps=((None, RED), (1, GREEN)),
            decimals=None,
            none="not there",
        )
        .mappings([words(_0=("down", RED), _1=("up", GREEN))])
        .color_mode(shapes.BigValueColorMode.BACKGROUND)
    )


def _proxies() -> stat.Panel:
    state = f"cliproxy_proxy_state{{{_PROXY}}} == 1"
    good = f'cliproxy_proxy_state{{{_PROXY},state=~"ok|starting"}} == 1'
    return (
        big_number(
            "Proxies",
            "The state of each proxy. Anything but ok means that its usage is not read, or does not arrive.",
            {"{{proxy}}: {{state}}": f"max by (proxy, state) (({good}) * 0 or {state})"},
            unit="none",
            steps=((None, GREEN), (1, RED)),
            decimals=None,
            none="no proxy",
        )
        .color_mode(shapes.BigValueColorMode.BACKGROUND)
        .text_mode(shapes.BigValueTextMode.NAME)
    )


def _last_read() -> stat.Panel:
    moment = f"max by (proxy) (last_over_time(cliproxy_exporter_last_success_timestamp_seconds{{{_PROXY}}}[1h]))"
    return big_number(
        "Last read",
        "How long ago usage was read from each proxy. A proxy forgets what nobody reads, often after a minute.",
        {"{{proxy}}": f"time() - {moment}"},
        unit="dtdurations",
        steps=((None, GREEN), (120, ORANGE), (600, RED)),
        none="not in the last hour",
    )


def _failed() -> stat.Panel:
    failed = increase("cliproxy_failed_requests_total", ATTEMPT)
    return big_number(
        "Failed requests, all clients",
        "The share of requests that failed in the time range. A request that was tried again elsewhere counts twice."
        " Forks that send no details report no failures.",
        {"failed": share(failed, increase("cliproxy_requests_total", ATTEMPT))},
        unit="percentunit",
        steps=_ERROR_STEPS,
        decimals=1,
        none="no requests",
    )


def _not_booked() -> stat.Panel:
    rejected = increase("cliproxy_exporter_records_rejected_total", _PROXY)
    return big_number(
        "Records not counted",
        "Waiting: read but not booked yet; the next poll books them. Rejected in the time range: they could not be"
        " booked; they are kept, but missing from all figures.",
        {
            "waiting": f"sum(cliproxy_exporter_records_pending{{{_PROXY}}})",
            "rejected": or_zero(rejected, if_there_is=ANY_EXPORTER),
        },
        unit="short",
        steps=((None, GREEN), (1, ORANGE)),
    )


def _alerts() -> table.Panel:
    subject = ("limit", "credential", "scope", "proxy")
    firing = f"max by (alertname, severity, {', '.join(subject)}) ({FIRING})"
    severities = words(critical=("critical", RED), warning=("warning", ORANGE), info=("info", TEXT))
    return with_columns(
        listing(
            "Firing alerts, whatever is selected",
            "What Prometheus' alert rules complain about now.",
            joined_labels(firing, "of", *subject),
            unit="none",
            none="No alert is firing",
        ),
        Column("alertname", "Alert", {"custom_width": 190}),
        Column("severity", "Severity", {"mappings": [severities], **COLORED_TEXT, "custom_width": 80}),
        Column("of", "Of"),
    )


# --- where does it go? ------------------------------------------------------------------------------------------------


def _tokens() -> timeseries.Panel:
    whole, output = rate("cliproxy_input_tokens_total", SERIES), rate("cliproxy_output_tokens_total", SERIES)
    unclassified = rate("cliproxy_unclassified_tokens_total", SERIES)
    read = or_zero(rate("cliproxy_cache_read_tokens_total", SERIES), if_there_is=whole)
    written = or_zero(rate("cliproxy_cache_write_tokens_total", SERIES), if_there_is=whole)
    return amounts(
        "Tokens per hour",
        "Every token once: input that was not cached, input read from a cache, input written to a cache, output,"
        " and tokens that nobody classified.",
        {
            "read from cache": f"3600 * {read}",
            "written to cache": f"3600 * {written}",
            "other input": f"3600 * ({whole} - {read} - {written})",
            "output": f"3600 * {output}",
            "unclassified": f"3600 * {unclassified} > 0",
        },
        unit="short",
    )


def _cache_hits() -> timeseries.Panel:
    read, whole = (rate(f"cliproxy_{kind}_tokens_total", SERIES, "provider") for kind in ("cache_read", "input"))
    return (
        graph(
            "Input read from cache, by provider",
            "The share of input tokens that came from the provider's cache, which costs a fraction of new input.",
            {"{{provider}}": f"{read} / ({whole} > 0)"},
            unit="percentunit",
        )
        .max(1)
        .interval("1h")
        .legend(ranking())
    )


def _errors() -> timeseries.Panel:
    failed = rate("cliproxy_failed_requests_total", ATTEMPT, "code")
    whole = rate("cliproxy_requests_total", ATTEMPT)
    return (
        amounts(
            "Failed requests by code, all clients",
            "The share of all requests that failed, by HTTP status. broken_stream: the answer broke off. The"
            " dashed lines are 10 % and 25 %.",
            {"{{code}}": f"{failed} / ignoring (code) group_left () ({whole} > 0) > 0"},
            unit="percentunit",
        )
        .axis_soft_max(0.3)
        .no_value("No request failed")
        .thresholds(thresholds(((None, TEXT), (0.1, YELLOW), (0.25, RED))))
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED))
    )


def _quantiles(title: str, metric: str, meaning: str) -> timeseries.Panel:
    buckets = rate(f"{metric}_bucket", ROUTE, "le")
    quantiles = {"half within": 0.5, "95 % within": 0.95}
    queries = {name: f"histogram_quantile({quantile}, {buckets})" for name, quantile in quantiles.items()}
    return graph(title, meaning, queries, unit="s").interval("15m")
