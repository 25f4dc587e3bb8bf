"""The dashboards' figures about accounts and trust, from made-up series on real Prometheus servers."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.benches.dashboards import filled, load
from tests.benches.past import import_past
from tests.stack.monitoring import VERSION_LINES, Prometheus, Sample, binaries_of, run_prometheus

_HOUR = 3600.0
_ALICE = 'proxy="home",provider="claude",credential="alice"'
_BOB = 'proxy="home",provider="codex",credential="bob"'
_KEY = 'proxy="home",provider="gemini",credential="key"'
_POOL = 'proxy="home",provider="claude"'
_EMPTY_POOL = 'proxy="home",provider="codex"'
_PLUGIN = 'job="plugin"'
"""Another exporter, whose metrics have no proxy."""
_WEEK = f'{_ALICE},limit="7d",kind="provider",scope="",window="7d",unit="share"'
_GAUGES: Mapping[str, Mapping[str, float]] = {
    "cliproxy_credential_info": {
        f'{_ALICE},auth_index="1",plan="max-20x",auth_type="oauth"': 1,
        f'{_BOB},auth_index="2",plan="",auth_type="oauth"': 1,
        f'{_KEY},auth_index="3",plan="",auth_type="api_key"': 1,
    },
    "cliproxy_up": {'proxy="home"': 1, _PLUGIN: 0},
    "cliproxy_credential_up": {_ALICE: 1, _BOB: 0},
    "cliproxy_pool_accounts": {f'{_POOL},state="usable"': 1, f'{_POOL},state="exhausted"': 2},
    "cliproxy_limit_used_ratio": {_WEEK: 0.7},
    "cliproxy_limit_inferred": {_WEEK: 1},
    "cliproxy_limit_source_info": {f'{_WEEK},source="active"': 1},
    "cliproxy_limit_capacity_usd": {
        f'{_WEEK},bound="estimate"': 100,
        f'{_WEEK},bound="low"': 90,
        f'{_WEEK},bound="high"': 115,
    },
    "cliproxy_limit_capacity_tokens": {f'{_WEEK},bound="estimate"': 5e7, f'{_WEEK},bound="low"': 4e7},
    "cliproxy_plan_price_per_month": {f'{_ALICE},currency="USD"': 200, f'{_BOB},currency="EUR"': 23},
    "cliproxy_plan_value_usd": {_ALICE: 500, _BOB: 46},
    "cliproxy_balance_usd": {f'{_BOB},balance="credits"': 12.5},
    "cliproxy_quota_reset_credits": {_BOB: 2},
    "cliproxy_quota_elsewhere_ratio": {_ALICE: 0.25},
    "cliproxy_exporter_build_info": {'instance="a",version="1.0",python="3.12"': 1},
    "cliproxy_exporter_collector_success": {'instance="a",collector="limits"': 0, 'instance="a",collector="usage"': 1},
    "cliproxy_exporter_records_pending": {'proxy="home"': 0, 'proxy="office"': 3},
    "cliproxy_exporter_missed_records_estimate": {'proxy="home"': 7},
    "cliproxy_exporter_unidentified_requests": {'proxy="home"': 2},
}
_MOMENTS = {
    "cliproxy_credential_room_timestamp_seconds": {_BOB: _HOUR, _ALICE: -_HOUR},
    "cliproxy_pool_next_back_timestamp_seconds": {_POOL: 3 * _HOUR},
    "cliproxy_pool_empty_timestamp_seconds": {_POOL: 5 * _HOUR, _EMPTY_POOL: -5.0},
    "cliproxy_credential_retry_timestamp_seconds": {_BOB: 2 * _HOUR, _ALICE: -_HOUR},
    "cliproxy_limit_observed_timestamp_seconds": {_WEEK: -600.0},
    "cliproxy_limit_reset_timestamp_seconds": {_WEEK: 24 * _HOUR},
    "cliproxy_quota_next_fetch_timestamp_seconds": {_ALICE: 300.0},
    "cliproxy_exporter_price_feed_last_success_timestamp_seconds": {'instance="a"': -5 * _HOUR},
}
"""Times in seconds from now."""
_CHANGED = 'proxy="home",provider="claude",credential="alice",scope="",window="7d",change="shrank"'
_COUNTED = {
    "cliproxy_limit_capacity_changes_total": {_CHANGED: 1.0},
    "cliproxy_credential_attempts_total": {
        f'{_BOB},result="failed"': 30.0,
        f'{_BOB},result="success"': 70.0,
        'proxy="home",provider="codex",credential="deleted",result="success"': 5.0,
    },
    "cliproxy_exporter_records_received_total": {'proxy="home"': 100.0, 'proxy="office"': 20.0},
    "cliproxy_exporter_records_replayed_total": {'proxy="home"': 5.0, 'proxy="office"': 0.0},
    "cliproxy_exporter_records_booked_total": {'proxy="home"': 90.0, 'proxy="office"': 17.0},
    "cliproxy_exporter_records_duplicate_total": {'proxy="home"': 4.0, 'proxy="office"': 0.0},
    "cliproxy_exporter_records_rejected_total": {
        'proxy="home",reason="no_time"': 10.0,
        'proxy="home",reason="no_model"': 0.0,
        'proxy="office",reason="no_time"': 0.0,
    },
    "cliproxy_exporter_retention_gaps_total": {'proxy="home"': 2.0},
    "cliproxy_exporter_restarts_detected_total": {'proxy="home"': 3.0},
    "cliproxy_exporter_false_starts_total": {'proxy="home"': 1.0},
    "cliproxy_requests_total": {f'{_ALICE},model="m",client="c"': 40.0, f'{_PLUGIN},provider="claude",model="m"': 9e3},
}
"""The increases of half an hour ago."""
_USED = f'{_ALICE},model="m",client="c"'
_IMPORTED = f'{_BOB},model="old",client="d"'
"""Of an imported past, which has neither unclassified tokens nor caches."""
_GROWING = {
    "cliproxy_exporter_poll_failures_total": ['proxy="home",reason="timeout"'],
    "cliproxy_quota_fetches_total": ['proxy="home",provider="claude",result="ok"'],
    "cliproxy_cost_usd_total": [
        'proxy="home",provider="x",model="m",credential="",client="",basis="default",billing="unknown"'
    ],
    "cliproxy_input_tokens_total": [_USED, _IMPORTED],
    "cliproxy_output_tokens_total": [_USED, _IMPORTED],
    "cliproxy_unclassified_tokens_total": [_USED],
    "cliproxy_cache_read_tokens_total": [_USED],
}
"""Counters that grow by one a second."""


def _exposition(now: float) -> str:
    times = range(int(now) - 3600, int(now) + 60, 15)
    lines = []
    moments = {name: {key: now + value for key, value in series.items()} for name, series in _MOMENTS.items()}
    for name, series in {**_GAUGES, **moments}.items():
        lines.append(f"# TYPE {name} gauge")
        lines.extend(f"{name}{{{labels}}} {value} {when}" for labels, value in series.items() for when in times)
    for name, series in _COUNTED.items():
        lines.append(f"# TYPE {name.removesuffix('_total')} counter")
        lines.extend(
            f"{name}{{{labels}}} {value * (when > now - 1800)} {when}"
            for labels, value in series.items()
            for when in times
        )
    for name, growing in _GROWING.items():
        lines.append(f"# TYPE {name.removesuffix('_total')} counter")
        lines.extend(f"{name}{{{labels}}} {when - times[0]} {when}" for labels in growing for when in times)
    return "\n".join([*lines, "# EOF", ""])


@dataclass(frozen=True)
class _Shown:
    server: Prometheus
    now: float

    def __call__(self, where: str, **selected: str) -> list[Sample]:
        """What the panel and query ``uid: panel: ref`` shows, with all other variables on everything."""
        (found,) = ((each, query) for each in load() for query in each.queries if query.where == where)
        dashboard, query = found
        times = {"__rate_interval": "5m", "__range": "1h", "__interval": "1m"}
        return self.server.query(filled(query.expr, {**dashboard.selections()[0], **times, **selected}), self.now)


@pytest.fixture(scope="module", params=VERSION_LINES)
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Shown]:
    workdir, tools, now = tmp_path_factory.mktemp("figures"), binaries_of(request.param), time.time() // 15 * 15 - 600
    (workdir / "series.om").write_text(_exposition(now))
    import_past(tools, workdir / "series.om", workdir)
    with run_prometheus(tools, targets=[], workdir=workdir) as server:
        yield _Shown(server, now)


_ACCOUNTS = "cliproxy-accounts: Accounts, nearest to exhaustion first"
_WINDOWS = "cliproxy-accounts: Windows, with age and source"
_TOLD = "cliproxy-accounts: What providers tell when they are asked"
_PLANS = "cliproxy-accounts: Subscriptions: value of this month against their price"
_WORTH = "cliproxy-accounts: What 100 % of a window is worth"


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        pytest.param(f"{_ACCOUNTS}: B", {"alice": 1, "bob": 0}, id="usable, of accounts with a login only"),
        pytest.param(f"{_ACCOUNTS}: D", {"bob": 2 * _HOUR}, id="back in, not of a cooldown that is over"),
        pytest.param(f"{_ACCOUNTS}: H", {"bob": _HOUR}, id="room in, not of one that has it"),
        pytest.param(f"{_ACCOUNTS}: E", {"alice": 0.7}, id="fullest window"),
        pytest.param(f"{_ACCOUNTS}: G", {"bob": 0.3}, id="failed share of attempts"),
        pytest.param(f"{_WINDOWS}: B", {"alice": 24 * _HOUR}, id="resets in"),
        pytest.param(f"{_WINDOWS}: C", {"alice": 600}, id="age"),
        pytest.param(f"{_WINDOWS}: E", {"alice": 1}, id="refused"),
        pytest.param(f"{_TOLD}: A", {"alice": 300}, id="asked in"),
        pytest.param(f"{_TOLD}: B", {"bob": 12.5}, id="balance"),
        pytest.param(f"{_TOLD}: C", {"bob": 2}, id="reset credits"),
        pytest.param(f"{_TOLD}: D", {"alice": 0.25}, id="used elsewhere"),
        pytest.param(f"{_PLANS}: A", {"alice": 200, "bob": 23}, id="price"),
        pytest.param(f"{_PLANS}: B", {"alice": 500, "bob": 46}, id="value"),
        pytest.param(f"{_PLANS}: C", {"alice": 2.5}, id="value to price, not of a price in euros"),
        pytest.param(f"{_WORTH}: A", {"alice": 100}, id="worth of 100 %"),
        pytest.param(f"{_WORTH}: B", {"alice": 90}, id="worth at least"),
        pytest.param(f"{_WORTH}: C", {"alice": 115}, id="worth at most"),
        pytest.param(f"{_WORTH}: D", {"alice": 5e7}, id="tokens"),
        pytest.param("cliproxy-accounts: Windows that shrank or grew: A", {"alice": 1}, id="shrank"),
    ],
)
def test_the_figures_of_accounts_are_right(shown: _Shown, where: str, expected: dict[str, float]) -> None:
    found = {each.labels["credential"]: each.value for each in shown(where)}

    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("query", "value"),
    [("A", 1), ("C", 2), ("E", 3 * _HOUR), ("F", 5 * _HOUR)],
    ids=["usable", "exhausted", "next one back in", "all empty in"],
)
def test_the_figures_of_a_pool_are_right(shown: _Shown, query: str, value: float) -> None:
    pools = shown(f"cliproxy-accounts: Pools: the accounts of each provider: {query}")
    (pool,) = (each for each in pools if each.labels["provider"] == "claude")

    assert pool.value == pytest.approx(value, rel=0.02)


def test_a_pool_in_which_no_account_works_is_empty_now(shown: _Shown) -> None:
    pools = shown("cliproxy-accounts: Pools: the accounts of each provider: F")

    assert [each.value for each in pools if each.labels["provider"] == "codex"] == [0]


def test_a_window_is_shown_with_the_origin_of_its_share(shown: _Shown) -> None:
    assert [each.labels["source"] for each in shown(f"{_WINDOWS}: D")] == ["active"]


def test_the_worth_of_a_window_over_time_is_named_after_account_and_window(shown: _Shown) -> None:
    (series,) = shown("cliproxy-accounts: Worth of 100 % over time: A")

    assert (series.labels["name"].strip(), series.value) == ("claude alice 7d", 100)


@pytest.mark.parametrize(
    ("title", "count"), [("Usable accounts", 1), ("Unusable accounts", 1), ("Accounts cooling down", 1)]
)
def test_the_number_of_usable_accounts_is_shown(shown: _Shown, title: str, count: int) -> None:
    assert [each.value for each in shown(f"cliproxy-accounts: {title}: A")] == [count]


@pytest.mark.parametrize(("proxy", "lost"), [("office", 0), ("home", 1)])
def test_the_books_of_a_proxy_show_records_that_are_unaccounted_for(shown: _Shown, proxy: str, lost: float) -> None:
    assert [each.value for each in shown("cliproxy-trust: Books: A", proxy=proxy)] == [lost]


@pytest.mark.parametrize(
    ("where", "value"),
    [
        pytest.param("What may be missing: A", 7, id="never arrived"),
        pytest.param("What may be missing: B", 2, id="gaps"),
        pytest.param("What may be missing: C", 3, id="waiting, of all proxies"),
        pytest.param("What is doubtful: A", 3, id="restarts"),
        pytest.param("What is doubtful: B", 1, id="false starts"),
        pytest.param("What is doubtful: C", 2, id="unidentified requests"),
        pytest.param("Missing parts of a scrape: A", 1, id="missing parts"),
        pytest.param("Age of the daily price list: A", 5 * _HOUR, id="age of the price list"),
        pytest.param("Polls per minute: B", 60, id="failed polls"),
        pytest.param("Questions to providers per hour, by result: A", 3600, id="questions to providers"),
        pytest.param("Cost per hour, by basis of its price: C", 3600, id="cost of unknown billing"),
    ],
)
def test_the_figures_of_trust_are_right(shown: _Shown, where: str, value: float) -> None:
    assert [each.value for each in shown(f"cliproxy-trust: {where}")] == pytest.approx([value], rel=0.02)


@pytest.mark.parametrize(
    ("where", "label", "names"),
    [
        ("cliproxy-accounts: Tokens per hour, by account: A", "credential", ("alice", "bob")),
        ("cliproxy-limits: Tokens per hour, by model: A", "model", ("m", "old")),
        ("cliproxy-limits: Tokens per hour, by client: A", "client", ("c", "d")),
        ("cliproxy-overview: Models: B", "model", ("m", "old")),
    ],
)
def test_tokens_include_unclassified_ones(shown: _Shown, where: str, label: str, names: tuple[str, str]) -> None:
    tokens = {each.labels[label]: each.value for each in shown(where)}

    assert tokens == pytest.approx(dict(zip(names, (3 * 3600, 2 * 3600), strict=True)), rel=0.02)


@pytest.mark.parametrize(
    ("where", "label", "names"),
    [
        ("cliproxy-overview: Models: C", "model", {"m": 1}),
        ("cliproxy-overview: Input read from cache, by provider: A", "provider", {"claude": 1}),
    ],
)
def test_what_an_imported_past_read_from_caches_is_not_known(
    shown: _Shown, where: str, label: str, names: dict[str, float]
) -> None:
    assert {each.labels[label]: each.value for each in shown(where)} == pytest.approx(names, rel=0.02)


def test_the_graph_of_all_tokens_has_unclassified_ones(shown: _Shown) -> None:
    assert [each.value for each in shown("cliproxy-overview: Tokens per hour: E")] == pytest.approx([3600], rel=0.02)


def test_series_of_another_exporter_with_the_same_names_are_left_out(shown: _Shown) -> None:
    (requests,) = shown("cliproxy-overview: Requests: A")
    (read,) = shown("cliproxy-trust: Proxies: C")

    assert requests.value == pytest.approx(40, rel=0.02)
    assert (read.labels, read.value) == ({"proxy": "home"}, 1)


def test_rejected_records_are_shown_by_reason(shown: _Shown) -> None:
    (row,) = shown("cliproxy-trust: Rejected records, by reason: A")

    assert (row.labels["proxy"], row.labels["reason"]) == ("home", "no_time")
    assert row.value == pytest.approx(10, rel=0.02)
