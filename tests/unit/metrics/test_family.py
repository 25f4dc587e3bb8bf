"""The contract with dashboards and rules: names, types and labels, written down a second time."""

import re

import pytest

from exporter.ledger.schema import LATENCY_BOUNDS_MS, TTFT_BOUNDS_MS
from exporter.metrics.family import Family
from exporter.metrics.usage import LATENCY_BOUNDS, TTFT_BOUNDS
from tests.benches.checks import of_each
from tests.stack.pages.reference import FAMILIES

_ROUTE = "proxy provider model"
_SERIES = f"{_ROUTE} credential client"
_CREDENTIAL = "proxy credential provider"
_LIMIT = "proxy limit kind provider credential scope window unit"

CONTRACT = {
    "cliproxy_requests_total": ("counter", _SERIES),
    "cliproxy_failed_requests_total": ("counter", f"{_ROUTE} credential code"),
    "cliproxy_input_tokens_total": ("counter", _SERIES),
    "cliproxy_output_tokens_total": ("counter", _SERIES),
    "cliproxy_cache_read_tokens_total": ("counter", _SERIES),
    "cliproxy_cache_write_tokens_total": ("counter", _SERIES),
    "cliproxy_reasoning_tokens_total": ("counter", _SERIES),
    "cliproxy_unclassified_tokens_total": ("counter", _SERIES),
    "cliproxy_cost_usd_total": ("counter", f"{_SERIES} basis billing"),
    "cliproxy_unpriced_requests_total": ("counter", f"{_ROUTE} reason"),
    "cliproxy_request_duration_seconds": ("histogram", _ROUTE),
    "cliproxy_time_to_first_token_seconds": ("histogram", _ROUTE),
    "cliproxy_price_usd_per_million_tokens": ("gauge", "provider model bucket"),
    "cliproxy_period_cost_usd": ("gauge", f"{_ROUTE} billing period"),
    "cliproxy_period_tokens": ("gauge", f"{_ROUTE} period"),
    "cliproxy_period_requests": ("gauge", f"{_ROUTE} period"),
    "cliproxy_period_start_timestamp_seconds": ("gauge", "period"),
    "cliproxy_credential_up": ("gauge", _CREDENTIAL),
    "cliproxy_credential_status": ("gauge", f"{_CREDENTIAL} status"),
    "cliproxy_credential_retry_timestamp_seconds": ("gauge", _CREDENTIAL),
    "cliproxy_credential_room_timestamp_seconds": ("gauge", _CREDENTIAL),
    "cliproxy_credential_info": ("gauge", f"{_CREDENTIAL} auth_index plan auth_type"),
    "cliproxy_credential_attempts_total": ("counter", f"{_CREDENTIAL} result"),
    "cliproxy_limit_used_ratio": ("gauge", _LIMIT),
    "cliproxy_limit_used": ("gauge", _LIMIT),
    "cliproxy_limit_budget": ("gauge", _LIMIT),
    "cliproxy_limit_threshold_ratio": ("gauge", f"{_LIMIT} severity"),
    "cliproxy_limit_window_start_timestamp_seconds": ("gauge", _LIMIT),
    "cliproxy_limit_reset_timestamp_seconds": ("gauge", _LIMIT),
    "cliproxy_limit_inferred": ("gauge", _LIMIT),
    "cliproxy_limit_observed_timestamp_seconds": ("gauge", _LIMIT),
    "cliproxy_limit_early_resets_total": ("counter", "proxy provider credential scope window"),
    "cliproxy_limit_capacity_usd": ("gauge", f"{_LIMIT} bound"),
    "cliproxy_limit_capacity_tokens": ("gauge", f"{_LIMIT} bound"),
    "cliproxy_limit_capacity_changes_total": ("counter", "proxy provider credential scope window change"),
    "cliproxy_plan_price_per_month": ("gauge", f"{_CREDENTIAL} currency"),
    "cliproxy_plan_value_usd": ("gauge", _CREDENTIAL),
    "cliproxy_limit_source_info": ("gauge", f"{_LIMIT} source"),
    "cliproxy_pool_accounts": ("gauge", "proxy provider state"),
    "cliproxy_pool_next_back_timestamp_seconds": ("gauge", "proxy provider"),
    "cliproxy_pool_empty_timestamp_seconds": ("gauge", "proxy provider"),
    "cliproxy_quota_fetches_total": ("counter", "proxy provider result"),
    "cliproxy_quota_next_fetch_timestamp_seconds": ("gauge", _CREDENTIAL),
    "cliproxy_quota_last_result_info": ("gauge", f"{_CREDENTIAL} result"),
    "cliproxy_balance_usd": ("gauge", f"{_CREDENTIAL} balance"),
    "cliproxy_quota_reset_credits": ("gauge", _CREDENTIAL),
    "cliproxy_quota_elsewhere_ratio": ("gauge", _CREDENTIAL),
    "cliproxy_up": ("gauge", "proxy"),
    "cliproxy_proxy_state": ("gauge", "proxy state"),
    "cliproxy_proxy_info": ("gauge", "proxy version commit source"),
    "cliproxy_usage_publishing_enabled": ("gauge", "proxy"),
    "cliproxy_queue_retention_seconds": ("gauge", "proxy"),
    "cliproxy_exporter_records_received_total": ("counter", "proxy"),
    "cliproxy_exporter_records_replayed_total": ("counter", "proxy"),
    "cliproxy_exporter_records_booked_total": ("counter", "proxy"),
    "cliproxy_exporter_records_duplicate_total": ("counter", "proxy"),
    "cliproxy_exporter_records_backfilled_total": ("counter", "proxy"),
    "cliproxy_exporter_records_rejected_total": ("counter", "proxy reason"),
    "cliproxy_exporter_records_pending": ("gauge", "proxy"),
    "cliproxy_exporter_missed_records_estimate": ("gauge", "proxy"),
    "cliproxy_exporter_retention_gaps_total": ("counter", "proxy"),
    "cliproxy_exporter_restarts_detected_total": ("counter", "proxy"),
    "cliproxy_exporter_false_starts_total": ("counter", "proxy"),
    "cliproxy_exporter_polls_total": ("counter", "proxy"),
    "cliproxy_exporter_poll_failures_total": ("counter", "proxy reason"),
    "cliproxy_exporter_poll_duration_seconds": ("histogram", "proxy"),
    "cliproxy_exporter_last_success_timestamp_seconds": ("gauge", "proxy"),
    "cliproxy_exporter_unidentified_requests": ("gauge", "proxy"),
    "cliproxy_exporter_folded_label_sets_total": ("counter", ""),
    "cliproxy_exporter_history_state": ("gauge", "state"),
    "cliproxy_exporter_history_backlog_records": ("gauge", ""),
    "cliproxy_exporter_history_refused_records": ("gauge", ""),
    "cliproxy_exporter_history_last_success_timestamp_seconds": ("gauge", ""),
    "cliproxy_exporter_history_errors_total": ("counter", "reason"),
    "cliproxy_exporter_config_reload_success": ("gauge", ""),
    "cliproxy_exporter_price_feed_last_success_timestamp_seconds": ("gauge", ""),
    "cliproxy_exporter_ledger_bytes": ("gauge", ""),
    "cliproxy_exporter_ledger_entries": ("gauge", ""),
    "cliproxy_exporter_build_info": ("gauge", "version python"),
    "cliproxy_exporter_collector_success": ("gauge", "collector"),
}

each_family = of_each((family.sample_name, family) for family in FAMILIES)


def test_names_types_and_labels_are_those_of_the_contract() -> None:
    assert {family.sample_name: (family.kind, " ".join(family.labels)) for family in FAMILIES} == CONTRACT


@each_family
def test_a_family_follows_the_naming_rules(family: Family) -> None:
    assert re.fullmatch(r"cliproxy(_[a-z0-9]+)+", family.name)
    assert not family.name.endswith("_total"), "the samples of a counter end in _total, its name does not"
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in family.labels)
    assert not {"le", "job", "instance", "env", "type", "service"} & set(family.labels)
    assert len(set(family.labels)) == len(family.labels)


@each_family
def test_help_is_in_whole_sentences_that_need_no_escaping(family: Family) -> None:
    assert re.match(r"[A-Z0-9]", family.help)
    assert family.help.endswith(".")
    assert not set('"\\\n') & set(family.help)


@pytest.mark.parametrize(
    ("bounds", "booked_ms"),
    [(LATENCY_BOUNDS, LATENCY_BOUNDS_MS), (TTFT_BOUNDS, TTFT_BOUNDS_MS)],
    ids=["duration", "time to first token"],
)
def test_buckets_are_the_booked_ones_in_the_notation_of_prometheus_3(
    bounds: tuple[str, ...], booked_ms: tuple[int, ...]
) -> None:
    assert [float(bound) * 1000 for bound in bounds] == list(booked_ms)
    assert all(bound == str(float(bound)) for bound in bounds), "le 1 would be stored as 1 by 2.x and as 1.0 by 3.x"
