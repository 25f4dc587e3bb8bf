"""P3: the cost of a scrape, against prometheus_client's way to show the same samples."""

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.measure import by_turns, cpu_seconds
from benchmarks.program import Program
from benchmarks.records import Stream, every_label_set
from benchmarks.report import Section
from exporter.ledger.shown_names import ShownNames
from exporter.limits.board import LimitBoard
from exporter.metrics.exposition import Exposition
from exporter.metrics.usage import LedgerText
from exporter.pricing.pricer import open_prices
from exporter.settings.proxies import Aliases
from tests.fakes.client_library import ClientLibrary

SERIES_PER_LABEL_SET = 8
"""Seven families of counters and the cost; series of routes and failures are few beside them."""

_ROUNDS = 5
_ACCEPT = "text/plain;version=0.0.4"


def measure(directory: Path, full: bool) -> Section:
    """Run the benchmark with ledgers below ``directory``."""
    section = Section(
        "P3: a scrape",
        "The ledger's families as text, 8 series per label set, against prometheus_client with the same samples. Gzip"
        " is level 1 on both sides. The whole scrape is the ledger's text, all other families, and gzip.",
    )
    for series in (1_000, 10_000, 50_000) if full else (1_000, 10_000):
        _measure_size(section, series // SERIES_PER_LABEL_SET, directory / str(series))
    return section


def _measure_size(section: Section, label_sets: int, directory: Path) -> None:
    program = Program(directory)
    program.take(Stream(every_label_set(label_sets), records=label_sets).body(label_sets))
    ledger = program.ledger
    ledger.births.told(list(ledger.births.pending), "a scraper")
    ledger.births.publish(after_seconds=0)
    ledger.periods.refresh()
    shown_names = ShownNames(ledger.name_store, Aliases(), program.pseudonym)
    text = LedgerText(ledger, shown_names)
    reference = CollectorRegistry(auto_describe=False)
    reference.register(ClientLibrary(ledger, shown_names))
    exposition = Exposition(
        ledger=ledger,
        shown_names=shown_names,
        statuses=list,
        limits=LimitBoard(ledger=ledger, shown_names=shown_names, clock=program.clock),
        prices=open_prices(file=None, feed_url=None, store=ledger.price_feed, clock=program.clock),
        clock=program.clock,
        registry=CollectorRegistry(),
    )

    def ours() -> bytes:
        return text.render(openmetrics=False, for_prometheus=True)[0].encode()

    def theirs() -> bytes:
        return generate_latest(reference)

    samples = _check_equal(ours(), theirs())
    works: dict[str, Callable[[], object]] = {
        "ours": ours,
        "theirs": theirs,
        "ours, gzip": lambda: gzip.compress(ours(), compresslevel=1),
        "theirs, gzip": lambda: gzip.compress(theirs(), compresslevel=1),
        "whole": lambda: exposition.scrape(accept=_ACCEPT, accept_encoding="gzip", scraper="a scraper"),
    }
    runs = by_turns({name: _timed(work) for name, work in works.items()}, rounds=_ROUNDS)
    program.close()
    promised = label_sets * SERIES_PER_LABEL_SET > 1_000
    section.add(f"**{label_sets:,} label sets**: series", samples, "{:,}")
    for name, what in (("ours", "text"), ("theirs", "prometheus_client"), ("whole", "the whole scrape")):
        section.add(f"{what}, ms (spread {runs[name].spread:.0%})", runs[name].best * 1e3, "{:.1f}")
    for suffix, factor in (("", 20.0), (", gzip", 8.0)):
        ratio = runs[f"theirs{suffix}"].best / runs[f"ours{suffix}"].best
        what = f"prometheus_client ÷ text{suffix}"
        if promised:
            section.add_floor(what, ratio, "{:.1f}", at_least=factor)
        else:
            section.add(what, ratio, "{:.1f}")


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    return lambda: cpu_seconds(work)


def _check_equal(ours: bytes, theirs: bytes) -> int:
    """The number of samples in both. Raises ValueError if they differ."""
    samples, expected = _samples(ours), _samples(theirs)
    if samples != expected:
        raise ValueError("our text and prometheus_client's do not say the same")
    return samples.total()


def _samples(text: bytes) -> Counter[tuple[str, tuple[tuple[str, str], ...], float]]:
    families = text_string_to_metric_families(text.decode())
    return Counter((s.name, tuple(sorted(s.labels.items())), s.value) for each in families for s in each.samples)
