"""The dashboards' files: written by their generator, accepted by Grafana's types, and true to our metrics."""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from itertools import combinations, product
from pathlib import Path
from typing import Any

import jsonschema
import promql_parser
import pytest
import yaml

from exporter.limits import model
from grafana.generator import queries
from tests.benches.checks import of_each
from tests.benches.dashboards import BUILT_IN, FILES, ROOT, Dashboard, Query, filled, load, selectors, variables_in
from tests.stack.pages.reference import FAMILIES

SCHEMA = ROOT / "tests" / "fixtures" / "grafana" / "schema-13.2.3.json.gz"
DASHBOARDS = load()
QUERIES = [query for dashboard in DASHBOARDS for query in dashboard.queries]

each_dashboard = of_each((dashboard.uid, dashboard) for dashboard in DASHBOARDS)
each_query = of_each((query.where, query) for query in QUERIES)
each_panel = of_each(
    (f"{dashboard.uid}: {panel['title']}", panel) for dashboard in DASHBOARDS for panel in dashboard.panels
)

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE_INTERVAL, RANGE = timedelta(seconds=77), timedelta(seconds=5555)
_TIMES = {"__rate_interval": "77s", "__range": "5555s", "__interval": "33s"}


def _filled(query: Query) -> Iterator[str]:
    """The expression with everything selected, for each choice of a custom variable."""
    (dashboard,) = (each for each in DASHBOARDS if query.where.startswith(f"{each.uid}:"))
    for values in dashboard.selections():
        yield filled(query.expr, {**values, **_TIMES})


# --- the files --------------------------------------------------------------------------------------------------------


def test_the_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    # In a separate process: when imported, the SDK warns of a newer form of dashboards that Grafana 12 does not read.
    subprocess.run([sys.executable, "-m", "grafana.generator", str(tmp_path)], cwd=ROOT, check=True)

    assert [path.name for path in FILES] == sorted(path.name for path in tmp_path.iterdir())
    stale = [path.name for path in FILES if (tmp_path / path.name).read_bytes() != path.read_bytes()]
    assert stale == [], "run make dashboards"


@cache
def _types() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(gzip.decompress(SCHEMA.read_bytes()))
    return schema


def _findings(schema: dict[str, Any], name: str, value: object) -> list[str]:
    definitions = schema["definitions"]
    validator = jsonschema.Draft7Validator({**definitions["Root"]["properties"][name], "definitions": definitions})
    return [f"{name} {error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def _document_without_what_only_the_data_source_knows(dashboard: Dashboard) -> dict[str, Any]:
    """The annotations' fields belong to the Prometheus data source, which Grafana's core types do not know."""
    document: dict[str, Any] = json.loads(json.dumps(dashboard.document))
    for annotation in document["annotations"]["list"]:
        for name in ("expr", "step", "titleFormat", "textFormat"):
            annotation.pop(name, None)
    return document


@each_dashboard
def test_grafana_knows_every_field_of_it(dashboard: Dashboard) -> None:
    schema = _types()
    findings = _findings(schema, "dashboard", _document_without_what_only_the_data_source_knows(dashboard))
    for panel in dashboard.panels:
        assert f"{panel['type']}_options" in schema["definitions"]["Root"]["properties"], "a panel without a type"
        findings += _findings(schema, f"{panel['type']}_options", panel["options"])
        if custom := panel["fieldConfig"]["defaults"].get("custom"):
            findings += _findings(schema, f"{panel['type']}_custom", custom)

    assert findings == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("dashboard", {"schemaVersion": 42, "refrsh": "30s"}, id="a misspelt property"),
        pytest.param("stat_options", {"colorMode": "backgrund"}, id="a misspelt choice"),
        pytest.param("timeseries_custom", {"lineWidth": "2"}, id="a text in place of a number"),
    ],
)
def test_the_schema_finds(name: str, value: dict[str, Any]) -> None:
    key = next(iter(set(value) - {"schemaVersion"}))
    assert any(key in finding for finding in _findings(_types(), name, value))


# --- the dashboard as a whole -----------------------------------------------------------------------------------------


def test_each_dashboard_has_its_own_uid_and_its_file_is_named_after_it() -> None:
    assert [dashboard.path.stem for dashboard in DASHBOARDS] == [dashboard.uid for dashboard in DASHBOARDS]
    assert {"cliproxy-overview", "cliproxy-limits", "cliproxy-accounts", "cliproxy-trust"} == {
        dashboard.uid for dashboard in DASHBOARDS
    }


@each_dashboard
def test_panels_are_numbered_consecutively(dashboard: Dashboard) -> None:
    assert dashboard.ids == list(range(1, len(dashboard.ids) + 1))


def _overlap(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two stretches, each a start and a length, overlap."""
    return first[0] < sum(second) and second[0] < sum(first)


@each_dashboard
def test_no_panel_covers_another_or_leaves_the_grid(dashboard: Dashboard) -> None:
    places = {panel["title"]: panel["gridPos"] for panel in dashboard.document["panels"]}

    assert len(places) == len(dashboard.document["panels"]), "each title once"
    assert [title for title, place in places.items() if place["x"] + place["w"] > 24] == []
    overlaps = [
        (first, second)
        for (first, a), (second, b) in combinations(places.items(), 2)
        if _overlap((a["x"], a["w"]), (b["x"], b["w"])) and _overlap((a["y"], a["h"]), (b["y"], b["h"]))
    ]
    assert overlaps == []


@each_dashboard
def test_it_cannot_be_edited_and_refreshes_itself(dashboard: Dashboard) -> None:
    assert dashboard.document["editable"] is False
    assert dashboard.document["refresh"] == "30s"
    assert dashboard.document["description"]


@each_dashboard
def test_the_data_source_is_chosen_first_and_then_one_many_or_all_of_each_kind(dashboard: Dashboard) -> None:
    names = [variable["name"] for variable in dashboard.variables]

    assert names[:6] == ["datasource", "proxy", "provider", "model", "credential", "client"]
    assert dashboard.variables[0]["type"] == "datasource"
    for variable in dashboard.variables[1:6]:
        everything = ".+" if variable["name"] == "proxy" else ".*"
        assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, everything)
        assert variable["current"]["value"] == "$__all"
        assert variable["datasource"] == SOURCE


@each_dashboard
def test_its_links_lead_to_our_dashboards_and_keep_selection_and_time(dashboard: Dashboard) -> None:
    targets = {f"/d/{each.uid}" for each in DASHBOARDS} - {f"/d/{dashboard.uid}"}

    assert {link["url"] for link in dashboard.document["links"]} == targets
    assert all(link["includeVars"] and link["keepTime"] for link in dashboard.document["links"])


def _links_of_cells(panel: dict[str, Any]) -> Iterator[str]:
    for override in panel["fieldConfig"]["overrides"]:
        for found in override["properties"]:
            if found["id"] == "links":
                yield from (link["url"] for link in found["value"])


@each_dashboard
def test_a_cell_leads_to_one_of_our_dashboards_with_a_selection_that_it_has(dashboard: Dashboard) -> None:
    variables = {each.uid: {variable["name"] for variable in each.variables} for each in DASHBOARDS}
    for url in (url for panel in dashboard.panels for url in _links_of_cells(panel)):
        path, _, query = url.partition("?")
        assert {"${datasource:queryparam}", "${proxy:queryparam}", "${__url_time_range}"} <= set(query.split("&"))
        (selected,) = re.findall(r"&var-(\w+)=\$\{__value\.text:percentencode\}", query)
        assert selected in variables[path.removeprefix("/d/")]


@each_panel
def test_a_name_in_a_table_of_accounts_models_or_clients_can_be_clicked(panel: dict[str, Any]) -> None:
    columns = {
        title: name
        for each in panel.get("transformations", ())
        for name, title in each["options"].get("renameByName", {}).items()
    }
    if panel["type"] != "table" or panel["title"] not in {"Accounts", "Models", "Clients"}:
        return
    label = columns[panel["title"][:-1]]
    assert [url for url in _links_of_cells(panel) if f"&var-{label}=" in url]


@each_dashboard
def test_firing_alerts_are_marked_in_its_graphs(dashboard: Dashboard) -> None:
    (annotation,) = dashboard.document["annotations"]["list"]

    assert annotation["enable"]
    assert annotation["datasource"] == SOURCE
    assert 'ALERTS{alertstate="firing"' in annotation["expr"]


@each_dashboard
def test_every_variable_is_defined_and_used(dashboard: Dashboard) -> None:
    used = variables_in(json.dumps(dashboard.document))
    defined = {variable["name"] for variable in dashboard.variables}

    assert used - defined - {*BUILT_IN, "__all"} == set()
    assert defined - used == set()


# --- panels -----------------------------------------------------------------------------------------------------------


@each_panel
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == SOURCE
    assert [target["datasource"] for target in panel["targets"]] == [SOURCE] * len(panel["targets"])
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@each_panel
def test_a_figure_that_ignores_the_selected_accounts_or_clients_says_so_in_its_title(
    panel: dict[str, Any],
) -> None:
    asked = {name for target in panel["targets"] for name in re.findall(r"cliproxy_\w+", target["expr"])}
    for labels in (_LABELS[name] for name in asked if name in _LABELS):
        if not {"proxy", "provider", "model"} <= labels:
            continue  # not a figure of use
        ignored = {label for label in ("credential", "client") if label not in labels}
        assert all({"credential": "accounts", "client": "clients"}[label] in panel["title"] for label in ignored)


@each_panel
def test_a_name_has_one_color_in_all_graphs(panel: dict[str, Any]) -> None:
    if panel["type"] == "timeseries":
        assert panel["fieldConfig"]["defaults"]["color"]["mode"] == "palette-classic-by-name"


@each_panel
def test_a_graph_of_limits_shows_their_thresholds(panel: dict[str, Any]) -> None:
    asked = " ".join(target["expr"] for target in panel["targets"])
    if panel["type"] != "timeseries" or "limit_used_ratio" not in asked:
        return
    lines = re.findall(r'cliproxy_limit_threshold_ratio{[^}]*severity="(\w+)"', asked)
    assert lines == ["warning", "critical"]


@each_panel
def test_a_big_number_with_a_verdict_has_a_color_for_each(panel: dict[str, Any]) -> None:
    an_amount = panel["fieldConfig"]["defaults"]["unit"] == "currencyUSD" or panel["title"] in {"Requests", "Tokens"}
    if panel["type"] != "stat" or an_amount:
        return
    assert len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1


@each_panel
def test_an_override_is_for_an_existing_column_or_line(panel: dict[str, Any]) -> None:
    renamed = {
        title
        for transformation in panel.get("transformations", ())
        for title in transformation["options"].get("renameByName", {}).values()
    }
    names = renamed | {target["legendFormat"] for target in panel["targets"]}
    wanted = {
        override["matcher"]["options"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["id"] == "byName"
    }

    assert wanted - names == set()


# --- queries ----------------------------------------------------------------------------------------------------------

_FAMILIES = {family.sample_name: family for family in FAMILIES}
_COUNTERS = {name for name, family in _FAMILIES.items() if family.kind == "counter"}
_LABELS = {name: {*family.labels} for name, family in _FAMILIES.items() if family.kind != "histogram"}
for _family in FAMILIES:
    if _family.kind == "histogram":
        _LABELS |= {f"{_family.name}_{part}": {*_family.labels} for part in ("count", "sum")}
        _LABELS[f"{_family.name}_bucket"] = {*_family.labels, "le"}
        _COUNTERS |= {f"{_family.name}_{part}" for part in ("bucket", "count", "sum")}
_OF_PROMETHEUS = {"ALERTS", "up"}
_IN_NO_PANEL = {
    "cliproxy_period_requests": "the page and the API show them; panels count requests of the time range",
    "cliproxy_period_tokens": "the same of tokens",
    "cliproxy_reasoning_tokens": "a subset of the output tokens, for own queries",
}
"""Each family that no dashboard shows, with the reason."""


def test_every_family_is_in_a_panel_or_has_a_reason_not_to_be() -> None:
    asked = {
        selector.name
        for query in QUERIES
        if query.kind in ("instant", "range")
        for expr in _filled(query)
        for selector, _ in selectors(expr)
    }
    shown = {family.name for family in FAMILIES if asked & {family.sample_name, f"{family.name}_bucket"}}

    assert {family.name for family in FAMILIES} - shown == _IN_NO_PANEL.keys()


def test_the_books_are_those_that_the_exporter_keeps() -> None:
    """As the help of the pending records describes it."""
    (pending,) = (family for family in FAMILIES if family.name == "cliproxy_exporter_records_pending")
    came, _, went = re.search(r"(received .*) (=) (.* pending)", pending.help).groups()  # type: ignore[union-attr]
    (books,) = (query.expr for query in QUERIES if query.where == "cliproxy-trust: Books: A")
    signs = re.findall(r"(?:^|([+-]) )sum\(cliproxy_exporter_records_(\w+?)(?:_total)?{", books)

    assert [name for sign, name in signs if sign != "-"] == came.split(" + ")
    assert [name for sign, name in signs if sign == "-"] == went.split(" + ")


def test_limits_have_the_labels_paces_and_colors_that_the_exporter_gives_them() -> None:
    colored = re.findall(
        r'"steps":(\[.*?\])', "".join(json.dumps(each.document, separators=(",", ":")) for each in DASHBOARDS)
    )
    steps = {tuple(step["value"] for step in json.loads(each)[-2:]) for each in colored}
    default = model.Thresholds()
    assert {each for each in steps if each[0] == default.warning} == {(default.warning, default.critical)}
    assert (queries.LEAST_ELAPSED, queries.LIMIT_LABELS) == (model.LEAST_ELAPSED, model.LIMIT_LABELS)


@each_query
def test_a_query_asks_for_metrics_and_labels_that_the_exporter_has(query: Query) -> None:
    for expr in _filled(query):
        for selector, _ in selectors(expr):
            assert selector.name in _LABELS.keys() | _OF_PROMETHEUS
            if selector.name in _LABELS:
                assert {matcher.name for matcher in selector.matchers.matchers} <= _LABELS[selector.name]


_OTHERS_HAVE = {"cliproxy_up", "cliproxy_requests_total", "cliproxy_request_duration_seconds"}
"""Names that a plugin in the proxy uses too, without our label ``proxy``."""


@each_query
def test_a_query_excludes_series_of_other_exporters_with_the_same_name(query: Query) -> None:
    for expr in _filled(query):
        for selector, _ in selectors(expr):
            if (selector.name or "").removesuffix("_bucket") in _OTHERS_HAVE:
                matchers = [each for each in selector.matchers.matchers if each.name == "proxy"]
                with_one = [(promql_parser.MatchOp.Re, ".+")], [(promql_parser.MatchOp.NotEqual, "")]
                assert [(each.op, each.value) for each in matchers] in with_one


@each_query
def test_a_query_groups_by_labels_that_its_metrics_have(query: Query) -> None:
    for expr in _filled(query):
        for selector, around in selectors(expr):
            made = set(re.findall(r'label_(?:replace|join)\([^"]*"(\w+)"', expr))
            for node in around:
                if isinstance(node, promql_parser.AggregateExpr) and node.modifier and selector.name in _LABELS:
                    grouped = set(node.modifier.labels)
                    severity = {"severity"} if "threshold_ratio" in expr else set()
                    without = {"job", "bound"} if node.modifier.type == promql_parser.AggModifierType.Without else set()
                    assert grouped <= _LABELS[selector.name] | made | severity | without


@each_query
def test_a_query_takes_the_rate_of_a_counter_over_grafanas_interval(query: Query) -> None:
    if query.kind == "variable":  # lists label values, not numbers
        return
    if query.where == "cliproxy-trust: Books: A":  # these show one moment, and need no past
        assert query.kind == "instant"
        return
    for expr in _filled(query):
        for selector, around in selectors(expr):
            calls = [node.func.name for node in around if isinstance(node, promql_parser.Call)]
            ranges = [node.range for node in around if isinstance(node, promql_parser.MatrixSelector)]
            if selector.name in _COUNTERS:
                assert calls[-1] in {"rate", "increase"}
                assert ranges == [RATE_INTERVAL if calls[-1] == "rate" else RANGE]
            else:
                assert not {"rate", "increase"} & set(calls), "a gauge has no rate"


@each_query
def test_money_spent_and_the_value_of_subscriptions_are_never_added_up(query: Query) -> None:
    for expr in _filled(query):
        for selector, around in selectors(expr):
            if "billing" not in _LABELS.get(selector.name or "", set()):
                continue
            chosen = {matcher.value for matcher in selector.matchers.matchers if matcher.name == "billing"}
            kept = [
                "billing" in node.modifier.labels
                for node in around
                if isinstance(node, promql_parser.AggregateExpr) and node.modifier
            ]
            assert chosen <= {"metered", "subscription", "unknown"}
            assert len(chosen) == 1 or (kept and all(kept))


@each_query
def test_a_limit_of_all_or_several_proxies_stays_visible_when_one_is_selected(query: Query) -> None:
    (dashboard,) = (each for each in DASHBOARDS if query.where.startswith(f"{each.uid}:"))
    one = {**dashboard.selections()[0], "proxy": "home", "provider": "claude", "credential": "claude-main", **_TIMES}
    of_limits = [
        selector
        for selector, _ in selectors(filled(query.expr, one))
        if (selector.name or "").startswith("cliproxy_limit_")
    ]
    for selector, label in product(of_limits, ("proxy", "provider", "credential")):
        (pattern,) = [matcher.value for matcher in selector.matchers.matchers if matcher.name == label]
        chosen = one[label]
        assert re.fullmatch(pattern, "")
        assert re.fullmatch(pattern, chosen)
        assert not re.fullmatch(pattern, f"{chosen}-2")
        if label != "provider":  # this takes no glob
            assert re.fullmatch(pattern, "cl*-[ab]?")


# --- provisioning -----------------------------------------------------------------------------------------------------


def test_the_provisioned_data_source_is_the_default() -> None:
    document = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    (source,) = document["datasources"]

    assert (source["uid"], source["type"], source["url"]) == ("prometheus", "prometheus", "http://prometheus:9090")
    assert source["isDefault"] is True


def test_the_provisioned_data_source_knows_how_often_the_exporter_is_scraped() -> None:
    source = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    prometheus = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    (job,) = (job for job in prometheus["scrape_configs"] if job["job_name"] == "cliproxy-exporter")

    assert source["datasources"][0]["jsonData"]["timeInterval"] == job["scrape_interval"]


def test_provisioned_dashboards_come_from_their_files_only() -> None:
    document = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/cliproxy.yml").read_text(encoding="utf-8"))
    (provider,) = document["providers"]

    assert (provider["type"], provider["options"]["path"]) == ("file", "/var/lib/grafana/dashboards")
    assert provider["allowUiUpdates"] is False


# --- links from elsewhere ---------------------------------------------------------------------------------------------


def test_every_alert_leads_to_a_dashboard_and_selects_by_variables_that_it_has() -> None:
    document = yaml.safe_load((ROOT / "prometheus/rules/alerts.yml").read_text(encoding="utf-8"))
    urls = [
        rule["annotations"]["dashboard_url"]
        for group in document["groups"]
        for rule in group["rules"]
        if "dashboard_url" in rule.get("annotations", {})
    ]
    variables = {each.uid: {variable["name"] for variable in each.variables} for each in DASHBOARDS}

    assert urls
    for url in urls:
        (uid,) = re.findall(r"/d/([\w-]+)", url)
        assert set(re.findall(r"[?&]var-(\w+)=", url)) <= variables[uid], url
