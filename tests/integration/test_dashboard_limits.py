"""The dashboards' figures about limits, costs and the history, from made-up series on real Prometheus servers."""

import time
from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pytest

from tests.benches.dashboards import filled, load
from tests.benches.past import import_past
from tests.stack.monitoring import VERSION_LINES, Prometheus, Sample, binaries_of, run_prometheus

_TIMES = {"__rate_interval": "20s", "__range": "1h", "__interval": "5s"}
_HOUR = 3600.0
_UNKNOWN = "cliproxy-overview: Unknown billing, all accounts and clients"


@dataclass(frozen=True)
class _Limit:
    """A made-up limit: its used share, and where its window is, in hours from now."""

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
    _Limit("blown", 1.1, -0.2, 23.8, _OWN),
    _Limit("overrun", 1.5, -1, None, _OWN),
    _Limit("twice", 0.85, -18, 6, {**_OWN, "instance": "one"}),
    _Limit("twice", 0.9, -12, 12, {**_OWN, "instance": "other"}),
    _Limit("twice", 0.95, -6, 18, {**_OWN, "instance": "other", "site": "tokyo"}),
)
"""``twice`` is in the files of three exporters, so it has three windows. Two sites gave theirs the same instance."""
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
"""The samples of ``cliproxy_period_cost_usd``. A fork does not reveal the billing."""
_WEST = timezone(timedelta(hours=-11))
"""The exporter's zone, where a month begins and ends hours after that of UTC."""


def _month_of(now: float) -> datetime:
    """When the month began, in the exporter's zone."""
    return datetime.fromtimestamp(now, _WEST).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _made_up(now: float) -> str:
    """An hour of samples, in which a provider emptied a window half an hour before its end."""
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
    # Two sites whose exporters have the same instance; one site has no use in this month.
    began = {'period="month"': _month_of(now).timestamp(), 'site="tokyo",period="month"': now - 5 * 86400}
    gauge("cliproxy_period_start_timestamp_seconds", began)
    lines.append("# TYPE cliproxy_cost_usd counter")
    cost = 'proxy="fork",provider="unknown",model="a",credential="",client="x",basis="exact",billing="unknown"'
    lines.extend(f"cliproxy_cost_usd_total{{{cost}}} {(when - times[0]) / 600} {when}" for when in times)
    # Two exporters, one of which cannot reach Supabase.
    for name, (one, other) in {"backlog_records": (0, 70), "refused_records": (2, 0)}.items():
        gauge(f"cliproxy_exporter_history_{name}", {'instance="one"': one, 'instance="other"': other})
    states = {("one", "ok"): 1, ("one", "away"): 0, ("other", "ok"): 0, ("other", "away"): 1}
    gauge(
        "cliproxy_exporter_history_state",
        {f'instance="{instance}",state="{state}"': value for (instance, state), value in states.items()},
    )
    complete = {'instance="one"': now - 10, 'instance="other"': now - 900}
    lines.append("# TYPE cliproxy_exporter_history_last_success_timestamp_seconds gauge")
    lines.extend(
        f"cliproxy_exporter_history_last_success_timestamp_seconds{{{instance}}} {moment} {when}"
        for instance, moment in complete.items()
        for when in times
        if when >= now - 1800  # unknown before
    )
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
    """A server that holds the made-up limits, and the moment for which they are made up."""
    workdir, tools, now = tmp_path_factory.mktemp("made-up"), binaries_of(request.param), time.time() // 15 * 15 - 600
    (workdir / "limits.om").write_text(_made_up(now))
    import_past(tools, workdir / "limits.om", workdir)
    with run_prometheus(tools, targets=[], workdir=workdir) as server:
        yield server, now


def _ask(made_up: tuple[Prometheus, float], where: str, *, ago: float = 0, **selected: str) -> list[Sample]:
    server, now = made_up
    (found,) = ((each, query) for each in load() for query in each.queries if query.where == where)
    dashboard, query = found
    return server.query(filled(query.expr, {**dashboard.selections()[0], **_TIMES, **selected}), now - ago)


_TABLE = "cliproxy-limits: Limits, nearest to exhaustion first"


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        pytest.param(
            "A",
            {"5h": 0, "day": 1, "slow": 0, "rolling": 2, "young": 0, "spent": 2, "blown": 2, "overrun": 2},
            id="State: fine, warning, critical",
        ),
        pytest.param("C", {"5h": 3, "day": 4, "slow": 12, "young": 23.8, "spent": 12, "blown": 23.8}, id="Resets in"),
        pytest.param(
            "D",
            # The used share took the time that has passed; the rest goes at the same pace.
            {"5h": 2 * 0.4 / 0.6, "day": 20 * 0.15 / 0.85, "spent": 0, "blown": 0, "overrun": 0},
            id="Runs out in: only what does so before its reset, and what is used up",
        ),
        pytest.param(
            "E",
            {"5h": 0.6 / (2 / 5), "day": 0.85 / (20 / 24), "slow": 0.3 / (12 / 24), "spent": 1.2 / (12 / 24)},
            id="Pace: not of a rolling window, not of one that has just begun",
        ),
    ],
)
def test_the_figures_in_the_table_of_limits_are_right(
    made_up: tuple[Prometheus, float], ref: str, expected: dict[str, float]
) -> None:
    in_hours = 3600 if ref in "CD" else 1
    rows = [each for each in _ask(made_up, f"{_TABLE}: {ref}") if each.labels["limit"] != "twice"]
    found = {each.labels["limit"]: each.value / in_hours for each in rows}

    assert found == pytest.approx(expected)


def test_a_limit_in_the_files_of_several_exporters_has_a_row_for_each(made_up: tuple[Prometheus, float]) -> None:
    found = {
        ref: sorted(each.value for each in _ask(made_up, f"{_TABLE}: {ref}") if each.labels["limit"] == "twice")
        for ref in "ABC"
    }

    hours = pytest.approx([6 * _HOUR, 12 * _HOUR, 18 * _HOUR])
    assert found == {"A": [1, 1, 2], "B": [0.85, 0.9, 0.95], "C": hours}


def test_every_row_of_the_table_has_the_same_labels_so_that_its_columns_can_be_joined(
    made_up: tuple[Prometheus, float],
) -> None:
    rows = {frozenset(each.labels.items()) for each in _ask(made_up, f"{_TABLE}: B")}

    assert len(rows) == len(_LIMITS)
    for ref in "ACDE":
        assert {frozenset(each.labels.items()) for each in _ask(made_up, f"{_TABLE}: {ref}")} <= rows
    assert len({frozenset(dict(row)) - {"instance", "site"} for row in rows}) == 1
    assert {dict(row)["scope"] for row in rows} == {"all"}


@pytest.mark.parametrize(
    ("title", "count"),
    [
        pytest.param("Critical limits", 5),
        pytest.param("Limits with a warning", 3),
        pytest.param("Limits that run out before they reset", 8),
    ],
)
def test_the_number_of_limits_in_trouble_is_shown(made_up: tuple[Prometheus, float], title: str, count: int) -> None:
    assert [each.value for each in _ask(made_up, f"cliproxy-limits: {title}: A")] == [count]


def test_a_selected_proxy_shows_its_limits_and_those_of_all_proxies(
    made_up: tuple[Prometheus, float],
) -> None:
    shown = {each.labels["limit"] for each in _ask(made_up, f"{_TABLE}: B", proxy="home")}

    assert shown == {each.name for each in _LIMITS} - {"5h"}


def test_only_our_firing_alerts_are_shown(made_up: tuple[Prometheus, float]) -> None:
    (alert,) = _ask(made_up, "cliproxy-overview: Firing alerts, whatever is selected: A")

    assert (alert.labels["alertname"], alert.labels["severity"]) == ("CliproxyLimitWarning", "warning")
    assert alert.labels["of"].strip() == "day"


def test_an_early_reset_is_shown(made_up: tuple[Prometheus, float]) -> None:
    (row,) = _ask(made_up, "cliproxy-limits: Early resets: A")

    assert (row.labels["credential"], row.labels["window"]) == ("claude-main", "5h")
    assert row.value == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("ref", "dollars"), [("A", 21.5), ("B", 0), ("C", 40)], ids=["today", "yesterday", "month"])
def test_cost_of_unknown_billing_is_shown_where_it_exists(
    made_up: tuple[Prometheus, float], ref: str, dollars: float
) -> None:
    assert [each.value for each in _ask(made_up, f"{_UNKNOWN}: {ref}")] == [dollars]
    assert _ask(made_up, f"{_UNKNOWN}: {ref}", proxy="office") == []


def test_the_forecast_of_the_month_continues_at_its_pace(made_up: tuple[Prometheus, float]) -> None:
    _, now = made_up
    month = _month_of(now)
    passed = max((now - month.timestamp()) / 86400, 1)
    (end,) = _ask(made_up, f"{_UNKNOWN}: D")

    assert end.value == pytest.approx(40 * monthrange(month.year, month.month)[1] / passed)


def test_cost_of_unknown_billing_per_hour_is_shown(made_up: tuple[Prometheus, float]) -> None:
    (model,) = _ask(made_up, "cliproxy-overview: Unknown billing per hour, by $by: A", __rate_interval="5m")

    assert model.labels == {"model": "a"}
    assert model.value == pytest.approx(6)


def test_the_state_of_the_history_is_shown_with_its_verdict(made_up: tuple[Prometheus, float]) -> None:
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
def test_the_figures_of_the_history_are_right(made_up: tuple[Prometheus, float], where: str, value: float) -> None:
    assert [each.value for each in _ask(made_up, f"cliproxy-trust: {where}")] == [value]


def test_a_history_that_was_never_complete_is_told_from_one_that_is_not_set_up(
    made_up: tuple[Prometheus, float],
) -> None:
    where = "cliproxy-trust: Last complete: A"

    assert [each.value for each in _ask(made_up, where, ago=2400)] == [-1]
    assert _ask(made_up, where, ago=7200) == []


def test_failed_calls_to_supabase_are_shown_by_reason(made_up: tuple[Prometheus, float]) -> None:
    (failed,) = _ask(made_up, "cliproxy-trust: Failed calls to Supabase per hour: A")

    assert failed.labels == {"reason": "unreachable"}
    assert failed.value == pytest.approx(3600)
