"""Whether the figures can be trusted: what may be missing, which cost is not exact, and is the exporter well?"""

from grafana_foundation_sdk.builders import dashboard, stat, table, timeseries
from grafana_foundation_sdk.models import common as shapes

from grafana.generator import history
from grafana.generator.dashboards import TRUST, new_dashboard
from grafana.generator.parts import (
    COLORED_TEXT,
    GREEN,
    ORANGE,
    RED,
    Column,
    Steps,
    amounts,
    big_number,
    graph,
    joined,
    listing,
    matrix,
    properties,
    with_columns,
    words,
)
from grafana.generator.queries import ANY_EXPORTER, ROUTE, SERIES, increase, joined_labels, or_zero, rate

_PROXY = 'proxy=~"$proxy"'
_NONE_IS_GOOD: Steps = ((None, GREEN), (1, ORANGE))


def build() -> dashboard.Dashboard:
    """The whole dashboard, in reading order."""
    return (
        new_dashboard(
            TRUST,
            "What may be missing from the figures, and why? Everything follows the selected proxies; the cost"
            " follows the other selections, too.",
        )
        .with_row(dashboard.Row("Are all records counted?"))
        .with_panel(_books().height(4).span(4))
        .with_panel(_missing().height(4).span(10))
        .with_panel(_doubtful().height(4).span(10))
        .with_panel(_flow().height(8).span(16))
        .with_panel(_rejected().height(8).span(8))
        .with_row(dashboard.Row("Is the cost exact?"))
        .with_panel(_basis().height(8).span(10))
        .with_panel(_unpriced().height(8).span(8))
        .with_panel(_tokens_of_no_kind().height(8).span(3))
        .with_panel(_price_list().height(8).span(3))
        .with_panel(_prices().height(9).span(24))
        .with_row(dashboard.Row("Are the proxies and providers read?"))
        .with_panel(_proxies().height(7).span(24))
        .with_panel(_polls().height(8).span(8))
        .with_panel(_poll_duration().height(8).span(8))
        .with_panel(_quota_fetches().height(8).span(8))
        .with_row(dashboard.Row("Is the exporter well?"))
        .with_panel(_exporters().height(4).span(6))
        .with_panel(_parts().height(4).span(6))
        .with_panel(_reload().height(4).span(6))
        .with_panel(_folded().height(4).span(6))
        .with_panel(_ledger("Size of the ledger", "Its file on disk.", "bytes", unit="bytes").height(7).span(12))
        .with_panel(_ledger("Entries in the ledger", "Booked records.", "entries", unit="short").height(7).span(12))
        .with_row(dashboard.Row("Is the history in Supabase complete?"))
        .with_panel(history.state().height(6).span(4))
        .with_panel(history.last_complete().height(6).span(4))
        .with_panel(history.not_there().height(6).span(4))
        .with_panel(history.errors().height(6).span(12))
    )


# --- are all records counted? -----------------------------------------------------------------------------------------


def _records(what: str) -> str:
    return f"cliproxy_exporter_records_{what}{{{_PROXY}}}"


def _books() -> stat.Panel:
    came = " + ".join(f"sum({_records(what)})" for what in ("received_total", "replayed_total"))
    went = " - ".join(
        f"sum({_records(what)})" for what in ("booked_total", "duplicate_total", "rejected_total", "pending")
    )
    return big_number(
        "Books",
        "received + replayed - booked - duplicate - rejected - pending: what came in and is nowhere. If it is not 0,"
        " there is an error in the exporter.",
        {"difference": f"{came} - {went}"},
        unit="short",
        steps=((None, RED), (0, GREEN), (1, RED)),
        none="no proxy",
    ).mappings([words(_0=("balanced", GREEN))])


def _missing() -> stat.Panel:
    gaps = increase("cliproxy_exporter_retention_gaps_total", _PROXY)
    return big_number(
        "What may be missing",
        "Never arrived: an estimate, since the exporter met the proxy. Gaps in the time range: the proxy was not"
        " read for longer than it keeps a record. Waiting: read, and not booked yet.",
        {
            "never arrived": f"sum(cliproxy_exporter_missed_records_estimate{{{_PROXY}}})",
            "gaps": or_zero(gaps, if_there_is=ANY_EXPORTER),
            "waiting": f"sum({_records('pending')})",
        },
        unit="short",
        steps=_NONE_IS_GOOD,
    )


def _doubtful() -> stat.Panel:
    def noticed(what: str) -> str:
        return or_zero(increase(f"cliproxy_exporter_{what}_total", _PROXY), if_there_is=ANY_EXPORTER)

    return big_number(
        "What is doubtful",
        "In the time range: restarts of proxies, and sudden first values that were not believed. Now: requests of"
        " accounts and keys that the proxy does not list, so whether they cost money is not known.",
        {
            "restarts": noticed("restarts_detected"),
            "false starts": noticed("false_starts"),
            "unidentified requests": f"sum(cliproxy_exporter_unidentified_requests{{{_PROXY}}})",
        },
        unit="short",
        steps=_NONE_IS_GOOD,
    )


def _flow() -> timeseries.Panel:
    flows = {
        "received": "received",
        "replayed": "replayed",
        "booked": "booked",
        "of the past": "backfilled",
        "known before": "duplicate",
        "rejected": "rejected",
    }
    return graph(
        "What became of records, per hour",
        "Received and replayed records come in; they are booked, were known before, or are rejected. Of the past:"
        " booked records that count in periods and history only.",
        {legend: f"3600 * {rate(f'cliproxy_exporter_records_{what}_total', _PROXY)}" for legend, what in flows.items()},
        unit="short",
    ).interval("15m")


def _rejected() -> table.Panel:
    rejected = increase("cliproxy_exporter_records_rejected_total", _PROXY, "proxy", "reason")
    return with_columns(
        listing(
            "Rejected records, by reason",
            "In the time range. They are kept, but missing from all figures. cliproxy-exporter replay tries them "
            "again.",
            f"{rejected} > 0",
            none="None in this time range",
        ).decimals(0),
        Column("proxy", "Proxy"),
        Column("reason", "Reason"),
        Column("Value", "Records"),
    )


# --- is the cost exact? -----------------------------------------------------------------------------------------------


def _basis() -> timeseries.Panel:
    billings = ("metered", "subscription", "unknown")
    cost = {each: rate("cliproxy_cost_usd_total", f'{SERIES},billing="{each}"', "basis") for each in billings}
    panel = amounts(
        "Cost per hour, by basis of its price",
        "exact is the model's own price, default a stand-in for a model without one. metered is money, subscription"
        " the value of the same use; they are never added up, so each has bars of its own.",
        {f"{billing}, {{{{basis}}}}": f"3600 * {expr} > 0" for billing, expr in cost.items()},
        unit="currencyUSD",
    )
    for billing in billings:
        stacking = properties(custom_stacking={"mode": "normal", "group": billing})
        panel = panel.override_by_regexp(f"^{billing}, .*", stacking)
    return panel


def _unpriced() -> table.Panel:
    requests = increase("cliproxy_unpriced_requests_total", ROUTE, "provider", "model", "reason")
    return with_columns(
        listing(
            "Requests without an exact cost, all accounts and clients",
            "In the time range, by reason.",
            f"{requests} > 0",
            none="None in this time range",
        ).decimals(0),
        Column("provider", "Provider"),
        Column("model", "Model"),
        Column("reason", "Reason"),
        Column("Value", "Requests"),
    )


def _tokens_of_no_kind() -> stat.Panel:
    return big_number(
        "Tokens without a cost",
        "In the time range: the proxy did not say whether they are input or output.",
        {"tokens": increase("cliproxy_unclassified_tokens_total", SERIES)},
        unit="short",
        steps=_NONE_IS_GOOD,
        none="no tokens",
    )


def _price_list() -> stat.Panel:
    read = "max(cliproxy_exporter_price_feed_last_success_timestamp_seconds)"
    return big_number(
        "Age of the daily price list",
        "How long ago it was read. Without it the prices are those that come with the exporter.",
        {"age": f"time() - {read}"},
        unit="dtdurations",
        steps=((None, GREEN), (3 * 86400, ORANGE)),
        none="not in use",
    )


def _prices() -> table.Panel:
    price = 'cliproxy_price_usd_per_million_tokens{provider=~"$provider",model=~"$model"}'
    return matrix(
        listing(
            "Prices now, in dollars per million tokens",
            "For models used today or yesterday: the price of a short prompt without a service tier. Empty: no price.",
            joined_labels(f"max by (provider, model, bucket) ({price})", "name", "provider", "model"),
            unit="currencyUSD",
        ),
        "name",
        "bucket",
        "Model",
    )


# --- are the proxies and providers read? ------------------------------------------------------------------------------


def _proxies() -> table.Panel:
    def each(metric: str, *more: str) -> str:
        return f"max by ({', '.join(('proxy', *more))}) ({metric}{{{_PROXY}}})"

    answer = {"mappings": [words(_0=("no", RED), _1=("yes", GREEN))], **COLORED_TEXT}
    seconds = properties(unit="dtdurations", decimals=0)
    return (
        joined(
            listing(
                "Proxies",
                "How each proxy is read, and what it says about itself.",
                each("cliproxy_proxy_info", "version", "commit", "source"),
                f"{each('cliproxy_proxy_state', 'state')} == 1",
                each("cliproxy_up"),
                f"time() - {each('cliproxy_exporter_last_success_timestamp_seconds')}",
                each("cliproxy_usage_publishing_enabled"),
                each("cliproxy_queue_retention_seconds"),
            ),
            Column("proxy", "Proxy"),
            Column("state", "State"),
            Column("Value #C", "Read", answer),
            Column("Value #D", "Last read"),
            Column("Value #E", "Records usage", answer),
            Column("Value #F", "Keeps a record for"),
            Column("version", "Version"),
            Column("commit", "Commit"),
            Column("source", "Source"),
        )
        .override_by_name("Last read", seconds)
        .override_by_name("Keeps a record for", seconds)
    )


def _polls() -> timeseries.Panel:
    failed = rate("cliproxy_exporter_poll_failures_total", _PROXY, "reason")
    return graph(
        "Polls per minute",
        "All polls, and those that failed, by reason.",
        {
            "all": f"60 * {rate('cliproxy_exporter_polls_total', _PROXY)}",
            "failed: {{reason}}": f"60 * {failed} > 0",
        },
        unit="short",
    )


def _poll_duration() -> timeseries.Panel:
    buckets = rate("cliproxy_exporter_poll_duration_seconds_bucket", _PROXY, "proxy", "le")
    return graph(
        "How long polls take",
        "95 % of the polls of each proxy: reading, storing and booking.",
        {"{{proxy}}": f"histogram_quantile(0.95, {buckets})"},
        unit="s",
    )


def _quota_fetches() -> timeseries.Panel:
    asked = rate("cliproxy_quota_fetches_total", 'proxy=~"$proxy",provider=~"$provider"', "provider", "result")
    return amounts(
        "Questions to providers per hour, by result",
        "With EXPORTER_QUOTAS=active. ok is an answer; anything else changes no value.",
        {"{{provider}} {{result}}": f"3600 * {asked} > 0"},
        unit="short",
    ).no_value("No account was asked about")


# --- is the exporter well? --------------------------------------------------------------------------------------------


def _exporters() -> stat.Panel:
    return big_number(
        "Exporters",
        "How many there are, by version.",
        {"{{version}}": "count by (version) (cliproxy_exporter_build_info)"},
        unit="short",
        steps=((None, GREEN), (1, GREEN)),
        none="not there",
    ).text_mode(shapes.BigValueTextMode.VALUE_AND_NAME)


def _parts() -> stat.Panel:
    missing = "count(cliproxy_exporter_collector_success == 0)"
    return big_number(
        "Missing parts of a scrape",
        "Parts that could not be made, so that their metrics are missing. The exporter's log has the reason.",
        {"missing": or_zero(missing, if_there_is=ANY_EXPORTER)},
        unit="short",
        steps=((None, GREEN), (1, RED)),
        none="not there",
    )


def _reload() -> stat.Panel:
    return big_number(
        "Edited files",
        "Whether prices, limits and aliases are in use as they are now, or the last edit is wrong.",
        {"files": "min(cliproxy_exporter_config_reload_success)"},
        unit="none",
        steps=((None, RED), (1, GREEN)),
        decimals=None,
        none="not there",
    ).mappings([words(_0=("last edit is wrong", RED), _1=("in use", GREEN))])


def _folded() -> stat.Panel:
    return big_number(
        "Label sets under other",
        "In the time range: label sets beyond EXPORTER_MAX_LABEL_SETS, which are exported as other.",
        {"label sets": increase("cliproxy_exporter_folded_label_sets_total", "")},
        unit="short",
        steps=_NONE_IS_GOOD,
        none="not there",
    )


def _ledger(title: str, description: str, what: str, *, unit: str) -> timeseries.Panel:
    return graph(title, description, {"{{instance}}": f"cliproxy_exporter_ledger_{what}"}, unit=unit)
