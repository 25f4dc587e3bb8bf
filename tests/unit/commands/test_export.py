"""Exports hold what the ledger holds, in forms that other programs read."""

import csv
import io
import json
from collections import defaultdict
from datetime import UTC
from pathlib import Path

import msgspec
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from exporter.clock import Clock
from exporter.commands.export import write_csv, write_jsonl, write_openmetrics
from exporter.imports.own_csv import COLUMNS
from exporter.ingest.parts import IngestParts
from exporter.ingest.queue import QueueIngest
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.normalize.pseudonyms import Pseudonyms
from exporter.pricing.lookup import NO_PRICES
from exporter.pricing.pricer import Pricer
from exporter.settings.proxies import Aliases
from tests.fakes.steered.traffic import Traffic

_NOW = 1_793_000_000.0
_ALL = (0, 2 * 10**12)


class _Clock(Clock):
    def now(self) -> float:
        return _NOW

    def monotonic(self) -> float:
        return _NOW


def _ledger_with(path: Path, *bodies: bytes) -> tuple[Ledger, ShownNames]:
    pseudonym = Pseudonyms(b"k").of
    ledger = Ledger(path / FILE_NAME, clock=_Clock(), zone=UTC)
    intake = QueueIngest("p", IngestParts(ledger=ledger, pricer=Pricer(NO_PRICES), pseudonym=pseudonym, clock=_Clock()))
    for body in bodies:
        intake.take(body)
    return ledger, ShownNames(ledger.name_store, Aliases(), pseudonym)


def _traffic(count: int) -> bytes:
    batch = Traffic(seed=5, zone=UTC).batch(count, ending=_NOW, span_seconds=7200)
    return msgspec.json.encode([attempt.record for attempt in batch])


def _samples(text: str) -> list[Sample]:
    """The samples as the library parses them; it refuses times that go back and families that are split."""
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call] # the library has no types here
    return [sample for family in families for sample in family.samples]


def test_every_entry_is_a_line_of_jsonl_and_a_row_of_csv(tmp_path: Path) -> None:
    ledger, shown_names = _ledger_with(tmp_path, _traffic(200))
    as_jsonl, as_csv = io.StringIO(), io.StringIO()
    with ledger.reading() as connection:
        write_jsonl(connection, shown_names, _ALL, as_jsonl)
        write_csv(connection, shown_names, _ALL, as_csv)
        nano, tokens = connection.execute("select sum(nano_usd), sum(output) from entry").fetchone()
    lines = [json.loads(line) for line in as_jsonl.getvalue().splitlines()]
    rows = list(csv.DictReader(io.StringIO(as_csv.getvalue())))
    assert len(lines) == len(rows) == ledger.totals.entries
    assert sum(int(line["cost_usd"].replace(".", "")) for line in lines) == nano
    assert sum(int(row["output_tokens"]) for row in rows) == tokens
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)


def test_a_span_includes_its_first_moment_and_not_its_last(tmp_path: Path) -> None:
    ledger, shown_names = _ledger_with(tmp_path, _traffic(50))
    with ledger.reading() as connection:
        moments = [row[0] for row in connection.execute("select ts_ms from entry order by ts_ms")]
        out = io.StringIO()
        write_jsonl(connection, shown_names, (moments[10], moments[40]), out)
    assert len(out.getvalue().splitlines()) == sum(moments[10] <= moment < moments[40] for moment in moments)


def test_hostile_names_stay_one_value_and_no_spreadsheet_runs_them(tmp_path: Path) -> None:
    hostile = '=cmd|" /C calc"!A1\n<b>,"\u202e' + "x" * 10_000
    body = msgspec.json.encode(
        [{"timestamp": "2026-10-01T12:00:00Z", "provider": "claude", "model": hostile, "auth_type": "oauth"}]
    )
    ledger, shown_names = _ledger_with(tmp_path, body)
    as_csv, as_jsonl, as_om = io.StringIO(), io.StringIO(), io.StringIO()
    with ledger.reading() as connection:
        write_csv(connection, shown_names, _ALL, as_csv)
        write_jsonl(connection, shown_names, _ALL, as_jsonl)
        write_openmetrics(connection, shown_names, _ALL, as_om)
    rows = list(csv.reader(io.StringIO(as_csv.getvalue())))
    assert [len(row) for row in rows] == [len(COLUMNS), len(COLUMNS)]
    model = rows[1][COLUMNS.index("model")]
    assert model.startswith("'=cmd|")
    assert len(model) <= 201
    assert json.loads(as_jsonl.getvalue())["model"] == model[1:]
    samples = _samples(as_om.getvalue())
    assert {s.labels["model"] for s in samples} == {model[1:]}


def test_the_past_as_openmetrics_rises_to_the_totals(tmp_path: Path) -> None:
    ledger, shown_names = _ledger_with(tmp_path, _traffic(300))
    out = io.StringIO()
    with ledger.reading() as connection:
        write_openmetrics(connection, shown_names, _ALL, out)
        requests, nano = connection.execute("select sum(requests), sum(nano_usd) from rollup").fetchone()
    last: dict[tuple[str, str], float] = {}
    first: dict[tuple[str, str], float] = {}
    for sample in _samples(out.getvalue()):
        key = (sample.name, str(sample.labels))
        assert sample.value >= last.get(key, 0.0), "a counter never falls"
        first.setdefault(key, sample.value)
        last[key] = sample.value
    assert set(first.values()) == {0.0}, "each series begins at 0, so that its first use is an increase"
    assert sum(v for (name, _), v in last.items() if name == "cliproxy_requests_total") == requests
    cost = sum(v for (name, _), v in last.items() if name == "cliproxy_cost_usd_total")
    assert round(cost * 1e9) == nano


def test_samples_of_the_past_are_at_the_quarters_of_an_hour_around_their_use(tmp_path: Path) -> None:
    ledger, shown_names = _ledger_with(tmp_path, _traffic(300))
    out = io.StringIO()
    with ledger.reading() as connection:
        write_openmetrics(connection, shown_names, _ALL, out)
        used = [bucket for (bucket,) in connection.execute("select distinct bucket from rollup")]
    moments = {float(sample.timestamp or 0) for sample in _samples(out.getvalue())}

    assert len(used) > 4
    assert moments == {edge * 900 for bucket in used for edge in (bucket, bucket + 1)}


def test_usage_before_the_span_is_in_the_counters_of_the_span(tmp_path: Path) -> None:
    ledger, shown_names = _ledger_with(tmp_path, _traffic(300))
    whole, part = io.StringIO(), io.StringIO()
    middle = int(_NOW - 3600) // 900 * 900
    with ledger.reading() as connection:
        write_openmetrics(connection, shown_names, _ALL, whole)
        write_openmetrics(connection, shown_names, (middle * 1000, _ALL[1]), part)
        read = "select sum(requests) from rollup where bucket >= ?"
        (requests,) = connection.execute(read, (middle // 900,)).fetchone()
    values: defaultdict[str, list[float]] = defaultdict(list)
    for sample in _samples(part.getvalue()):
        if sample.name == "cliproxy_requests_total":
            values[str(sample.labels)].append(sample.value)
    assert sum(each[-1] - each[0] for each in values.values()) == requests
    part_lines = [line for line in part.getvalue().splitlines() if not line.startswith("#")]
    assert part_lines
    assert set(part_lines) <= set(whole.getvalue().splitlines())
    assert all(int(line.rsplit(" ", 1)[1]) >= middle for line in part_lines)
