"""Metric families, and their samples in one scrape.

Each module beside this one declares and fills the families of a subject, with a HELP that a stranger understands. Names
and labels are a contract with dashboards and rules.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial, wraps
from typing import Literal, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import Sample
from prometheus_client.metrics import MetricWrapperBase

Samples = Iterator[Sample | None]
"""The samples of a scrape; None stands for one whose value is unknown, and is left out."""

_P = ParamSpec("_P")
_Direct = TypeVar("_Direct", bound=MetricWrapperBase)


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family. ``name`` has no ``_total``; a counter's samples do.

    ``shows`` names the number in the ledger that the family shows: one of ``SERIES_NUMBERS``, or a field of ``Flow``.
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

    def block(self, values: Iterable[str]) -> str:
        """The labels of a sample as in its line, without the braces; ``values`` are in the order of ``labels``."""
        return ",".join([f'{label}="{_escape(value)}"' for label, value in zip(self.labels, values, strict=True)])

    def __call__(self, value: float | None, **labels: str) -> Sample | None:
        """A sample with these labels; None if the value is unknown."""
        if value is None:
            return None
        return Sample(self.sample_name, {label: labels[label] for label in self.labels}, float(value))

    def at(self, at_ms: int | None, **labels: str) -> Sample | None:
        """A sample whose value is a moment, in seconds; None if it is unknown."""
        return self(None if at_ms is None else at_ms / 1000, **labels)

    def direct(self, kind: Callable[..., _Direct], registry: CollectorRegistry | None, **options: object) -> _Direct:
        """A metric of prometheus_client, which its users change themselves while the process lives."""
        return kind(self.name, self.help, self.labels, registry=registry, **options)


counter, gauge, histogram = partial(Family, "counter"), partial(Family, "gauge"), partial(Family, "histogram")


def filling(*families: Family) -> Callable[[Callable[_P, Samples]], Callable[_P, list[Metric]]]:
    """Make a function that yields samples return these families in this order, even those without a sample."""

    def decorated(fill: Callable[_P, Samples]) -> Callable[_P, list[Metric]]:
        @wraps(fill)
        def filled(*args: _P.args, **kwargs: _P.kwargs) -> list[Metric]:
            made = {family.sample_name: Metric(family.name, family.help, family.kind) for family in families}
            for sample in fill(*args, **kwargs):
                if sample is not None:
                    made[sample.name].samples.append(sample)
            return list(made.values())

        return filled

    return decorated


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
