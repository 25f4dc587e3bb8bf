"""Panels, queries and variables in the form that all our dashboards share."""

from collections.abc import Mapping
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.generator.queries import FIRING

SOURCE = shapes.DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, YELLOW, ORANGE, RED, TEXT = "green", "yellow", "orange", "red", "text"
TAG = "cliproxy-exporter"
DASHBOARDS = (
    ("Overview", "cliproxy-overview"),
    ("Limits", "cliproxy-limits"),
    ("Accounts", "cliproxy-accounts"),
    ("Can I trust it?", "cliproxy-trust"),
)
"""Title and uid of each dashboard; each leads to the others."""

Steps = tuple[tuple[float | None, str], ...]
"""From which value on which color; the first has no value."""
NEUTRAL: Steps = ((None, TEXT),)
USED_STEPS: Steps = ((None, GREEN), (0.8, ORANGE), (0.95, RED))
"""The thresholds of a limit that names none."""


# --- queries ----------------------------------------------------------------------------------------------------------


def over_time(expr: str, legend: str, ref: str = "A") -> prometheus.Dataquery:
    """A query for a graph."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref).datasource(SOURCE).range()


def now(expr: str, legend: str, ref: str = "A") -> prometheus.Dataquery:
    """A query for one value of each series, at the end of the time range."""
    return prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref).datasource(SOURCE).instant()


def rows(expr: str, ref: str = "A") -> prometheus.Dataquery:
    """A query for a table: a row for each series."""
    return now(expr, "__auto", ref).format(PromQueryFormat.TABLE)


# --- panels -----------------------------------------------------------------------------------------------------------


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Absolute thresholds."""
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


def big_number(title: str, description: str, *, unit: str, steps: Steps = NEUTRAL) -> stat.Panel:
    """The last value of each query, large; the color says whether it is good."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .thresholds(thresholds(steps))
        .color_mode(shapes.BigValueColorMode.VALUE)
        .graph_mode(shapes.BigValueGraphMode.NONE)
        .justify_mode(shapes.BigValueJustifyMode.CENTER)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    )


def graph(title: str, description: str, *, unit: str) -> timeseries.Panel:
    """Lines over time, with the names and last values of the largest below."""
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .line_width(2)
        .fill_opacity(0)
        .show_points(shapes.VisibilityMode.NEVER)
        # By name, so that a model, account or client has one color in all graphs.
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .span_nulls(900_000)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(shapes.LegendDisplayMode.LIST)
            .placement(shapes.LegendPlacement.BOTTOM)
            .calcs([])
        )
        .tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
    )


def ranking() -> common.VizLegendOptions:
    """A legend beside a graph: the names with their last values, the highest first."""
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(shapes.LegendDisplayMode.TABLE)
        .placement(shapes.LegendPlacement.RIGHT)
        .calcs(["lastNotNull"])
        .sort_by("Last *")
        .sort_desc(True)
        .width(380)
    )


def amounts(title: str, description: str, *, unit: str) -> timeseries.Panel:
    """Stacked bars over time. A bar is at least a quarter of an hour, which is also the step of an imported past."""
    return (
        graph(title, description, unit=unit)
        .draw_style(shapes.GraphDrawStyle.BARS)
        .line_width(0)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
        .interval("15m")
    )


def listing(title: str, description: str, *, unit: str) -> table.Panel:
    """A table."""
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .show_header(True)
        .cell_height(shapes.TableCellHeight.SM)
        .cell_options(shapes.TableAutoCellOptions())
    )


# --- columns of a table -----------------------------------------------------------------------------------------------


def joined(columns: dict[str, str]) -> list[models.DataTransformerConfig]:
    """The rows of all queries of a table joined by their labels. ``columns``: field → title, in this order.

    Fields that are not named are left out.
    """
    return [
        models.DataTransformerConfig(id_val="merge", options={}),
        only(columns),
    ]


def only(columns: dict[str, str]) -> models.DataTransformerConfig:
    """Nothing but these fields, with these titles and in this order."""
    return models.DataTransformerConfig(
        id_val="organize",
        options={
            "includeByName": dict.fromkeys(columns, True),
            "excludeByName": {},
            "indexByName": {name: place for place, name in enumerate(columns)},
            "renameByName": {name: title for name, title in columns.items() if name != title},
        },
    )


def with_columns(
    panel: table.Panel, columns: dict[str, str], looks: Mapping[str, Mapping[str, Any]], *, sort: str
) -> table.Panel:
    """The joined rows with these columns, as for ``joined``, the largest of ``sort`` first.

    ``looks`` are by title what an override sets; those of other tables are left out.
    """
    panel = panel.transformations(
        [
            *joined(columns),
            models.DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": sort, "desc": True}]}),
        ]
    )
    for title in columns.values():
        if title in looks:
            panel = panel.override_by_name(title, properties(**looks[title]))
    return panel


def properties(**values: Any) -> list[models.DynamicConfigValue]:
    """What an override sets; ``custom_x`` is the property ``custom.x``."""
    return [
        models.DynamicConfigValue(id_val=name.replace("custom_", "custom."), value=value)
        for name, value in values.items()
    ]


def steps_of(steps: Steps) -> dict[str, Any]:
    """Thresholds as an override has them."""
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}


def leads_to(uid: str, variable: str) -> dict[str, Any]:
    """A cell that opens a dashboard with the cell's text selected, and the same proxies and time."""
    selected = f"${{datasource:queryparam}}&${{proxy:queryparam}}&var-{variable}=${{__value.text:percentencode}}"
    return {"links": [{"title": "${__value.text}", "url": f"/d/{uid}?{selected}&${{__url_time_range}}"}]}


def words(**options: tuple[str, str]) -> dict[str, Any]:
    """A value mapping: value → word and color. The value comes after an underscore: ``_1=("up", GREEN)``."""
    return {
        "type": "value",
        "options": {
            value.removeprefix("_"): {"text": text, "color": color, "index": place}
            for place, (value, (text, color)) in enumerate(options.items())
        },
    }


def value_words(**options: tuple[str, str]) -> models.ValueMap:
    """The same for a whole panel."""
    return models.ValueMap(
        options={
            value.removeprefix("_"): models.ValueMappingResult(text=text, color=color, index=place)
            for place, (value, (text, color)) in enumerate(options.items())
        }
    )


# --- dashboards -------------------------------------------------------------------------------------------------------


def new_dashboard(title: str, uid: str, description: str) -> dashboard.Dashboard:
    """A dashboard with our variables, the annotation of alerts, and links to the others."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .refresh("30s")
        .time("now-24h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .annotation(
            dashboard.AnnotationQuery()
            .name("Firing alerts")
            .datasource(SOURCE)
            .enable(True)
            .icon_color(RED)
            .expr(FIRING)
            .title_format("{{alertname}}")
            .text_format("{{severity}} {{limit}} {{credential}} {{proxy}}")
            .step("60s")
        )
        .variables(
            [
                dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"),
                # Each of our series about a proxy names it; a plugin's series of the same names do not.
                _choice("proxy", "Proxy", 'label_values(cliproxy_up{proxy!=""}, proxy)').all_value(".+"),
                _choice("provider", "Provider", 'label_values(cliproxy_requests_total{proxy=~"$proxy"}, provider)'),
                _choice("model", "Model", _of_provider("model")),
                _choice("credential", "Credential", _of_provider("credential")),
                _choice("client", "Client", 'label_values(cliproxy_requests_total{proxy=~"$proxy"}, client)'),
            ]
        )
    )
    for other_title, other_uid in DASHBOARDS:
        if other_uid != uid:
            made = made.link(_link(other_title, other_uid))
    return made


def _link(title: str, uid: str) -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink(title)
        .type(models.DashboardLinkType.LINK)
        .url(f"/d/{uid}")
        .icon("dashboard")
        .tooltip(f"{title}, with the same selection and time")
        .include_vars(True)
        .keep_time(True)
    )


def _of_provider(label: str) -> str:
    return f'label_values(cliproxy_requests_total{{proxy=~"$proxy",provider=~"$provider"}}, {label})'


def _choice(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"variable-{name}", "qryType": 1})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(text="All", value="$__all"))
    )
