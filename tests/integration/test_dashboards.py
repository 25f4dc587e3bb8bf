"""Every query of the dashboards runs on real Prometheus servers that hold the output of the real exporter.

The exporter runs the demo, with its limits and troubled accounts. The servers also import the export of another ledger
with a day of traffic, so they have both a present and an imported past.
"""

import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
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
    """Each query with everything selected; a query with a choice of grouping comes once for each choice."""
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
    "cliproxy-overview: Tokens per hour: E": "an imported past has no unclassified tokens",
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
"""Queries that rightly have no answer when all is well.

Their figures are tested in ``test_dashboard_limits.py`` and ``test_dashboard_figures.py``.
"""

SCRAPE_SECONDS = 10
"""The interval of the shipped configuration, from which Grafana derives $__rate_interval."""
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
    """The start and the end of the imported past; it ends well before the present begins."""
    end = time.time() - _HOUR
    return end - 26 * _HOUR, end


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory, past: tuple[float, float]) -> Iterator[dict[str, Prometheus]]:
    """Servers of all versions with a past, and with a present in which everything has happened at least once."""
    folder = tmp_path_factory.mktemp("dashboards")
    start, end = past
    book_past(folder / "past", requests=3000, ending=end, span_seconds=end - start)
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
        # More than a day ago, the limit that shrinks had its full size.
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
    """One of the queries without an answer yet, or an empty text. The next call tries this query first."""
    for place, (query, values) in enumerate(queries):
        if not _numbers(_answer(server, query, values)):
            queries.insert(0, queries.pop(place))
            return _ids((query, values))
    return ""


def _answer(server: Prometheus, query: Query, values: Mapping[str, str]) -> list[Sample] | list[Series]:
    """What a panel would show of the last minute."""
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
    # A scrape that fails on a busy machine removes all series until the next one.
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
    """Whether a query over time needs only what the export holds, or can do without the rest."""
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
    """Ask as Grafana does: with the panel's minimum step, and for rates over a little more than a step."""
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
def test_each_variable_except_the_proxy_offers_the_values_of_an_imported_past(
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
    groups = yaml.load((ROOT / "prometheus/rules/alerts.yml").read_text(), Loader=yaml.CSafeLoader)["groups"]
    (expr,) = [rule["expr"] for group in groups for rule in group["rules"] if rule.get("alert") == alert]

    wait_until(
        lambda: {sample.labels.get("credential") for sample in servers[line].query(expr, time.time())},
        lambda accounts: account in accounts,
    )


@each_line
def test_promtool_accepts_every_expression(line: str, tmp_path: Path) -> None:
    rules = [
        {"record": f"dashboards:query:{number}", "expr": filled(query.expr, {**values, **_LIVE})}
        for number, (query, values) in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))

    done = subprocess.run(
        [binaries_of(line).promtool, "check", "rules", file], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout
