"""The shipped rules: names in them exist, and each alert has its texts, page, row in the manual, and tests."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from exporter.history.state import STATES as HISTORY_STATES
from exporter.limits.model import LEAST_ELAPSED, LIMIT_LABELS, LimitWindow, Thresholds
from exporter.limits.notices import BACK_FOR_MS, EARLY_ELAPSED, EARLY_FOR_MS, EARLY_PACE, EARLY_USED, Kind, title_of
from exporter.sources.proxy_status import STATES
from tests.benches.checks import of_each
from tests.stack.pages.reference import FAMILIES

ROOT = Path(__file__).resolve().parents[3]
RUNBOOKS = ROOT / "docs" / "runbooks"
EXAMPLES = sorted((ROOT / "alertmanager" / "examples").glob("*.yml"))

Rule = dict[str, Any]


@cache
def _rules(folder: str = "rules") -> list[Rule]:
    files = sorted((ROOT / "prometheus" / folder).glob("*.yml"))
    contents = (yaml.load(file.read_text(), Loader=yaml.CSafeLoader) for file in files)
    return [rule for content in contents for group in content["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in _rules() if "alert" in rule}
RECORDED = {rule["record"]: rule for rule in _rules() if "record" in rule}
OPTIONAL = _rules("optional")

# The names of the variables, by uid.
_DASHBOARDS = {
    dashboard["uid"]: {variable["name"] for variable in dashboard["templating"]["list"]}
    for dashboard in (json.loads(file.read_text()) for file in (ROOT / "grafana/dashboards").glob("*.json"))
}

each_alert = of_each((name, name) for name in ALERTS)
each_runbook = of_each((page.stem, page) for page in sorted(RUNBOOKS.glob("*.md")))

# Series that Prometheus makes itself, and Alertmanager's own.
_OTHERS = {"up": {"job", "instance"}, "ALERTS": {"alertname"}, "alertmanager_notifications_failed_total": set()}
_SCRAPED = {"job", "instance"}
_STATES = {"cliproxy_proxy_state": STATES, "cliproxy_exporter_history_state": HISTORY_STATES}


def _known_labels() -> dict[str, set[str]]:
    """Label names by metric, for all metrics that a rule may name."""
    known = {name: set(labels) for name, labels in _OTHERS.items()}
    for family in FAMILIES:
        known[family.sample_name] = {*family.labels, *_SCRAPED}
        if family.kind == "histogram":
            known |= {f"{family.name}_{part}": {*family.labels, *_SCRAPED} for part in ("sum", "count")}
            known[f"{family.name}_bucket"] = {*family.labels, "le", *_SCRAPED}
    every = set().union(*known.values())
    return known | dict.fromkeys([*RECORDED, *(rule["record"] for rule in OPTIONAL)], every)


KNOWN = _known_labels()


def _nodes(node: Any) -> Iterator[Any]:
    """A parsed expression and all its parts."""
    yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector", "vs"):
        part = getattr(node, name, None)
        if part is not None:
            yield from _nodes(part)
    for argument in getattr(node, "args", None) or ():
        yield from _nodes(argument)


def _problems(expr: str) -> list[str]:
    """Metrics and labels in matchers that do not exist, and states that do not exist."""
    found = []
    selectors = [node for node in _nodes(promql_parser.parse(expr)) if isinstance(node, promql_parser.VectorSelector)]
    for selector in selectors:
        if selector.name not in KNOWN:
            found.append(f"no metric {selector.name}")
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in KNOWN[selector.name]:
                found.append(f"{selector.name} has no label {matcher.name}")
            if matcher.name == "state" and selector.name in _STATES:
                states = _STATES[selector.name]
                found += [f"no state {state}" for state in matcher.value.split("|") if state not in states]
    return found


def _queries_in(template: str) -> list[str]:
    """The expressions in a text, with a value in place of each placeholder."""
    asked = re.findall(r'printf "((?:[^"\\]|\\.)*)"[^|}]*\| query', re.sub(r"\s+", " ", template))
    return [
        re.sub(r"%s(?=\W|$)", "{job='x'}", expr.replace("%q", "'x'").replace('\\"', "'").replace("%%", "%"))
        for expr in asked
    ]


# --- names ------------------------------------------------------------------------------------------------------------


@of_each((rule.get("alert") or rule["record"], rule) for rule in (*_rules(), *OPTIONAL))
def test_a_rule_names_metrics_and_labels_that_exist(rule: Rule) -> None:
    assert _problems(rule["expr"]) == []


@each_alert
def test_the_texts_of_an_alert_use_existing_names(name: str) -> None:
    text = " ".join(ALERTS[name]["annotations"].values())
    asked = _queries_in(text)

    assert len(asked) == text.count("| query"), "this test finds them all"
    assert [problem for expr in asked for problem in _problems(expr)] == []


@pytest.mark.parametrize("name", ["cliproxy_up", "cliproxy_requests_total", "cliproxy_request_duration_seconds"])
def test_a_rule_excludes_series_of_other_exporters_with_the_same_name(name: str) -> None:
    for rule in (*_rules(), *OPTIONAL):
        for matchers in re.findall(rf"\b{name}\b(?:_\w+)?({{[^}}]*}})?", rule["expr"]):
            assert 'proxy!=""' in matchers


def test_a_name_that_does_not_exist_is_noticed() -> None:
    assert _problems("rate(cliproxy_requsts_total[5m]) > 0") == ["no metric cliproxy_requsts_total"]
    assert _problems('sum(cliproxy_up{model="x"})') == ["cliproxy_up has no label model"]
    assert _problems('cliproxy_proxy_state{state=~"ok|well"}') == ["no state well"]
    assert _problems('cliproxy_exporter_history_state{state="banned"}') == ["no state banned"]
    assert _queries_in('{{ with printf "cliproxy_up{proxy=%q}" $labels.proxy | query }}') == ["cliproxy_up{proxy='x'}"]


@each_runbook
def test_a_runbook_uses_existing_names(page: Path) -> None:
    queries = re.findall(r"^```promql\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)

    assert queries, "a page shows what to look at"
    assert [problem for query in queries for problem in _problems(query)] == []


def test_alerts_and_notices_about_limits_have_the_same_numbers_and_times() -> None:
    reached, early = ALERTS["CliproxyLimitReached"], ALERTS["CliproxyLimitRunsOutEarly"]
    pace = RECORDED["limit:cliproxy_limit_pace:ratio"]["expr"]

    assert pace.endswith(f"(limit:cliproxy_limit_elapsed:ratio >= {LEAST_ELAPSED})")
    assert early["expr"].split("\n")[:3] == [
        f"limit:cliproxy_limit_pace:ratio > {EARLY_PACE}",
        f"and limit:cliproxy_limit_elapsed:ratio >= {EARLY_ELAPSED}",
        f"and (cliproxy_limit_used_ratio >= {EARLY_USED} < 1)",
    ]
    assert early["for"] == f"{EARLY_FOR_MS // 60_000}m"
    assert reached["keep_firing_for"] == early["keep_firing_for"] == f"{BACK_FOR_MS // 60_000}m"
    assert "for" not in reached


@pytest.mark.parametrize("name", ["CliproxyLimitReached", "CliproxyLimitRunsOutEarly"])
def test_a_notice_about_a_limit_has_the_summary_of_its_alert(name: str) -> None:
    documents = [yaml.load(path.read_text(), yaml.CSafeLoader) for path in (ROOT / "prometheus/tests").glob("*.yml")]
    expected = [case for each in documents for test in each["tests"] for case in test.get("alert_rule_test", ())]
    alerts = [alert for case in expected if case["alertname"] == name for alert in case.get("exp_alerts") or ()]

    assert alerts
    for alert in alerts:
        labels = {label: alert["exp_labels"].get(label, "") for label in LIMIT_LABELS}
        # A limit in Supabase always has a name. No label holds it, so the alert has this in its place.
        in_place = "Limit {limit} ({provider}, {window})".format_map(labels) if labels["limit"].isdigit() else ""
        window = LimitWindow(**labels, used_ratio=0.5, thresholds=Thresholds(), observed_ms=0, name=in_place)
        kind = Kind.WARNING if name == "CliproxyLimitReached" else Kind.EARLY
        assert title_of(kind, window) == re.sub(r"[\d.]+%", "50%", alert["exp_annotations"]["summary"])


def test_alerts_mention_exactly_the_states_that_keep_the_exporter_out() -> None:
    down = ALERTS["CliproxyProxyDown"]["expr"]
    (left_out,) = re.findall(r'state=~"([^"]+)"', down)
    (refused,) = re.findall(r'state=~"([^"]+)"', ALERTS["CliproxyKeyRefused"]["expr"])
    (stalled,) = re.findall(r'state=~"([^"]+)"', ALERTS["CliproxyExporterStalled"]["expr"])

    assert set(left_out.split("|")) == {*refused.split("|"), *stalled.split("|")}, "told by another alert"


@of_each((name, name) for name in RECORDED)
def test_a_recorded_series_is_named_by_level_metric_and_operation(name: str) -> None:
    level, metric, operation = name.split(":")
    labels = {"proxy", "provider", "model", "credential", "client", "billing"}

    assert metric.startswith("cliproxy_")
    assert operation
    assert level == "limit" or set(level.split("_")) <= labels


def test_ranges_are_at_least_four_scrapes_long() -> None:
    for rule in (*ALERTS.values(), *RECORDED.values()):
        for number, unit in re.findall(r"\[(\d+)([smhd])\]", rule["expr"]):
            seconds = int(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
            assert seconds >= 4 * 15, rule


# --- alerts -----------------------------------------------------------------------------------------------------------


@each_alert
def test_an_alert_has_a_severity_and_all_its_texts(name: str) -> None:
    alert = ALERTS[name]

    assert re.fullmatch(r"Cliproxy[A-Z][A-Za-z]+", name)
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url", "dashboard_url"}
    # The one generic rule takes its severity from the threshold.
    assert (alert.get("labels", {}).get("severity") is None) == (name == "CliproxyLimitReached")
    assert alert.get("labels", {"severity": "none"})["severity"] in {"critical", "warning", "info", "none"}
    assert alert["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{name}.md")


@each_alert
def test_an_alert_leads_to_a_dashboard_that_exists(name: str) -> None:
    url = ALERTS[name]["annotations"]["dashboard_url"]
    base, _, rest = url.partition(" }}/d/")
    found = re.match(r"([\w-]+)\?from=now-\d+h&to=now", rest)

    assert base == "{{ or $externalLabels.grafana_url `http://localhost:3000`"
    assert found
    assert set(re.findall(r"&var-(\w+)=", url)) <= _DASHBOARDS[found[1]]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == ALERTS.keys()


@each_runbook
def test_a_page_has_its_four_parts(page: Path) -> None:
    headings = re.findall(r"^(#+ .*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), flags=re.MULTILINE)

    assert headings == [f"# {page.stem}", "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]


@each_runbook
def test_a_page_leads_to_headings_that_exist(page: Path) -> None:
    for name, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text())):
        target = page.parent / name
        headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, f"{name}#{anchor}"


def test_the_manual_lists_every_alert_with_its_severity() -> None:
    text = (ROOT / "docs" / "alerting.md").read_text()
    rows = re.findall(r"^\| \[`(\w+)`\]\(runbooks/(\w+)\.md\) \| ([\w' ]+) \|", text, flags=re.MULTILINE)

    expected = {name: rule.get("labels", {}).get("severity", "the threshold's") for name, rule in ALERTS.items()}
    assert {name: severity for name, _page, severity in rows} == expected
    assert all(name == page for name, page, _severity in rows)


# --- tests of alerts --------------------------------------------------------------------------------------------------


@cache
def _expectations() -> dict[str, list[tuple[str, bool]]]:
    """Each moment at which a test looks at an alert, and whether the alert fires then."""
    found: dict[str, list[tuple[str, bool]]] = {name: [] for name in ALERTS}
    for file in (ROOT / "prometheus" / "tests").glob("*.test.yml"):
        for test in yaml.safe_load(file.read_text())["tests"]:
            for look in test.get("alert_rule_test", ()):
                found[look["alertname"]].append(("texts", bool(look["exp_alerts"])))
            for look in test.get("promql_expr_test", ()):
                for name in re.findall(r'ALERTS\{alertname="(\w+)"', look["expr"]):
                    found[name].append(("state", bool(look["exp_samples"])))
    return found


@each_alert
def test_an_alert_is_tested_with_its_texts_firing_and_not_firing(name: str) -> None:
    looks = _expectations()[name]

    assert ("texts", True) in looks, "exact labels and texts"
    assert any(not fires for _kind, fires in looks) or name == "CliproxyWatchdog", "a moment at which it does not fire"


def test_every_recorded_series_is_tested() -> None:
    text = "".join(file.read_text() for file in (ROOT / "prometheus" / "tests").glob("*.test.yml"))

    assert {name for name in [*RECORDED, *(rule["record"] for rule in OPTIONAL)] if name not in text} == set()


# --- Alertmanager -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_differs_from_the_default_only_in_its_receiver(example: Path) -> None:
    default = yaml.safe_load((ROOT / "alertmanager" / "alertmanager.yml").read_text())
    config = yaml.safe_load(example.read_text())
    nobody, notify = config.pop("receivers")
    assert default.pop("receivers") == [{"name": "nobody"}, {"name": "notify"}]
    config.pop("global", None)

    assert config == default
    assert (nobody, notify["name"], len(notify)) == ({"name": "nobody"}, "notify", 2)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_names_its_secret_files_and_holds_no_secret(example: Path) -> None:
    text = example.read_text()
    named = set(re.findall(r"^#   alertmanager/secrets/([\w-]+)", text, flags=re.MULTILINE))
    used = set(re.findall(r"_file: /etc/alertmanager/secrets/([\w-]+)$", text, flags=re.MULTILINE))
    manual = (ROOT / "docs" / "alerting.md").read_text()
    (row,) = re.findall(rf"^\| `{example.name}` \| (.*?) \|", manual, flags=re.MULTILINE)

    assert used
    assert named == used == set(re.findall(r"`([\w-]+)`", row))


def test_inhibition_and_routes_name_alerts_that_exist() -> None:
    text = (ROOT / "alertmanager" / "alertmanager.yml").read_text()

    assert {name for name in re.findall(r"Cliproxy[A-Z]\w*\w", text) if name != "CliproxyLimit"} <= ALERTS.keys()
