"""Every query of the dashboards, asked of real Prometheus servers that hold what the real exporter says.

The exporter runs the demo, with the limits and the troubled accounts that come with it. The servers are given the
export of another ledger with a day of traffic; so both the present and an imported past are there.
"""

import subprocess
import time
from calendar import monthrange
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.benches.dashboards import ROOT, Query, filled, load, metrics_in
from tests.benches.past import book_past, export_past, import_past
from tests.benches.program import HASH_KEY
from tests.stack.monitoring import VERSION_LINES, Prometheus, Sample, Series, binaries_of, run_prometheus
from tests.stack.running import exporter_process
from tests.stack.waiting import wait_until


def _queries() -> Iterator[tuple[Query, dict[str, str]]]:
    """Each query with everything selected; for each choice of what it is split by, if it is."""
    for dashboard in load():
        for query in dashboard.queries:
            choices = dashboard.selections()
            yield from ((query, values) for values in (choices if "$by" in query.expr else choices[:1]))


QUERIES = list(_queries())

_UNKNOWN = "cliproxy-overview: Unknown billing, all accounts and clients"
MAY_BE_EMPTY = {
    "cliproxy-overview: annotation Firing alerts": "all is well",
    "cliproxy-limits: annotation Firing alerts": "all is well",
    "cliproxy-accounts: annotation Firing alerts": "all is well",
    "cliproxy-trust: annotation Firing alerts": "all is well",
    "cliproxy-overview: Firing alerts, whatever is selected: A": "all is well",
    "cliproxy-limits: Early resets: A": "no provider does so in the demo",
    "cliproxy-overview: Limits, nearest to exhaustion first: D": "nothing runs out, depending on the time of day",
    "cliproxy-limits: Limits, nearest to exhaustion first: D": "nothing runs out, depending on the time of day",
    "cliproxy-accounts: Accounts, nearest to exhaustion first: H": "the account that cools down has room again",
    "cliproxy-limits: Pools: the accounts of each provider: F": "some accounts are never used up at the demo's pace",
    "cliproxy-accounts: Pools: the accounts of each provider: F": "the same",
    "cliproxy-limits: Windows, with age and source: E": "no provider refuses without telling the share",
    "cliproxy-accounts: Windows, with age and source: E": "the same",
    "cliproxy-accounts: What providers tell when they are asked: B": "no provider in the demo tells a balance",
    "cliproxy-accounts: What providers tell when they are asked: C": "accounts are asked one by one",
    "cliproxy-accounts: What providers tell when they are asked: D": "the same",
    "cliproxy-limits: Windows that shrank or grew: A": "none does in the demo's first minutes",
    "cliproxy-accounts: Windows that shrank or grew: A": "the same",
    f"{_UNKNOWN}: A": "the demo's proxy tells the billing of all its accounts",
    f"{_UNKNOWN}: B": "the same",
    f"{_UNKNOWN}: C": "the same",
    f"{_UNKNOWN}: D": "the same",
    "cliproxy-overview: Unknown billing per hour, by $by: A": "the same",
    "cliproxy-trust: Rejected records, by reason: A": "all is well",
    "cliproxy-trust: Cost per hour, by basis of its price: C": "the demo's proxy tells the billing of all its accounts",
    "cliproxy-trust: Age of the daily price list: A": "the demo reads no list from elsewhere",
    "cliproxy-trust: Polls per minute: B": "all is well",
    "cliproxy-trust: Questions to providers per hour, by result: A": "accounts are asked seldom",
    "cliproxy-trust: History: A": "the demo writes to no Supabase project",
    "cliproxy-trust: Last complete: A": "the same",
    "cliproxy-trust: Records not in Supabase: A": "the same",
    "cliproxy-trust: Records not in Supabase: B": "the same",
    "cliproxy-trust: Failed calls to Supabase per hour: A": "the same",
}
"""Queries whose answer is rightly empty when all is well.

Their figures are tested below, and in ``test_dashboard_figures.py``.
"""

SCRAPE_SECONDS = 10
"""Of the shipped configuration; what Grafana makes $__rate_interval of."""
_LIVE = {"__rate_interval": "20s", "__range": "1m", "__interval": "5s"}
_HOUR = 3600.0
_IN_EXPORT = {
    "cliproxy_requests_total",
    "cliproxy_input_tokens_total",
    "cliproxy_output_tokens_total",
    "cliproxy_cost_usd_total",
}


_SHRANK = "cliproxy_limit_capacity_changes"
_OF_JUDY = (
    'job="cliproxy-exporter",proxy="demo",provider="codex",credential="codex-judy",scope="",window="5h",change="shrank"'
)


def _ids(pair: tuple[Query, Mapping[str, str]]) -> str:
    query, values = pair
    return f"{query.where} by {values['by']}" if "$by" in query.expr else query.where


each_line = pytest.mark.parametrize("line", VERSION_LINES)
each_query = pytest.mark.parametrize("asked", QUERIES, ids=_ids)


@pytest.fixture(scope="module")
def past() -> tuple[float, float]:
    """From when to when the imported past goes; it ends well before the present begins."""
    end = time.time() - _HOUR
    return end - 26 * _HOUR, end


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, past: tuple[float, float]) -> Iterator[dict[str, Prometheus]]:
    """Servers of all versions with a past, and with a present in which everything has happened at least once."""
    folder = tmp_path_factory.mktemp("dashboards")
    start, end = past
    book_past(folder / "past", requests=8000, ending=end, span_seconds=end - start)
    export_past(folder / "past", folder / "past.om")
    found = {}
    with ExitStack() as stack:
        demo = stack.enter_context(
            exporter_process(
                folder,
                arguments=["demo", "--rate", "60", "--seed", "3"],
                EXPORTER_HASH_KEY=HASH_KEY,
                EXPORTER_SERIES_BIRTH_SECONDS="1",
                COLLECTOR_INTERVAL_SECONDS="1",
            )
        )
        target = demo.url.removeprefix("http://")
        # More than a day ago, the limit that shrinks had not shrunk.
        shrank = f'{_SHRANK}_total{{instance="{target}",{_OF_JUDY}}} 0 {start}'
        text = (folder / "past.om").read_text().replace("# EOF\n", f"# TYPE {_SHRANK} counter\n{shrank}\n# EOF\n")
        (folder / "past.om").write_text(text)
        for line in VERSION_LINES:
            workdir = folder / line
            workdir.mkdir()
            import_past(binaries_of(line), folder / "past.om", workdir)
            server = run_prometheus(binaries_of(line), targets=[target], workdir=workdir, scrape_interval="3s")
            found[line] = stack.enter_context(server)
        present = [pair for pair in QUERIES if pair[0].where not in MAY_BE_EMPTY]
        for prometheus in found.values():
            wait_until(partial(_empty, prometheus, present), lambda empty: not empty, seconds=120)
        yield found


def _empty(server: Prometheus, queries: list[tuple[Query, dict[str, str]]]) -> str:
    """One of the queries that gives nothing yet, if there is one. It is the first that is asked the next time."""
    for place, (query, values) in enumerate(queries):
        if not _numbers(_answer(server, query, values)):
            queries.insert(0, queries.pop(place))
            return _ids((query, values))
    return ""


def _answer(server: Prometheus, query: Query, values: Mapping[str, str]) -> list[Sample] | list[Series]:
    """What a panel would get of the last minute."""
    now, expr = time.time(), filled(query.expr, {**values, **_LIVE})
    if query.kind in ("instant", "variable"):
        return server.query(expr, now)
    return server.query_range(expr, start=now - 60, end=now, step=5)


def _numbers(answer: list[Sample] | list[Series]) -> list[float]:
    """All values but NaN."""
    values = [
        value
        for each in answer
        for value in ([each.value] if isinstance(each, Sample) else [value for _, value in each.points])
    ]
    return [value for value in values if value == value]  # noqa: PLR0124 NaN differs from itself


@each_line
@each_query
def test_a_query_has_an_answer_with_the_labels_of_its_legend(
    servers: dict[str, Prometheus], line: str, asked: tuple[Query, Mapping[str, str]]
) -> None:
    query, values = asked
    may_be_empty = query.where in MAY_BE_EMPTY
    # A scrape that a busy machine has failed takes all series away until the next one.
    answer = wait_until(
        lambda: _answer(servers[line], query, values), lambda found: may_be_empty or bool(_numbers(found))
    )

    if may_be_empty and not answer:
        return
    assert _numbers(answer)
    for series in answer:
        assert query.legend_labels(values) <= series.labels.keys()
    if query.label:
        expr = filled(query.expr, values)
        assert servers[line].get(f"label/{query.label}/values", **{"match[]": expr})


def _tells_of_the_past(query: Query, values: Mapping[str, str]) -> bool:
    """Whether a query over time asks only for what the export holds, or does without the rest."""
    if query.where in MAY_BE_EMPTY:
        return False
    if query.where.startswith("cliproxy-overview: Tokens per hour"):
        return True
    return query.kind == "range" and metrics_in(filled(query.expr, {**values, **_LIVE})) <= _IN_EXPORT


@each_line
@pytest.mark.parametrize("asked", [pair for pair in QUERIES if _tells_of_the_past(*pair)], ids=_ids)
def test_a_graph_has_an_answer_about_an_imported_past(
    servers: dict[str, Prometheus],
    past: tuple[float, float],
    line: str,
    asked: tuple[Query, Mapping[str, str]],
) -> None:
    """As Grafana would ask: in steps of no less than the panel wants, and for rates over a little more than that."""
    query, values = asked
    start, end = past
    step = max(query.min_step_seconds, 60)
    times = {
        "__rate_interval": f"{max(step + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS)}s",
        "__range": "1d",
        "__interval": f"{step}s",
    }
    begin = start - start % step
    series = servers[line].query_range(filled(query.expr, {**values, **times}), start=begin, end=end, step=step)

    assert series
    assert all(query.legend_labels(values) <= each.labels.keys() for each in series)
    steps = {when for each in series for when, _ in each.points}
    assert len(steps) > 0.9 * (end - start) / step, "hardly a gap"


@each_line
@pytest.mark.parametrize("asked", [pair for pair in QUERIES if pair[0].label not in ("", "proxy")], ids=_ids)
def test_a_variable_but_the_proxies_offers_what_there_was_in_an_imported_past(
    servers: dict[str, Prometheus],
    past: tuple[float, float],
    line: str,
    asked: tuple[Query, Mapping[str, str]],
) -> None:
    query, values = asked
    start, end = past
    matching = {"match[]": filled(query.expr, values)}
    assert servers[line].get(f"label/{query.label}/values", start=start, end=end, **matching)


@each_line
@pytest.mark.parametrize(
    ("alert", "account"),
    [
        ("CliproxyLimitReached", "kimi-emil"),
        ("CliproxyCredentialCoolsTooLong", "claude-ivan"),
        ("CliproxyLimitShrank", "codex-judy"),
    ],
)
def test_the_alert_about_an_account_in_trouble_can_fire_in_the_demo(
    servers: dict[str, Prometheus], line: str, alert: str, account: str
) -> None:
    groups = yaml.safe_load((ROOT / "prometheus/rules/alerts.yml").read_text())["groups"]
    (expr,) = [rule["expr"] for group in groups for rule in group["rules"] if rule.get("alert") == alert]

    wait_until(
        lambda: {sample.labels["credential"] for sample in servers[line].query(expr, time.time())},
        lambda accounts: account in accounts,
    )


@each_line
def test_promtool_accepts_every_expression(line: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"dashboards:query:{number}", "expr": filled(query.expr, {**values, **_LIVE})}
        for number, (query, values) in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))

    done = subprocess.run(
        [binaries_of(line).promtool, "check", "rules", file], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout


# --- figures ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Limit:
    """A made-up limit: what is used of it and where its window is, in hours from now."""

    name: str
    used: float
    start: float
    reset: float | None
    labels: Mapping[str, str]

    def __str__(self) -> str:
        return ",".join(f'{name}="{value}"' for name, value in ({"limit": self.name, **self.labels}).items())


_OWN = {"kind": "configured", "unit": "tokens", "window": "day"}
_LIMITS = (
    _Limit(
        "5h",
        0.6,
        -2,
        3,
        {"kind": "provider", "unit": "share", "window": "5h", "proxy": "office", "credential": "claude-main"},
    ),
    _Limit("day", 0.85, -20, 4, _OWN),
    _Limit("slow", 0.3, -12, 12, _OWN),
    _Limit("rolling", 0.97, -1, None, _OWN),
    _Limit("young", 0.5, -0.2, 23.8, _OWN),
    _Limit("spent", 1.2, -12, 12, _OWN),
)
_ALERTS = {
    'alertname="CliproxyLimitWarning",alertstate="firing",severity="warning",limit="day"',
    'alertname="CliproxyProxyDown",alertstate="pending",severity="critical"',
    'alertname="CliproxyWatchdog",alertstate="firing",severity="none"',
    'alertname="NodeDown",alertstate="firing",severity="critical"',
}

_COSTS = {
    'proxy="fork",provider="unknown",model="a",billing="unknown",period="today"': 20.0,
    'proxy="fork",provider="unknown",model="b",billing="unknown",period="today"': 1.5,
    'proxy="fork",provider="unknown",model="a",billing="unknown",period="month"': 40.0,
    'proxy="office",provider="claude",model="c",billing="metered",period="today"': 3.0,
}
"""What ``cliproxy_period_cost_usd`` says: a fork does not tell the billing."""


def _made_up(now: float) -> str:
    """An exposition of an hour, in which a provider emptied a window half an hour before its end."""
    times = range(int(now) - 3600, int(now) + 60, 15)
    lines = []

    def gauge(name: str, series: Mapping[str, float]) -> None:
        lines.append(f"# TYPE {name} gauge")
        lines.extend(f"{name}{{{labels}}} {value} {when}" for labels, value in series.items() for when in times)

    gauge("cliproxy_limit_used_ratio", {str(each): each.used for each in _LIMITS})
    gauge("cliproxy_limit_window_start_timestamp_seconds", {str(each): now + each.start * 3600 for each in _LIMITS})
    resets = {str(each): now + each.reset * 3600 for each in _LIMITS if each.reset is not None}
    gauge("cliproxy_limit_reset_timestamp_seconds", resets)
    thresholds = {"warning": 0.8, "critical": 0.95}
    gauge(
        "cliproxy_limit_threshold_ratio",
        {f'{each},severity="{name}"': value for each in _LIMITS for name, value in thresholds.items()},
    )
    gauge("ALERTS", dict.fromkeys(_ALERTS, 1))
    gauge("cliproxy_period_cost_usd", _COSTS)
    lines.append("# TYPE cliproxy_cost_usd counter")
    cost = 'proxy="fork",provider="unknown",model="a",credential="",client="x",basis="exact",billing="unknown"'
    lines.extend(f"cliproxy_cost_usd_total{{{cost}}} {(when - times[0]) / 600} {when}" for when in times)
    # Two exporters, of which one cannot reach Supabase.
    for name, (one, other) in {"backlog_records": (0, 70), "refused_records": (2, 0)}.items():
        gauge(f"cliproxy_exporter_history_{name}", {'instance="one"': one, 'instance="other"': other})
    states = {("one", "ok"): 1, ("one", "away"): 0, ("other", "ok"): 0, ("other", "away"): 1}
    gauge(
        "cliproxy_exporter_history_state",
        {f'instance="{instance}",state="{state}"': value for (instance, state), value in states.items()},
    )
    complete = {'instance="one"': now - 10, 'instance="other"': now - 900}
    gauge("cliproxy_exporter_history_last_success_timestamp_seconds", complete)
    lines.append("# TYPE cliproxy_exporter_history_errors counter")
    errors = "cliproxy_exporter_history_errors_total"
    lines.extend(f'{errors}{{instance="other",reason="unreachable"}} {when - times[0]} {when}' for when in times)
    lines.extend(f'{errors}{{instance="other",reason="no_grant"}} 3 {when}' for when in times)
    lines.append("# TYPE cliproxy_limit_early_resets counter")
    early = 'proxy="office",provider="claude",credential="claude-main",window="5h"'
    lines.extend(f"cliproxy_limit_early_resets_total{{{early}}} {int(when > now - 1800)} {when}" for when in times)
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module", params=VERSION_LINES)
def made_up(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Prometheus, float]]:
    """A server that holds the made-up limits, and the moment for which they are made."""
    workdir, tools, now = tmp_path_factory.mktemp("made-up"), binaries_of(request.param), time.time() // 15 * 15 - 600
    (workdir / "limits.om").write_text(_made_up(now))
    import_past(tools, workdir / "limits.om", workdir)
    with run_prometheus(tools, targets=[], workdir=workdir) as server:
        yield server, now


def _ask(made_up: tuple[Prometheus, float], where: str, **selected: str) -> list[Sample]:
    server, now = made_up
    (query, values), *_ = [pair for pair in QUERIES if pair[0].where == where]
    return server.query(filled(query.expr, {**values, **_LIVE, "__range": "1h", **selected}), now)


_TABLE = "cliproxy-limits: Limits, nearest to exhaustion first"


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        pytest.param(
            "A",
            {"5h": 0, "day": 1, "slow": 0, "rolling": 2, "young": 0, "spent": 2},
            id="State: fine, warning, critical",
        ),
        pytest.param("C", {"5h": 3, "day": 4, "slow": 12, "young": 23.8, "spent": 12}, id="Resets in"),
        pytest.param(
            "D",
            # In the time passed the used share went; the rest goes as fast.
            {"5h": 2 * 0.4 / 0.6, "day": 20 * 0.15 / 0.85, "spent": 0},
            id="Runs out in: only what does so before its reset",
        ),
        pytest.param(
            "E",
            {"5h": 0.6 / (2 / 5), "day": 0.85 / (20 / 24), "slow": 0.3 / (12 / 24), "spent": 1.2 / (12 / 24)},
            id="Pace: not of a rolling window, not of one that has just begun",
        ),
    ],
)
def test_the_figures_of_the_table_of_limits(
    made_up: tuple[Prometheus, float], ref: str, expected: dict[str, float]
) -> None:
    in_hours = 3600 if ref in "CD" else 1
    found = {each.labels["limit"]: each.value / in_hours for each in _ask(made_up, f"{_TABLE}: {ref}")}

    assert found == pytest.approx(expected)


def test_every_row_of_the_table_has_the_same_labels_so_that_its_columns_can_be_joined(
    made_up: tuple[Prometheus, float],
) -> None:
    rows = {frozenset(each.labels.items()) for each in _ask(made_up, f"{_TABLE}: B")}

    assert len(rows) == len(_LIMITS)
    for ref in "ACDE":
        assert {frozenset(each.labels.items()) for each in _ask(made_up, f"{_TABLE}: {ref}")} <= rows
    assert len({frozenset(dict(row)) for row in rows}) == 1
    assert {dict(row)["scope"] for row in rows} == {"all"}


@pytest.mark.parametrize(
    ("title", "count"),
    [
        pytest.param("Critical limits", 2),
        pytest.param("Limits with a warning", 1),
        pytest.param("Limits that run out before they reset", 3),
    ],
)
def test_how_many_limits_are_in_trouble(made_up: tuple[Prometheus, float], title: str, count: int) -> None:
    assert [each.value for each in _ask(made_up, f"cliproxy-limits: {title}: A")] == [count]


def test_with_another_proxy_selected_its_limits_and_those_of_all_proxies_are_shown(
    made_up: tuple[Prometheus, float],
) -> None:
    shown = {each.labels["limit"] for each in _ask(made_up, f"{_TABLE}: B", proxy="home")}

    assert shown == {each.name for each in _LIMITS} - {"5h"}


def test_of_the_alerts_only_ours_that_fire_are_shown(made_up: tuple[Prometheus, float]) -> None:
    (alert,) = _ask(made_up, "cliproxy-overview: Firing alerts, whatever is selected: A")

    assert (alert.labels["alertname"], alert.labels["severity"]) == ("CliproxyLimitWarning", "warning")
    assert alert.labels["of"].strip() == "day"


def test_an_early_reset_is_shown(made_up: tuple[Prometheus, float]) -> None:
    (row,) = _ask(made_up, "cliproxy-limits: Early resets: A")

    assert (row.labels["credential"], row.labels["window"]) == ("claude-main", "5h")
    assert row.value == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("ref", "dollars"), [("A", 21.5), ("B", 0), ("C", 40)], ids=["today", "yesterday", "month"])
def test_cost_of_unknown_billing_is_shown_where_there_is_some(
    made_up: tuple[Prometheus, float], ref: str, dollars: float
) -> None:
    assert [each.value for each in _ask(made_up, f"{_UNKNOWN}: {ref}")] == [dollars]
    assert _ask(made_up, f"{_UNKNOWN}: {ref}", proxy="office") == []


def test_the_forecast_of_the_month_goes_on_at_its_pace(made_up: tuple[Prometheus, float]) -> None:
    _, now = made_up
    moment = datetime.fromtimestamp(now, UTC)
    passed = max(moment.day - 1 + moment.hour / 24, 1)
    (end,) = _ask(made_up, f"{_UNKNOWN}: D")

    assert end.value == pytest.approx(40 * monthrange(moment.year, moment.month)[1] / passed)


def test_cost_of_unknown_billing_per_hour_is_shown(made_up: tuple[Prometheus, float]) -> None:
    (model,) = _ask(made_up, "cliproxy-overview: Unknown billing per hour, by $by: A", __rate_interval="5m")

    assert model.labels == {"model": "a"}
    assert model.value == pytest.approx(6)


def test_the_state_of_the_history_is_shown_and_whether_it_is_good(made_up: tuple[Prometheus, float]) -> None:
    states = {each.labels["state"]: each.value for each in _ask(made_up, "cliproxy-trust: History: A")}

    assert states == {"ok": 0, "away": 1}


@pytest.mark.parametrize(
    ("where", "value"),
    [
        pytest.param("Last complete: A", 900, id="of the exporter that is behind"),
        pytest.param("Records not in Supabase: A", 70, id="waiting"),
        pytest.param("Records not in Supabase: B", 2, id="refused"),
    ],
)
def test_the_figures_of_the_history(made_up: tuple[Prometheus, float], where: str, value: float) -> None:
    assert [each.value for each in _ask(made_up, f"cliproxy-trust: {where}")] == [value]


def test_failed_calls_to_supabase_are_shown_by_reason(made_up: tuple[Prometheus, float]) -> None:
    (failed,) = _ask(made_up, "cliproxy-trust: Failed calls to Supabase per hour: A")

    assert failed.labels == {"reason": "unreachable"}
    assert failed.value == pytest.approx(3600)
