"""Whether the figures can be trusted: what may be missing, which cost is not exact, and is the exporter well?"""

from typing import Any

from grafana_foundation_sdk.builders import dashboard, stat, table, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models

from grafana.generator import history
from grafana.generator.parts import (
    GREEN,
    ORANGE,
    RED,
    Steps,
    amounts,
    big_number,
    graph,
    joined,
    listing,
    new_dashboard,
    now,
    only,
    over_time,
    properties,
    rows,
    value_words,
    words,
)
from grafana.generator.queries import ANY_EXPORTER, ROUTE, SERIES, increase, joined_labels, or_zero, rate

UID = "cliproxy-trust"

_PROXY = 'proxy=~"$proxy"'
_NONE_IS_GOOD: Steps = ((None, GREEN), (1, ORANGE))


def build() -> dashboard.Dashboard:
    """The whole dashboard, in reading order."""
    return (
        new_dashboard(
            "CLIProxyAPI: can I trust it?",
            UID,
            "What may be missing in the figures, and why? Everything follows the selected proxies; the cost follows the"
            " other selections, too.",
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
    return (
        big_number(
            "Books",
            "received + replayed - booked - duplicate - rejected - pending: what came in and is nowhere. Always 0, or"
            " there is an error in the exporter.",
            unit="short",
            steps=((None, RED), (0, GREEN), (1, RED)),
        )
        .mappings([value_words(_0=("balanced", GREEN))])
        .decimals(0)
        .no_value("no proxy")
        .with_target(now(f"{came} - {went}", "difference"))
    )


def _missing() -> stat.Panel:
    gaps = increase("cliproxy_exporter_retention_gaps_total", _PROXY)
    return (
        big_number(
            "What may be missing",
            "Never arrived: an estimate, since the exporter met the proxy. Gaps in the time range: the proxy was not"
            " read for longer than it keeps a record. Waiting: read, and not booked yet.",
            unit="short",
            steps=_NONE_IS_GOOD,
        )
        .decimals(0)
        .with_target(now(f"sum(cliproxy_exporter_missed_records_estimate{{{_PROXY}}})", "never arrived"))
        .with_target(now(or_zero(gaps, if_there_is=ANY_EXPORTER), "gaps", "B"))
        .with_target(now(f"sum({_records('pending')})", "waiting", "C"))
    )


def _doubtful() -> stat.Panel:
    def noticed(what: str) -> str:
        return or_zero(increase(f"cliproxy_exporter_{what}_total", _PROXY), if_there_is=ANY_EXPORTER)

    return (
        big_number(
            "What is doubtful",
            "In the time range: restarts of proxies, and sudden first values that were not believed. Now: requests of"
            " accounts and keys that the proxy does not list, so whether they cost money is not known.",
            unit="short",
            steps=_NONE_IS_GOOD,
        )
        .decimals(0)
        .with_target(now(noticed("restarts_detected"), "restarts"))
        .with_target(now(noticed("false_starts"), "false starts", "B"))
        .with_target(now(f"sum(cliproxy_exporter_unidentified_requests{{{_PROXY}}})", "unidentified requests", "C"))
    )


def _flow() -> timeseries.Panel:
    panel = graph(
        "What became of records, per hour",
        "Received and replayed records come in; they are booked, were known before, or are rejected. Of the past are"
        " booked records that count in periods and history only.",
        unit="short",
    ).interval("15m")
    for ref, (legend, what) in zip(
        "ABCDEF",
        (
            ("received", "received"),
            ("replayed", "replayed"),
            ("booked", "booked"),
            ("of the past", "backfilled"),
            ("known before", "duplicate"),
            ("rejected", "rejected"),
        ),
        strict=True,
    ):
        flow = rate(f"cliproxy_exporter_records_{what}_total", _PROXY)
        panel = panel.with_target(over_time(f"3600 * {flow}", legend, ref))
    return panel


def _rejected() -> table.Panel:
    rejected = increase("cliproxy_exporter_records_rejected_total", _PROXY, "proxy", "reason")
    return (
        listing(
            "Rejected records, by reason",
            "In the time range. They are kept, and missing in all figures. cliproxy-exporter replay tries them again.",
            unit="short",
        )
        .decimals(0)
        .no_value("None in this time range")
        .with_target(rows(f"{rejected} > 0"))
        .with_transformation(only({"proxy": "Proxy", "reason": "Reason", "Value": "Records"}))
    )


# --- is the cost exact? -----------------------------------------------------------------------------------------------


def _basis() -> timeseries.Panel:
    panel = amounts(
        "Cost per hour, by basis of its price",
        "exact is the model's own price, default a stand-in for a model without one. metered is money, subscription"
        " the value of the same use; they are never added up, so the bars of each stand for themselves.",
        unit="currencyUSD",
    )
    for ref, billing in zip("ABC", ("metered", "subscription", "unknown"), strict=True):
        cost = rate("cliproxy_cost_usd_total", f'{SERIES},billing="{billing}"', "basis")
        panel = panel.with_target(over_time(f"3600 * {cost} > 0", f"{billing}, {{{{basis}}}}", ref))
        panel = panel.override_by_regexp(
            f"^{billing}, .*", properties(custom_stacking={"mode": "normal", "group": billing})
        )
    return panel


def _unpriced() -> table.Panel:
    requests = increase("cliproxy_unpriced_requests_total", ROUTE, "provider", "model", "reason")
    return (
        listing(
            "Requests without an exact cost, all accounts and clients",
            "In the time range, by reason.",
            unit="short",
        )
        .decimals(0)
        .no_value("None in this time range")
        .with_target(rows(f"{requests} > 0"))
        .with_transformation(only({"provider": "Provider", "model": "Model", "reason": "Reason", "Value": "Requests"}))
    )


def _tokens_of_no_kind() -> stat.Panel:
    tokens = increase("cliproxy_unclassified_tokens_total", SERIES)
    return (
        big_number(
            "Tokens without a cost",
            "In the time range: the proxy did not tell whether they are input or output.",
            unit="short",
            steps=_NONE_IS_GOOD,
        )
        .decimals(0)
        .no_value("no tokens")
        .with_target(now(tokens, "tokens"))
    )


def _price_list() -> stat.Panel:
    read = "max(cliproxy_exporter_price_feed_last_success_timestamp_seconds)"
    return (
        big_number(
            "Age of the daily price list",
            "How long ago it was read. Without it the prices are those that come with the exporter.",
            unit="dtdurations",
            steps=((None, GREEN), (3 * 86400, ORANGE)),
        )
        .decimals(0)
        .no_value("not in use")
        .with_target(now(f"time() - {read}", "age"))
    )


def _prices() -> table.Panel:
    price = 'cliproxy_price_usd_per_million_tokens{provider=~"$provider",model=~"$model"}'
    named = joined_labels(f"max by (provider, model, bucket) ({price})", "name", "provider", "model")
    return (
        listing(
            "Prices now, in dollars per million tokens",
            "Of the models used today or yesterday, of a short prompt without a service tier. Empty: it has no price.",
            unit="currencyUSD",
        )
        .no_value("-")
        .with_target(rows(named))
        .transformations(
            [
                models.DataTransformerConfig(
                    id_val="groupingToMatrix",
                    options={"rowField": "name", "columnField": "bucket", "valueField": "Value", "emptyValue": "null"},
                ),
                models.DataTransformerConfig(id_val="organize", options={"renameByName": {"name\\bucket": "Model"}}),
            ]
        )
    )


# --- are the proxies and providers read? ------------------------------------------------------------------------------


def _proxies() -> table.Panel:
    def each(metric: str, *more: str) -> str:
        return f"max by ({', '.join(('proxy', *more))}) ({metric}{{{_PROXY}}})"

    columns = {
        "proxy": "Proxy",
        "state": "State",
        "Value #C": "Read",
        "Value #D": "Last read",
        "Value #E": "Records usage",
        "Value #F": "Keeps a record for",
        "version": "Version",
        "commit": "Commit",
        "source": "Source",
    }
    answer: dict[str, Any] = {
        "mappings": [words(_0=("no", RED), _1=("yes", GREEN))],
        "custom_cellOptions": {"type": "color-text"},
    }
    return (
        listing("Proxies", "How each proxy is read, and what it tells about itself.", unit="short")
        .no_value("-")
        .with_target(rows(each("cliproxy_proxy_info", "version", "commit", "source"), "A"))
        .with_target(rows(f"{each('cliproxy_proxy_state', 'state')} == 1", "B"))
        .with_target(rows(each("cliproxy_up"), "C"))
        .with_target(rows(f"time() - {each('cliproxy_exporter_last_success_timestamp_seconds')}", "D"))
        .with_target(rows(each("cliproxy_usage_publishing_enabled"), "E"))
        .with_target(rows(each("cliproxy_queue_retention_seconds"), "F"))
        .transformations(joined(columns))
        .override_by_name("Read", properties(**answer))
        .override_by_name("Records usage", properties(**answer))
        .override_by_name("Last read", properties(unit="dtdurations", decimals=0))
        .override_by_name("Keeps a record for", properties(unit="dtdurations", decimals=0))
    )


def _polls() -> timeseries.Panel:
    failed = rate("cliproxy_exporter_poll_failures_total", _PROXY, "reason")
    return (
        graph("Polls per minute", "All polls, and those that failed, by reason.", unit="short")
        .with_target(over_time(f"60 * {rate('cliproxy_exporter_polls_total', _PROXY)}", "all"))
        .with_target(over_time(f"60 * {failed} > 0", "failed: {{reason}}", "B"))
    )


def _poll_duration() -> timeseries.Panel:
    buckets = rate("cliproxy_exporter_poll_duration_seconds_bucket", _PROXY, "proxy", "le")
    return graph(
        "How long polls take", "95 % of the polls of each proxy: reading, storing and booking.", unit="s"
    ).with_target(over_time(f"histogram_quantile(0.95, {buckets})", "{{proxy}}"))


def _quota_fetches() -> timeseries.Panel:
    asked = rate("cliproxy_quota_fetches_total", 'proxy=~"$proxy",provider=~"$provider"', "provider", "result")
    return (
        amounts(
            "Questions to providers per hour, by result",
            "With EXPORTER_QUOTAS=active. ok is an answer; anything else changes no value.",
            unit="short",
        )
        .no_value("No account was asked about")
        .with_target(over_time(f"3600 * {asked} > 0", "{{provider}} {{result}}"))
    )


# --- is the exporter well? --------------------------------------------------------------------------------------------


def _exporters() -> stat.Panel:
    return (
        big_number("Exporters", "How many there are, by version.", unit="short", steps=((None, GREEN), (1, GREEN)))
        .decimals(0)
        .text_mode(shapes.BigValueTextMode.VALUE_AND_NAME)
        .no_value("not there")
        .with_target(now("count by (version) (cliproxy_exporter_build_info)", "{{version}}"))
    )


def _parts() -> stat.Panel:
    missing = "count(cliproxy_exporter_collector_success == 0)"
    return (
        big_number(
            "Missing parts of a scrape",
            "Parts that could not be made, so that their metrics are missing. The exporter's log has the reason.",
            unit="short",
            steps=((None, GREEN), (1, RED)),
        )
        .decimals(0)
        .no_value("not there")
        .with_target(now(or_zero(missing, if_there_is=ANY_EXPORTER), "missing"))
    )


def _reload() -> stat.Panel:
    return (
        big_number(
            "Edited files",
            "Whether prices, limits and aliases are in use as they are now, or the last edit is wrong.",
            unit="none",
            steps=((None, RED), (1, GREEN)),
        )
        .mappings([value_words(_0=("last edit is wrong", RED), _1=("in use", GREEN))])
        .no_value("not there")
        .with_target(now("min(cliproxy_exporter_config_reload_success)", "files"))
    )


def _folded() -> stat.Panel:
    return (
        big_number(
            "Label sets under other",
            "In the time range: label sets beyond EXPORTER_MAX_LABEL_SETS, which are exported as other.",
            unit="short",
            steps=_NONE_IS_GOOD,
        )
        .decimals(0)
        .no_value("not there")
        .with_target(now(increase("cliproxy_exporter_folded_label_sets_total", ""), "label sets"))
    )


def _ledger(title: str, description: str, what: str, *, unit: str) -> timeseries.Panel:
    return graph(title, description, unit=unit).with_target(
        over_time(f"cliproxy_exporter_ledger_{what}", "{{instance}}")
    )
