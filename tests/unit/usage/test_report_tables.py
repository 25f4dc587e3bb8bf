"""An answer as CSV and JSON: exactly the report's figures, and harmless in a spreadsheet."""

import csv
import io
import json
import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest

from exporter.records import Billing, Cost
from exporter.usage.report import COLUMNS, as_csv, as_json
from tests.benches.usage import UsageBench, usage_bench

_ZONE = ZoneInfo("Europe/Berlin")
_NOW = datetime(2026, 10, 27, 12, 0, tzinfo=_ZONE)


@pytest.fixture
def bench(tmp_path: Path) -> UsageBench:
    draw = random.Random(4)
    bench = usage_bench(tmp_path, now=_NOW.timestamp(), zone=_ZONE)
    now_ms = int(_NOW.timestamp() * 1000)
    bench.book(*(bench.record(now_ms - draw.randrange(60 * 86_400_000), draw) for _ in range(400)))
    return bench


def test_csv_has_the_figures_of_the_report(bench: UsageBench) -> None:
    report = bench.answer({"by": "client", "range": "30d"})
    lines = list(csv.DictReader(io.StringIO(as_csv(report))))

    assert list(lines[0]) == ["client", *COLUMNS]
    assert [line["client"].removeprefix("'") for line in lines] == [row.name for row in report.rows]
    for line, row in zip(lines, report.rows, strict=True):
        assert int(line["input_tokens"]) + int(line["output_tokens"]) + int(line["unclassified_tokens"]) == (
            row.usage.total.tokens
        )
        for billing in Billing:
            assert Decimal(line[f"{billing.word}_usd"]).scaleb(9) == row.usage.cost(billing)


def test_names_come_dearest_first_and_those_of_equal_cost_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "few").mkdir()
    bench = usage_bench(tmp_path / "few", now=_NOW.timestamp(), zone=_ZONE)
    for model, nano_usd in (("z", 1), ("b", 7), ("a", 7), ("dear", 9)):
        record, cost = bench.record(int(_NOW.timestamp() * 1000))
        record = msgspec.structs.replace(record, model=model, billing=Billing.METERED, counted=1)
        bench.book((record, Cost(nano_usd=nano_usd, basis=cost.basis, price=cost.price)))

    assert [row["model"] for row in as_json(bench.answer({}))["rows"]] == ["dear", "a", "b", "z"]


def test_csv_has_the_shares_of_failed_requests_and_of_the_cache(bench: UsageBench) -> None:
    report = bench.answer({"by": "client", "range": "30d"})
    lines = list(csv.DictReader(io.StringIO(as_csv(report))))

    assert len(lines) > 1
    for line in lines:
        failed, cached = (int(line["failed_requests"]), int(line["cache_read_tokens"]))
        assert float(line["failed_share"]) == pytest.approx(failed / int(line["requests"]), abs=1e-6)
        assert float(line["cache_hit_share"]) == pytest.approx(cached / int(line["input_tokens"]), abs=1e-6)


def test_a_name_that_a_spreadsheet_would_run_becomes_text(bench: UsageBench) -> None:
    lines = list(csv.reader(io.StringIO(as_csv(bench.answer({"by": "model"})))))

    names = [line[0] for line in lines[1:]]
    assert "'=cmd|' /C calc'!A0" in names
    assert [cell for line in lines for cell in line if cell.startswith(("=", "+", "-", "@", "\t", "\r"))] == []


def test_steps_have_times_with_their_offset(bench: UsageBench) -> None:
    report = bench.answer({"by": "day", "since": "2026-10-24", "until": "2026-10-27"})
    lines = list(csv.DictReader(io.StringIO(as_csv(report))))

    assert [(line["since"], line["until"]) for line in lines] == [
        ("2026-10-24T00:00:00+02:00", "2026-10-25T00:00:00+02:00"),
        ("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"),
        ("2026-10-26T00:00:00+01:00", "2026-10-27T00:00:00+01:00"),
    ]


def test_json_has_the_content_of_csv_and_its_question(bench: UsageBench) -> None:
    report = bench.answer({"by": "model", "range": "7d", "client": "client-alice"})
    answer = json.loads(json.dumps(as_json(report)))
    lines = list(csv.DictReader(io.StringIO(as_csv(report))))

    assert {key: answer[key] for key in ("since", "until", "zone", "by", "filters")} == {
        "since": "2026-10-21T00:00:00+02:00",
        "until": "2026-10-28T00:00:00+01:00",
        "zone": "Europe/Berlin",
        "by": "model",
        "filters": {"client": "client-alice"},
    }
    as_text = [{key: "" if value is None else str(value) for key, value in row.items()} for row in answer["rows"]]
    assert [line | {"model": line["model"].removeprefix("'")} for line in lines] == as_text
    assert answer["total"]["requests"] == report.usage.total.requests
    assert answer["before"]["until"] == "2026-10-20T12:15:00+02:00"
    assert answer["month"]["until"] == "2026-11-01T00:00:00+01:00"
    assert Decimal(answer["month"]["expected"]["metered_usd"]) > Decimal(answer["month"]["metered_usd"]) >= 0


def test_a_ratio_without_a_denominator_is_empty(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    empty = usage_bench(tmp_path / "empty", now=_NOW.timestamp(), zone=UTC)
    answer = as_json(empty.answer({}))

    assert (answer["rows"], answer["before"], answer["total"]["failed_share"]) == ([], None, None)
    assert answer["total"]["metered_usd"] == "0.000000000"
    assert answer["total"]["metered_usd_per_request"] is None
