"""Metric families, and their samples in one scrape.

Each module beside this one declares and fills the families of a subject, with a HELP that a stranger understands. Names
and labels are a contract with dashboards and rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Literal

from prometheus_client import Metric
from prometheus_client.core import Sample


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family. ``name`` has no ``_total``; a counter's samples do.

    ``shows`` is the number in the ledger that it shows: one of ``SERIES_NUMBERS``, or a field of ``Flow``.
    """

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    labels: tuple[str, ...]
    help: str
    shows: str = ""

    @property
    def sample_name(self) -> str:
        """The name of a counter's or a gauge's samples."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def head(self, *, openmetrics: bool) -> str:
        """The lines HELP and TYPE. The text format names a counter with its ``_total``, OpenMetrics without it."""
        name = self.name if openmetrics else self.sample_name
        return f"# HELP {name} {self.help}\n# TYPE {name} {self.kind}\n"

    def block(self, values: Mapping[str, str]) -> str:
        """The labels of a sample as its line has them, without the braces; ``values`` by label."""
        return ",".join([f'{label}="{_escape(values[label])}"' for label in self.labels])


counter, gauge, histogram = partial(Family, "counter"), partial(Family, "gauge"), partial(Family, "histogram")


class Samples(Metric):
    """The samples of a family in one scrape."""

    def __init__(self, family: Family) -> None:
        super().__init__(family.name, family.help, family.kind)
        self.family = family

    def add(self, value: float | None, **labels: str) -> None:
        """Add a sample with these labels. An unknown value, None, is left out."""
        if value is not None:
            named = {label: labels[label] for label in self.family.labels}
            self.samples.append(Sample(self.family.sample_name, named, float(value)))

    def at(self, at_ms: int | None, **labels: str) -> None:
        """Add a moment, which samples have in seconds."""
        self.add(None if at_ms is None else at_ms / 1000, **labels)


def samples_of(*families: Family) -> list[Samples]:
    """Empty samples for these families."""
    return [Samples(family) for family in families]


def families_of(*modules: ModuleType) -> tuple[Family, ...]:
    """The families that these modules declare, in order."""
    return tuple(found for module in modules for found in vars(module).values() if isinstance(found, Family))


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
