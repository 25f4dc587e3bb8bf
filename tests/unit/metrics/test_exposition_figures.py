"""Each figure of a scrape stands under its own name. All are different, so none can stand in for another."""

import re
from datetime import UTC
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from exporter.history.state import HistoryStatus
from exporter.ledger.views.totals import Flow
from exporter.limits.limit_file import watch_limit_file
from exporter.metrics.proxies import PollMetrics
from exporter.pricing.feed import PriceFeed
from exporter.pricing.pricer import watch_price_file
from exporter.quotas.reading import Reading
from exporter.records import REJECTION_REASONS, Billing, Tokens
from exporter.sources.proxy_status import ProxyStatus
from tests.unit.metrics.conftest import Bench, account

_DAY, _HOUR_MS = 86_400, 3_600_000


def _figures(bench: Bench, families: str) -> dict[str, float]:
    """The samples that are not 0, by name and the labels' values, without those of every series."""
    bench.ledger.periods.refresh()
    bench.limits.refresh()
    usual = ("p", "claude", "m", "claude-069e", "claude-plus-069e", "client-680c51fdf8")
    found: dict[str, float] = {}
    for name, labels, value in re.findall(rf"^cliproxy_((?:{families})\w*?)(?:{{(.*)}})? (\S+)$", bench.scrape(), re.M):
        values = [each for each in re.findall(r'="(.*?)"', labels) if each and each not in usual]
        if float(value):
            found[" ".join([name, *values])] = float(value)
    return found


def _book(bench: Bench, *, days_ago: int, requests: int, **fields: Any) -> None:
    ts_ms = bench.clock.now_ms() - days_ago * _DAY * 1000
    bench.book(times=requests, ts_ms=ts_ms, billing=Billing.SUBSCRIPTION, **fields)


def test_usage_has_its_own_figures(bench: Bench) -> None:
    bench.list_accounts(account("a.json", auth_index="index-1", status="active"))
    tokens = Tokens(uncached=1, cache_read=2, cache_write=4, output=24, reasoning=8, unclassified=32)
    _book(bench, days_ago=0, requests=1, tokens=tokens, nano_usd=1_500_000_000, latency_ms=1500, ttft_ms=300)
    _book(bench, days_ago=1, requests=2, tokens=Tokens(), code="429")
    _book(bench, days_ago=2, requests=4, tokens=Tokens(), unpriced="no_price")
    requests, tokens_of_today = {"today": 1, "yesterday": 2, "month": 7}, 1 + 2 + 4 + 24 + 32
    midnight = bench.clock.now() // _DAY * _DAY  # of 18 November, in UTC

    usage = "requests|failed|input|output|cache|reasoning|unclassified|cost|unpriced"
    assert _figures(bench, usage) == {
        "requests_total": 7,
        "failed_requests_total 429": 2,
        "input_tokens_total": 1 + 2 + 4,
        "output_tokens_total": 24,
        "cache_read_tokens_total": 2,
        "cache_write_tokens_total": 4,
        "reasoning_tokens_total": 8,
        "unclassified_tokens_total": 32,
        "cost_usd_total exact subscription": 1.5,
        "unpriced_requests_total no_price": 4,
    }
    figures = _figures(bench, "period|price|request_duration_seconds_[cs]|time_to_first_token_seconds_[cs]")
    assert figures == {
        "request_duration_seconds_count": 1,
        "request_duration_seconds_sum": 1.5,
        "time_to_first_token_seconds_count": 1,
        "time_to_first_token_seconds_sum": 0.3,
        **{f"period_requests {period}": number for period, number in requests.items()},
        **{f"period_tokens {period}": tokens_of_today for period in ("today", "month")},
        **{f"period_cost_usd subscription {period}": 1.5 for period in ("today", "month")},
        "period_start_timestamp_seconds today": midnight,
        "period_start_timestamp_seconds yesterday": midnight - _DAY,
        "period_start_timestamp_seconds month": midnight - 17 * _DAY,
        # The price of a model that no list has.
        **{f"price_usd_per_million_tokens {bucket}": 0.15 for bucket in ("input", "cache_read", "cache_write")},
        "price_usd_per_million_tokens output": 0.6,
    }


def test_costs_that_are_money_and_costs_that_are_not_stay_apart(bench: Bench) -> None:
    bench.book(billing=Billing.METERED, nano_usd=1_000_000_000)
    bench.book(billing=Billing.SUBSCRIPTION, nano_usd=2_000_000_000)
    assert _figures(bench, "period_cost") == {
        f"period_cost_usd {billing} {period}": usd
        for billing, usd in (("metered", 1), ("subscription", 2))
        for period in ("today", "month")
    }
    assert 'billing="unknown"' not in bench.scrape(), "there is none"


def test_a_limit_has_its_own_figures(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    own = "{id: own, tokens: 8, strategy: daily, warning: 0.125}"
    file.write_text(f"{{defaults: {{warning: 0.25, critical: 0.5}}, limits: [{own}]}}", encoding="utf-8")
    bench.limits.file = watch_limit_file(file, zone=UTC)
    bench.book()
    now_ms, ends_ms = bench.clock.now_ms(), bench.clock.now_ms() + 2 * _HOUR_MS
    for hours, used in ((3, 0.875), (2, 0.5), (1, 0.75)):  # the third reading confirms that quota was given back
        told = Reading("5h", "", 5 * 3600, used, ends_ms, "", now_ms - hours * _HOUR_MS, False, "auth_files")
        bench.ledger.take_inventory("p", [account("a.json", status="active", readings=(told,))])

    now = now_ms / 1000
    midnight = now // _DAY * _DAY
    of_provider = {
        "limit_used_ratio provider 5h share 5h": 0.75,
        "limit_threshold_ratio provider 5h warning share 5h": 0.25,
        "limit_threshold_ratio provider 5h critical share 5h": 0.5,
        "limit_window_start_timestamp_seconds provider 5h share 5h": now - 3 * 3600,
        "limit_reset_timestamp_seconds provider 5h share 5h": now + 2 * 3600,
        "limit_observed_timestamp_seconds provider 5h share 5h": now - 3600,
        "limit_source_info provider 5h signal share 5h": 1,
    }
    others = {
        "limit_used_ratio configured own tokens day": 0.25,
        "limit_used configured own tokens day": 2,
        "limit_budget configured own tokens day": 8,
        "limit_threshold_ratio configured own warning tokens day": 0.125,
        "limit_threshold_ratio configured own critical tokens day": 0.5,
        "limit_window_start_timestamp_seconds configured own tokens day": midnight,
        "limit_reset_timestamp_seconds configured own tokens day": midnight + _DAY,
        "limit_observed_timestamp_seconds configured own tokens day": now,
        "limit_early_resets_total 5h": 1,
    }
    assert _figures(bench, "limit") == of_provider | others
    bench.ledger.take_inventory("p", [])
    assert _figures(bench, "limit") == others, "the account is gone; a counter stays"


def test_a_proxy_has_its_own_figures(bench: Bench) -> None:
    bench.statuses = [
        ProxyStatus(
            name="p", state="publishing_off", source="queue", version="7.2.140", commit="ab12cd3",
            publishing_enabled=True, retention_seconds=600,
        )
    ]  # fmt: skip
    bench.ledger.totals.flows[bench.ledger.name_store.proxies["p"]] = Flow(
        received=1, replayed=2, booked=3, duplicate=4, backfilled=5, pending=6, rejected={"not_json": 7}, missed=8,
        retention_gaps=9, restarts=10, false_starts=11, last_success_ms=12_000, missed_ms=99, gap_ms=99, gap_seconds=99,
    )  # fmt: skip
    assert _figures(bench, "up|proxy|usage_publishing|queue|exporter_(?:rec|miss|ret|res|false|last)") == {
        "up": 1,
        "proxy_state publishing_off": 1,
        "proxy_info ab12cd3 queue 7.2.140": 1,
        "usage_publishing_enabled": 1,
        "queue_retention_seconds": 600,
        "exporter_records_received_total": 1,
        "exporter_records_replayed_total": 2,
        "exporter_records_booked_total": 3,
        "exporter_records_duplicate_total": 4,
        "exporter_records_backfilled_total": 5,
        "exporter_records_pending": 6,
        "exporter_records_rejected_total not_json": 7,
        "exporter_missed_records_estimate": 8,
        "exporter_retention_gaps_total": 9,
        "exporter_restarts_detected_total": 10,
        "exporter_false_starts_total": 11,
        "exporter_last_success_timestamp_seconds": 12,
    }


def test_what_a_proxy_has_not_said_is_absent_and_what_can_go_wrong_with_it_is_0(bench: Bench) -> None:
    bench.ledger.polled("p", at_ms=bench.clock.now_ms())
    bench.registry = CollectorRegistry()
    PollMetrics(bench.registry).started("p")
    text = bench.scrape() + generate_latest(bench.registry).decode()
    for absent in ("proxy_info", "usage_publishing_enabled", "queue_retention_seconds", "exporter_missed_records"):
        assert f"cliproxy_{absent}" not in re.sub("^#.*", "", text, flags=re.M)
    rejected = re.findall(r'^cliproxy_exporter_records_rejected_total{proxy="p",reason="(\w+)"} 0.0$', text, re.M)
    assert rejected == sorted(REJECTION_REASONS)
    assert 'cliproxy_exporter_poll_failures_total{proxy="p",reason="unreachable"} 0.0' in text
    assert 'cliproxy_exporter_poll_duration_seconds_count{proxy="p"} 0.0' in text
    assert "cliproxy_exporter_last_success_timestamp_seconds{" in text
    bench.statuses = []
    assert "cliproxy_exporter_last_success_timestamp_seconds{" not in bench.scrape(), "it is no longer polled"


def test_records_that_may_be_missing_are_0_where_the_proxy_counts(bench: Bench) -> None:
    missed = 'cliproxy_exporter_missed_records_estimate{proxy="p"} 0.0'
    bench.statuses = [ProxyStatus(name="p", source_is_cumulative=True)]
    assert missed in bench.scrape(), "totals of a snapshot"
    bench.statuses = [ProxyStatus(name="p")]
    assert missed not in bench.scrape()
    bench.ledger.take_inventory("p", [account("a.json", success=1)])
    assert missed in bench.scrape(), "attempts of an account"


def test_an_account_has_its_own_figures(bench: Bench) -> None:
    retry_ms = bench.clock.now_ms() + 5000
    account_ = account(
        "a.json", auth_index="index-1", status="error", plan="plus", success=7, failed=2,
        unavailable=True, retry_ms=retry_ms,
    )  # fmt: skip
    taken = bench.ledger.take_inventory("p", [account_])
    bench.statuses = [ProxyStatus(name="p", accounts=tuple(taken))]
    waits = {
        "credential_info index-1 oauth plus": 1,
        "credential_status error": 1,
        "credential_retry_timestamp_seconds": retry_ms / 1000,
        "credential_attempts_total success": 7,
        "credential_attempts_total failed": 2,
    }
    assert _figures(bench, "credential") == waits
    bench.clock.jump(5)
    del waits["credential_retry_timestamp_seconds"]
    assert _figures(bench, "credential") == {**waits, "credential_up": 1}, "the wait is over"


def test_nothing_is_known_of_an_api_key_but_facts_and_attempts(bench: Bench) -> None:
    taken = bench.ledger.take_inventory("p", [account("key", auth_index="index-1", success=1)])
    bench.statuses = [ProxyStatus(name="p", accounts=tuple(taken))]
    shown = re.findall(r"^cliproxy_(credential\w+){", bench.scrape(), re.M)
    assert shown == ["credential_info", "credential_attempts_total", "credential_attempts_total"]


def test_the_exporter_has_its_own_figures(bench: Bench) -> None:
    bench.ledger.name_store._max_label_sets = 1
    for model in "aaabc":  # b and c are folded, and so are their accounts
        bench.book(auth_index="nobody's", model=model)
    bench.exposition.history = lambda: HistoryStatus(
        state="away", waiting=6, refused=7, last_success_ms=8000, errors={"unreachable": 9}
    )
    assert _figures(bench, "exporter_(?:unid|fold|ledger_e|history|config)") == {
        "exporter_unidentified_requests": 3,
        "exporter_folded_label_sets_total": 2,
        "exporter_ledger_entries": 5,
        "exporter_history_state away": 1,
        "exporter_history_backlog_records": 6,
        "exporter_history_refused_records": 7,
        "exporter_history_last_success_timestamp_seconds": 8,
        "exporter_history_errors_total unreachable": 9,
        "exporter_config_reload_success": 1,
    }


def test_a_wrong_edit_of_any_file_shows(bench: Bench, tmp_path: Path) -> None:
    limits, prices = tmp_path / "limits.yaml", tmp_path / "prices.yaml"
    limits.write_text("limits: []", encoding="utf-8")
    prices.write_text("prices: []", encoding="utf-8")
    bench.limits.file = watch_limit_file(limits, zone=UTC)
    bench.exposition.prices.user = watch_price_file(prices)

    def is_in_use() -> bool:
        return "cliproxy_exporter_config_reload_success 1.0" in bench.scrape()

    for watched in (bench.limits.file, bench.exposition.prices.user):
        assert is_in_use()
        watched.problem = "It has a mistake."
        assert not is_in_use()
        watched.problem = ""
    bench.shown_names.file_problem = "It has a mistake."
    assert not is_in_use()


def test_the_age_of_the_daily_list_shows(bench: Bench) -> None:
    assert "price_feed_last_success_timestamp_seconds 1" not in bench.scrape(), "there is none"
    bench.ledger.price_feed.save([], fetched_ms=1_234_000)
    bench.exposition.prices.feed = PriceFeed(url="", store=bench.ledger.price_feed, clock=bench.clock)
    assert "cliproxy_exporter_price_feed_last_success_timestamp_seconds 1234.0" in bench.scrape()
