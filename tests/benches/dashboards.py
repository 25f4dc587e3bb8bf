"""The dashboards as tests see them: their panels, their queries, and what Grafana makes of a variable."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import promql_parser

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))

BUILT_IN = ("__rate_interval", "__range", "__interval", "__url_time_range")

# Not $1, which belongs to label_replace: Grafana leaves alone what is not a variable.
_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$([A-Za-z_]\w*)|\[\[(\w+)\]\]")
_LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")
_LEGEND_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Query:
    """A query of a dashboard, as in its file. ``where`` names it in messages and allow-lists: ``uid: panel: ref``."""

    where: str
    expr: str
    kind: Literal["instant", "range", "annotation", "variable"]
    legend: str = ""
    label: str = ""
    """For a variable's query: the label whose values are the choices."""
    min_step_seconds: int = 0

    def legend_labels(self, values: Mapping[str, str]) -> set[str]:
        """The labels that the legend names."""
        return set(_LEGEND_LABEL.findall(filled(self.legend, values)))


@dataclass(frozen=True)
class Dashboard:
    """A committed dashboard."""

    path: Path
    document: dict[str, Any] = field(repr=False)

    @property
    def uid(self) -> str:
        return str(self.document["uid"])

    @property
    def panels(self) -> list[dict[str, Any]]:
        """All panels except the rows, including panels in rows."""
        return [panel for panel in self._with_rows() if panel["type"] != "row"]

    def _with_rows(self) -> Iterator[dict[str, Any]]:
        for panel in self.document["panels"]:
            yield panel
            yield from panel.get("panels") or ()

    @property
    def ids(self) -> list[int]:
        return [panel["id"] for panel in self._with_rows()]

    @property
    def variables(self) -> list[dict[str, Any]]:
        variables: list[dict[str, Any]] = self.document["templating"]["list"]
        return variables

    @property
    def queries(self) -> list[Query]:
        """The queries of panels, variables and annotations."""
        return [*self._of_panels(), *self._of_variables(), *self._of_annotations()]

    def _of_panels(self) -> Iterator[Query]:
        for panel in self.panels:
            for target in panel.get("targets", ()):
                yield Query(
                    where=f"{self.uid}: {panel['title']}: {target['refId']}",
                    expr=target["expr"],
                    kind="instant" if target.get("instant") else "range",
                    legend=target.get("legendFormat", ""),
                    min_step_seconds=_seconds(panel.get("interval", "0s")),
                )

    def _of_variables(self) -> Iterator[Query]:
        for variable in self.variables:
            if variable["type"] == "query":
                asked = _LABEL_VALUES.fullmatch(variable["query"]["query"])
                assert asked, variable
                yield Query(f"{self.uid}: variable {variable['name']}", asked[1], "variable", label=asked[2])

    def _of_annotations(self) -> Iterator[Query]:
        for annotation in self.document["annotations"]["list"]:
            yield Query(f"{self.uid}: annotation {annotation['name']}", annotation["expr"], "annotation")

    def selections(self) -> list[dict[str, str]]:
        """The values of the variables with everything selected, once for each choice of a custom variable."""
        everything = {variable["name"]: variable.get("allValue", "") for variable in self.variables}
        custom = [variable for variable in self.variables if variable["type"] == "custom"]
        choices = [{}] if not custom else [{custom[0]["name"]: value} for value in custom[0]["query"].split(",")]
        return [{**everything, **choice} for choice in choices]


def _seconds(interval: str) -> int:
    return int(interval[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[interval[-1]]


def load() -> list[Dashboard]:
    """All committed dashboards."""
    return [Dashboard(path, json.loads(path.read_text(encoding="utf-8"))) for path in FILES]


def variables_in(text: str) -> set[str]:
    """The names of the variables that a text uses."""
    return {first or second or third for first, second, third in _VARIABLE.findall(text)}


def filled(text: str, values: Mapping[str, str]) -> str:
    """``text`` with ``values`` in place of its variables. Raises KeyError for one that has no value."""
    return _VARIABLE.sub(lambda match: values[match[1] or match[2] or match[3]], text)


# --- PromQL -----------------------------------------------------------------------------------------------------------


@cache
def selectors(expr: str) -> tuple[tuple[promql_parser.VectorSelector, tuple[promql_parser.Expr, ...]], ...]:
    """Each selector of an expression with the expressions around it, the outermost first."""
    found: list[tuple[promql_parser.VectorSelector, tuple[promql_parser.Expr, ...]]] = []
    around: list[promql_parser.Expr] = []

    def enter(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node, tuple(around)))
        around.append(node)

    def leave(_node: promql_parser.Expr) -> None:
        around.pop()

    promql_parser.walk(promql_parser.parse(expr), enter, leave)
    return tuple(found)


def metrics_in(expr: str) -> set[str]:
    """The names of the metrics that an expression reads."""
    return {selector.name for selector, _ in selectors(expr) if selector.name}
