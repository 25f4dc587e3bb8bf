"""Every metric family of the exporter: name, type, labels, and a HELP that a stranger understands.

The one list for whoever renders, documents or tests them. Names and labels are a contract with dashboards and rules.
"""

from dataclasses import dataclass
from typing import Literal

PREFIX = "cliproxy_"

LATENCY_BOUNDS = ("0.5", "1.0", "2.5", "5.0", "10.0", "20.0", "30.0", "60.0", "120.0", "300.0", "600.0")
TTFT_BOUNDS = ("0.1", "0.25", "0.5", "1.0", "2.0", "4.0", "8.0", "15.0", "30.0", "60.0")


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family. ``name`` has no ``_total``; a counter's samples do."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str

    @property
    def sample_name(self) -> str:
        """The name of a counter's or a gauge's samples."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


_ROUTE = ("proxy", "provider", "model")
_SERIES = (*_ROUTE, "credential", "client")

REQUESTS = Family(
    "cliproxy_requests",
    "counter",
    _SERIES,
    "Requests that the proxy sent to a provider, failed ones included; a retry on another credential is one more.",
)
INPUT_TOKENS = Family(
    "cliproxy_input_tokens", "counter", _SERIES, "Input tokens, including those read from and written to a cache."
)
OUTPUT_TOKENS = Family("cliproxy_output_tokens", "counter", _SERIES, "Output tokens, including reasoning tokens.")
CACHE_READ_TOKENS = Family(
    "cliproxy_cache_read_tokens",
    "counter",
    _SERIES,
    "Input tokens read from the provider's cache: a subset of cliproxy_input_tokens_total, do not add.",
)
CACHE_WRITE_TOKENS = Family(
    "cliproxy_cache_write_tokens",
    "counter",
    _SERIES,
    "Input tokens written to the provider's cache: a subset of cliproxy_input_tokens_total, do not add.",
)
REASONING_TOKENS = Family(
    "cliproxy_reasoning_tokens",
    "counter",
    _SERIES,
    "Output tokens spent on reasoning: a subset of cliproxy_output_tokens_total, do not add.",
)
UNCLASSIFIED_TOKENS = Family(
    "cliproxy_unclassified_tokens",
    "counter",
    _SERIES,
    "Tokens that the proxy could not tell as input or output; in no other token metric, and without a cost.",
)
COST = Family(
    "cliproxy_cost_usd",
    "counter",
    (*_SERIES, "basis", "billing"),
    "Cost in US dollars. basis: exact is the model's own price, default a stand-in for a model without one. billing:"
    " metered is money spent on an API key, subscription the value that the same use would have had there.",
)
FAILED_REQUESTS = Family(
    "cliproxy_failed_requests",
    "counter",
    (*_ROUTE, "credential", "code"),
    "Failed requests: a subset of cliproxy_requests_total. code is the HTTP status, broken_stream for an answer that"
    " broke off without one, other for the rest.",
)
UNPRICED_REQUESTS = Family(
    "cliproxy_unpriced_requests",
    "counter",
    (*_ROUTE, "reason"),
    "Requests whose cost is not exact, by reason: tokens without a price or without a kind, a success that reports no"
    " tokens, or a service tier that was only asked for and is charged at the base price.",
)
PRICE = Family(
    "cliproxy_price_usd_per_million_tokens",
    "gauge",
    ("provider", "model", "bucket"),
    "Price of a model now, for models used today or yesterday: that of a short prompt without a service tier. bucket:"
    " input, cache_read, cache_write, output; reasoning where it costs something else. What has no price is absent.",
)
LATENCY = Family(
    "cliproxy_request_duration_seconds",
    "histogram",
    _ROUTE,
    "Duration of successful requests, as the proxy measured it; unmeasured ones are left out.",
)
TTFT = Family(
    "cliproxy_time_to_first_token_seconds",
    "histogram",
    _ROUTE,
    "Time until the first byte of the answer of successful requests; unmeasured ones are left out.",
)

LEDGER_FAMILIES = (
    REQUESTS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    CACHE_READ_TOKENS,
    CACHE_WRITE_TOKENS,
    REASONING_TOKENS,
    UNCLASSIFIED_TOKENS,
    COST,
    FAILED_REQUESTS,
    UNPRICED_REQUESTS,
    LATENCY,
    TTFT,
)
"""Rendered from the ledger's totals by ``exporter.metrics.ledger_text``."""

PERIOD_COST = Family(
    "cliproxy_period_cost_usd",
    "gauge",
    (*_ROUTE, "billing", "period"),
    "Cost in US dollars of a calendar period in the configured time zone: today, yesterday, or this month,"
    " which includes what a clock that is ahead dates into a later day of it.",
)
PERIOD_TOKENS = Family(
    "cliproxy_period_tokens",
    "gauge",
    (*_ROUTE, "period"),
    "All tokens (input, output, unclassified) of a calendar period in the configured time zone.",
)
PERIOD_REQUESTS = Family(
    "cliproxy_period_requests",
    "gauge",
    (*_ROUTE, "period"),
    "Requests of a calendar period in the configured time zone.",
)

_CREDENTIAL = ("proxy", "credential", "provider")

CREDENTIAL_UP = Family(
    "cliproxy_credential_up",
    "gauge",
    _CREDENTIAL,
    "1 if the proxy would use this account now, 0 if it is disabled or cooling down. Accounts only: the proxy tells"
    " nothing about API keys. As of the last inventory, at most a minute or two ago.",
)
CREDENTIAL_STATUS = Family(
    "cliproxy_credential_status",
    "gauge",
    (*_CREDENTIAL, "status"),
    "1 for the status that the proxy shows for this account, 0 for the others. active means no failure since the"
    " proxy last read its files.",
)
CREDENTIAL_RETRY = Family(
    "cliproxy_credential_retry_timestamp_seconds",
    "gauge",
    _CREDENTIAL,
    "When the proxy will use this account again, while it is cooling down.",
)
CREDENTIAL_INFO = Family(
    "cliproxy_credential_info",
    "gauge",
    (*_CREDENTIAL, "auth_index", "plan", "auth_type"),
    "Facts about a credential, always 1. auth_index is the proxy's own handle; plan is known for Codex only.",
)
CREDENTIAL_ATTEMPTS = Family(
    "cliproxy_credential_attempts",
    "counter",
    (*_CREDENTIAL, "result"),
    "Attempts on this credential as the proxy counts them, continued over its restarts. They include calls that leave"
    " no usage record.",
)

_LIMIT = ("proxy", "limit", "kind", "provider", "credential", "scope", "window", "unit")

LIMIT_USED_RATIO = Family(
    "cliproxy_limit_used_ratio",
    "gauge",
    _LIMIT,
    "Used share of a limit in its current window; may exceed 1. kind: configured is a budget of your own,"
    " provider a window that the provider itself reports. An empty label is all of them.",
)
LIMIT_USED = Family(
    "cliproxy_limit_used", "gauge", _LIMIT, "What was used of a configured limit in its current window, in its unit."
)
LIMIT_BUDGET = Family("cliproxy_limit_budget", "gauge", _LIMIT, "The budget of a configured limit, in its unit.")
LIMIT_THRESHOLD = Family(
    "cliproxy_limit_threshold_ratio",
    "gauge",
    (*_LIMIT, "severity"),
    "Used share from which on a limit is a warning, and from which on it is critical.",
)
LIMIT_START = Family(
    "cliproxy_limit_window_start_timestamp_seconds",
    "gauge",
    _LIMIT,
    "When the current window of a limit began; later than usual after a manual reset.",
)
LIMIT_RESET = Family(
    "cliproxy_limit_reset_timestamp_seconds",
    "gauge",
    _LIMIT,
    "When the current window of a limit ends and its use starts at 0 again. Absent for a rolling window,"
    " and for a provider's window that has not started or outlives its announced reset.",
)
LIMIT_OBSERVED = Family(
    "cliproxy_limit_observed_timestamp_seconds",
    "gauge",
    _LIMIT,
    "When the used share was true: now for a configured limit, the provider's last answer for one of its windows.",
)
LIMIT_INFERRED = Family(
    "cliproxy_limit_inferred",
    "gauge",
    _LIMIT,
    "1 where a provider refused a request without telling the used share, which is then taken as 1. Absent elsewhere.",
)
LIMIT_EARLY_RESETS = Family(
    "cliproxy_limit_early_resets",
    "counter",
    ("proxy", "provider", "credential", "scope", "window"),
    "How often a provider's window was emptied before its announced end, and stayed so for two readings.",
)

UP = Family("cliproxy_up", "gauge", ("proxy",), "1 if the last poll could read the proxy's usage, else 0.")
PROXY_STATE = Family(
    "cliproxy_proxy_state",
    "gauge",
    ("proxy", "state"),
    "1 for the state that the proxy is in as the exporter sees it, 0 for the others. ok is read; publishing_off and"
    " another_consumer are read, but their records do not arrive.",
)
PROXY_INFO = Family(
    "cliproxy_proxy_info",
    "gauge",
    ("proxy", "version", "commit", "source"),
    "Facts about a proxy, always 1. source is the interface that its usage is read from.",
)
PUBLISHING = Family(
    "cliproxy_usage_publishing_enabled",
    "gauge",
    ("proxy",),
    "1 if the proxy records usage at all (its setting usage-statistics-enabled), else 0.",
)
RETENTION = Family(
    "cliproxy_queue_retention_seconds",
    "gauge",
    ("proxy",),
    "How long the proxy keeps a usage record that nobody reads. Longer gaps between polls lose records.",
)

_PROXY = ("proxy",)

RECEIVED = Family("cliproxy_exporter_records_received", "counter", _PROXY, "Usage records read from the proxy.")
REPLAYED = Family("cliproxy_exporter_records_replayed", "counter", _PROXY, "Rejected records that were tried again.")
BOOKED = Family("cliproxy_exporter_records_booked", "counter", _PROXY, "Usage records booked in the ledger.")
DUPLICATE = Family(
    "cliproxy_exporter_records_duplicate",
    "counter",
    _PROXY,
    "Details of snapshots that had been booked, counted or rejected before; each time that a snapshot repeats one"
    " counts. A queue hands out each record once, so none of its records is a duplicate.",
)
BACKFILLED = Family(
    "cliproxy_exporter_records_backfilled",
    "counter",
    _PROXY,
    "Booked records of the past, which count in periods and history, but not in counters.",
)
REJECTED = Family(
    "cliproxy_exporter_records_rejected",
    "counter",
    ("proxy", "reason"),
    "Records that could not be booked; they are kept in the ledger.",
)
PENDING = Family(
    "cliproxy_exporter_records_pending",
    "gauge",
    _PROXY,
    "Records on disk that are not booked yet. received + replayed = booked + duplicate + rejected + pending.",
)
MISSED = Family(
    "cliproxy_exporter_missed_records_estimate",
    "gauge",
    _PROXY,
    "Records that the proxy counted and that never arrived, since the exporter met it: an estimate, explained in"
    " docs/proxies.md. Absent while the proxy has told no counts.",
)
RETENTION_GAPS = Family(
    "cliproxy_exporter_retention_gaps",
    "counter",
    _PROXY,
    "Times that the proxy was not read for longer than it keeps a record, or that the answer to a read of its queue did"
    " not arrive as a whole, so that records may be lost.",
)
RESTARTS = Family(
    "cliproxy_exporter_restarts_detected",
    "counter",
    _PROXY,
    "Restarts of the proxy that were noticed: its counts began anew, or its usage is in another kind of source.",
)
FALSE_STARTS = Family(
    "cliproxy_exporter_false_starts",
    "counter",
    _PROXY,
    "Sudden first values of a proxy without details that were not believed; cliproxy-exporter false-starts lists them.",
)
LAST_SUCCESS = Family(
    "cliproxy_exporter_last_success_timestamp_seconds", "gauge", _PROXY, "When the proxy was last polled with success."
)
POLLS = Family("cliproxy_exporter_polls", "counter", _PROXY, "Polls of the proxy that were begun.")
POLL_FAILURES = Family(
    "cliproxy_exporter_poll_failures", "counter", ("proxy", "reason"), "Polls of the proxy that failed, by reason."
)
POLL_DURATION = Family(
    "cliproxy_exporter_poll_duration_seconds",
    "histogram",
    _PROXY,
    "Duration of a poll: reading, storing and booking.",
)
UNIDENTIFIED = Family(
    "cliproxy_exporter_unidentified_requests",
    "gauge",
    _PROXY,
    "Requests in the counters of accounts and keys that the proxy does not list: whether they cost money is not known,"
    " and from snapshots their provider is a guess by the model's family.",
)
FOLDED = Family(
    "cliproxy_exporter_folded_label_sets",
    "counter",
    (),
    "Label sets beyond EXPORTER_MAX_LABEL_SETS, which are exported under the label value other.",
)
LEDGER_BYTES = Family("cliproxy_exporter_ledger_bytes", "gauge", (), "Size of the ledger's file on disk.")
LEDGER_ENTRIES = Family("cliproxy_exporter_ledger_entries", "gauge", (), "Usage records in the ledger.")
HISTORY_STATE = Family(
    "cliproxy_exporter_history_state",
    "gauge",
    ("state",),
    "1 for the state in which the history in Supabase is, 0 for the others. Absent without SUPABASE_URL, as are all"
    " metrics of the history.",
)
HISTORY_BACKLOG = Family(
    "cliproxy_exporter_history_backlog_records", "gauge", (), "Booked records that are not in Supabase yet."
)
HISTORY_REFUSED = Family(
    "cliproxy_exporter_history_refused_records",
    "gauge",
    (),
    "Booked records that the database of the history refuses; they are tried again when the exporter starts.",
)
HISTORY_LAST_SUCCESS = Family(
    "cliproxy_exporter_history_last_success_timestamp_seconds",
    "gauge",
    (),
    "When the history in Supabase was last complete. Absent if it was not since the exporter started.",
)
HISTORY_ERRORS = Family(
    "cliproxy_exporter_history_errors", "counter", ("reason",), "Calls to Supabase that failed, by reason."
)
CONFIG_RELOAD = Family(
    "cliproxy_exporter_config_reload_success",
    "gauge",
    (),
    "1 if what is read again while the exporter runs (EXPORTER_PRICES_FILE, EXPORTER_LIMITS_FILE, limits in Supabase)"
    " is in use as it is now, 0 if the last edit is wrong and not in use.",
)
PRICE_FEED = Family(
    "cliproxy_exporter_price_feed_last_success_timestamp_seconds",
    "gauge",
    (),
    "When the daily price list was last read.",
)
BUILD_INFO = Family(
    "cliproxy_exporter_build_info", "gauge", ("version", "python"), "Version of the exporter, always 1."
)
COLLECTOR_UP = Family(
    "cliproxy_exporter_collector_success",
    "gauge",
    ("collector",),
    "1 if this part of the scrape could be made, 0 if its families are missing.",
)

HISTORY_FAMILIES = (
    HISTORY_STATE,
    HISTORY_BACKLOG,
    HISTORY_REFUSED,
    HISTORY_LAST_SUCCESS,
    HISTORY_ERRORS,
)
"""Of these there is nothing without SUPABASE_URL."""

OTHER_FAMILIES = (
    PERIOD_COST,
    PERIOD_TOKENS,
    PERIOD_REQUESTS,
    PRICE,
    CREDENTIAL_UP,
    CREDENTIAL_STATUS,
    CREDENTIAL_RETRY,
    CREDENTIAL_INFO,
    CREDENTIAL_ATTEMPTS,
    LIMIT_USED_RATIO,
    LIMIT_USED,
    LIMIT_BUDGET,
    LIMIT_THRESHOLD,
    LIMIT_START,
    LIMIT_RESET,
    LIMIT_OBSERVED,
    LIMIT_INFERRED,
    LIMIT_EARLY_RESETS,
    UP,
    PROXY_STATE,
    PROXY_INFO,
    PUBLISHING,
    RETENTION,
    RECEIVED,
    REPLAYED,
    BOOKED,
    DUPLICATE,
    BACKFILLED,
    REJECTED,
    PENDING,
    MISSED,
    RETENTION_GAPS,
    RESTARTS,
    FALSE_STARTS,
    LAST_SUCCESS,
    POLLS,
    POLL_FAILURES,
    POLL_DURATION,
    UNIDENTIFIED,
    FOLDED,
    LEDGER_BYTES,
    LEDGER_ENTRIES,
    *HISTORY_FAMILIES,
    CONFIG_RELOAD,
    PRICE_FEED,
    BUILD_INFO,
    COLLECTOR_UP,
)
"""Rendered by prometheus_client."""
