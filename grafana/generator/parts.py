"""Panels and queries in the form that all our dashboards share."""

from collections.abc import Iterable, Mapping
from string import ascii_uppercase
from typing import Any, NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = shapes.DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, YELLOW, ORANGE, RED, TEXT = "green", "yellow", "orange", "red", "text"
Steps = tuple[tuple[float | None, str], ...]
"""Pairs of a value and the color from that value on; the first has no value."""
NEUTRAL: Steps = ((None, TEXT),)
USED_STEPS: Steps = ((None, GREEN), (0.8, ORANGE), (0.95, RED))
"""Colors by the thresholds of a limit that sets none itself."""


Queries = Mapping[str, str]
"""Legend → expression."""


def _numbered(queries: Queries) -> Iterable[prometheus.Dataquery]:
    for ref, (legend, expr) in zip(ascii_uppercase, queries.items(), strict=False):
        yield _query(expr, legend, ref)


def _query(expr: str, legend: str, ref: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(ref).datasource(SOURCE)


# --- panels -----------------------------------------------------------------------------------------------------------


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Absolute thresholds."""
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )


def big_number(
    title: str,
    description: str,
    queries: Queries,
    *,
    unit: str,
    steps: Steps = NEUTRAL,
    decimals: int | None = 0,
    none: str | None = None,
) -> stat.Panel:
    """The last value of each query, large; the color says whether it is good. ``none`` is shown without any value."""
    panel = (
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
        .targets([query.instant() for query in _numbered(queries)])
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    return panel if none is None else panel.no_value(none)


def graph(title: str, description: str, queries: Queries, *, unit: str) -> timeseries.Panel:
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
        .targets([query.range() for query in _numbered(queries)])
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


def amounts(title: str, description: str, queries: Queries, *, unit: str) -> timeseries.Panel:
    """Stacked bars over time. A bar is at least a quarter of an hour, which is also the step of an imported past."""
    return (
        graph(title, description, queries, unit=unit)
        .draw_style(shapes.GraphDrawStyle.BARS)
        .line_width(0)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
        .interval("15m")
    )


# --- tables -----------------------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """A field of a table's rows, its title, and the properties that an override sets for it."""

    field: str
    title: str
    look: Mapping[str, Any] = {}


def listing(title: str, description: str, *queries: str, unit: str = "short", none: str = "-") -> table.Panel:
    """A table with a row for each series. ``none`` stands in an empty field, or in place of an empty table."""
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .show_header(True)
        .cell_height(shapes.TableCellHeight.SM)
        .cell_options(shapes.TableAutoCellOptions())
        .min_width(65)  # Grafana's own 150 hides the last columns of a narrow table, which are its figures
        .no_value(none)
        .targets(
            [
                _query(expr, "__auto", ref).instant().format(PromQueryFormat.TABLE)
                for ref, expr in zip(ascii_uppercase, queries, strict=False)
            ]
        )
    )


def with_columns(panel: table.Panel, *columns: Column) -> table.Panel:
    """The table with only these columns, in this order."""
    return _looking(panel.transformations([_only(columns)]), columns)


def joined(panel: table.Panel, *columns: Column, sort: str = "") -> table.Panel:
    """The rows of all queries joined by their labels, with these columns, the largest of ``sort`` first."""
    steps = [models.DataTransformerConfig(id_val="merge", options={}), _only(columns)]
    if sort:
        steps.append(models.DataTransformerConfig(id_val="sortBy", options={"sort": [{"field": sort, "desc": True}]}))
    return _looking(panel.transformations(steps), columns)


def _looking(panel: table.Panel, columns: Iterable[Column]) -> table.Panel:
    for column in columns:
        if column.look:
            panel = panel.override_by_name(column.title, properties(**column.look))
    return panel


def _only(columns: Iterable[Column]) -> models.DataTransformerConfig:
    titles = {column.field: column.title for column in columns}
    return models.DataTransformerConfig(
        id_val="organize",
        options={
            "includeByName": dict.fromkeys(titles, True),
            "excludeByName": {},
            "indexByName": {name: place for place, name in enumerate(titles)},
            "renameByName": {name: title for name, title in titles.items() if name != title},
        },
    )


def matrix(panel: table.Panel, row: str, column: str, title: str) -> table.Panel:
    """A row for each value of the label ``row``, under the heading ``title``, and a column for each of ``column``."""
    grouping = {"rowField": row, "columnField": column, "valueField": "Value", "emptyValue": "null"}
    return panel.transformations(
        [
            models.DataTransformerConfig(id_val="groupingToMatrix", options=grouping),
            models.DataTransformerConfig(id_val="organize", options={"renameByName": {f"{row}\\{column}": title}}),
        ]
    )


DURATION: dict[str, Any] = {"unit": "dtdurations", "decimals": 1}
USD: dict[str, Any] = {"unit": "currencyUSD", "decimals": 2}
COLORED_TEXT: dict[str, Any] = {"custom_cellOptions": {"type": "color-text"}}


def properties(**values: Any) -> list[models.DynamicConfigValue]:
    """What an override sets; ``custom_x`` is the property ``custom.x``."""
    return [
        models.DynamicConfigValue(id_val=name.replace("custom_", "custom."), value=value)
        for name, value in values.items()
    ]


def steps_of(steps: Steps) -> models.ThresholdsConfig:
    """Thresholds as an override has them."""
    return thresholds(steps).build()


def leads_to(uid: str, variable: str) -> dict[str, Any]:
    """A cell that opens a dashboard with the cell's text selected, and the same proxies and time."""
    selected = f"${{datasource:queryparam}}&${{proxy:queryparam}}&var-{variable}=${{__value.text:percentencode}}"
    return {"links": [{"title": "${__value.text}", "url": f"/d/{uid}?{selected}&${{__url_time_range}}"}]}


def words(**options: tuple[str, str]) -> models.ValueMap:
    """A value mapping: value → word and color. The value comes after an underscore: ``_1=("up", GREEN)``."""
    return models.ValueMap(
        options={
            value.removeprefix("_"): models.ValueMappingResult(text=text, color=color, index=place)
            for place, (value, (text, color)) in enumerate(options.items())
        }
    )
