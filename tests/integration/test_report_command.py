"""``cliproxy-exporter report``, ``/usage`` and ``/api/usage`` of a running exporter give the ledger's answer."""

import csv
import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.planted import secrets
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback
from tests.stack.running import Process, exporter_process, flow_in, ledger_file, run_command
from tests.stack.waiting import wait_until

_RECORDS = 400
_HOSTILE = "=cmd|'/C calc'!A0\x1b[2J"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def program(folder: Path) -> Iterator[Process]:
    """An exporter that has booked requests of forty days."""
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600)) as server:
        traffic = Traffic(seed=5, zone=UTC).batch(_RECORDS, ending=time.time(), span_seconds=40 * 86_400)
        server.proxy.publish(traffic[1:])
        server.proxy.enqueue([traffic[0].record | {"model": _HOSTILE}])
        with exporter_process(folder, proxy_url=server.url, key=MANAGEMENT_KEY, TIMEZONE="Asia/Kolkata") as program:
            wait_until(lambda: flow_in(folder / "data").booked, lambda booked: booked == _RECORDS)
            yield program


def _report(folder: Path, *arguments: str) -> str:
    environment = {"CLIPROXY_MANAGEMENT_KEY": "unused", "TIMEZONE": "Asia/Kolkata"}
    done = run_command("report", *arguments, cwd=folder, **environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_command_and_api_give_the_sums_of_the_ledger(program: Process, folder: Path) -> None:
    span = {
        "since": (datetime.now(UTC) - timedelta(days=33)).strftime("%Y-%m-%dT%H:00+00:00"),
        "until": (datetime.now(UTC) - timedelta(days=2)).strftime("%Y-%m-%dT%H:30+00:00"),
    }
    ends = [int(datetime.fromisoformat(moment).timestamp() * 1000) for moment in span.values()]
    with ledger_file(folder / "data") as ledger:
        rows = ledger.execute(
            "select r.model, sum(e.counted), sum(e.uncached + e.cache_read + e.cache_write), sum(e.output),"
            " sum(e.nano_usd * (e.billing = 1)), sum(e.nano_usd * (e.billing = 2)) from entry e"
            " join series s on s.id = e.series join route r on r.id = s.route"
            " where e.ts_ms >= ? and e.ts_ms < ? group by 1",
            ends,
        ).fetchall()
    columns = ("requests", "input_tokens", "output_tokens", "metered_usd", "subscription_usd")
    expected = {
        model: [str(requests), str(input_), str(output), f"{metered / 1e9:.9f}", f"{value / 1e9:.9f}"]
        for model, requests, input_, output, metered, value in rows
    }

    by_command = _report(folder, "--by", "model", "--format", "csv", *_options(span))
    by_api = loopback.get(f"{program.url}/api/usage", params={"by": "model", "format": "csv", **span})
    as_json = loopback.get(f"{program.url}/api/usage", params={"by": "model", **span}).json()

    lines = list(csv.DictReader(io.StringIO(by_command)))
    assert {line["model"].removeprefix("'"): [line[name] for name in columns] for line in lines} == expected
    assert by_api.text == by_command
    assert by_api.headers["Content-Type"] == "text/csv; charset=utf-8"
    by_command_as_json = json.loads(_report(folder, "--by", "model", "--format", "json", *_options(span)))
    del as_json["month"], by_command_as_json["month"]  # the forecast of its end changes every quarter of an hour
    assert by_command_as_json == as_json
    assert {row["model"]: [str(row[name]) for name in columns] for row in as_json["rows"]} == expected
    assert as_json["total"]["requests"] == sum(int(numbers[0]) for numbers in expected.values())


def _options(span: dict[str, str]) -> list[str]:
    return [part for name, value in span.items() for part in (f"--{name}", value)]


@pytest.mark.usefixtures("program")
def test_the_table_is_readable_and_a_name_cannot_control_the_terminal(folder: Path) -> None:
    text = _report(folder, "--since", "2020-01-01")

    head, *lines = text.splitlines()
    assert head.split() == ["model", "requests", "failed", "tokens", "from", "cache", "spent", "value"]
    assert lines[-1].split()[0] == "all"
    assert "\x1b" not in text
    assert any(line.startswith("=cmd|") for line in lines)


@pytest.mark.usefixtures("program")
def test_days_are_those_of_the_zone(folder: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(_report(folder, "--by", "day", "--range", "7d", "--format", "csv"))))

    assert len(lines) == 7
    assert {line["since"][10:] for line in lines} == {"T00:00:00+05:30"}


@pytest.mark.usefixtures("program")
def test_a_misspelt_filter_is_noted(folder: Path) -> None:
    done = run_command("report", "--client", "mariah", cwd=folder, CLIPROXY_MANAGEMENT_KEY="unused")
    assert done.returncode == 0
    assert "note: nothing was ever used with these filters." in done.stderr


@pytest.mark.usefixtures("program")
def test_a_question_that_makes_no_sense_is_wrong_use(program: Process, folder: Path) -> None:
    done = run_command("report", "--range", "soon", cwd=folder, CLIPROXY_MANAGEMENT_KEY="unused")
    assert done.returncode == 2
    assert "'soon' is not a range: use 24h, 7d, 30d" in " ".join(done.stderr.split())

    for path, words in {"/api/usage?range=soon": "not a range", "/api/usage?format=xml": "json or csv"}.items():
        answer = loopback.get(f"{program.url}{path}")
        assert (answer.status_code, words in answer.json()["error"]) == (400, True)


@pytest.mark.usefixtures("program")
def test_an_export_that_ends_before_it_begins_is_wrong_use(folder: Path) -> None:
    span = ("--since=2026-12-01", "--until=2026-11-01")
    done = run_command("export", *span, cwd=folder, CLIPROXY_MANAGEMENT_KEY="unused")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--until must be later than --since" in done.stderr


def test_no_secret_is_on_a_page(program: Process) -> None:
    for path in ("/usage?by=client", "/usage?by=credential", "/requests?range=30d", "/api/usage?by=client"):
        answer = loopback.get(f"{program.url}{path}")
        assert answer.status_code == 200
        assert [secret for secret in secrets() if secret in answer.text] == []


def test_a_started_exporter_sums_the_days_of_its_ledger(tmp_path: Path) -> None:
    def summed() -> int:
        with ledger_file(tmp_path / "data") as ledger:
            number: int = ledger.execute("select count(*) from summed_day").fetchone()[0]
        return number

    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600)) as server:
        server.proxy.publish(Traffic(seed=5, zone=UTC).batch(100, ending=time.time(), span_seconds=5 * 86_400))
        with exporter_process(tmp_path, proxy_url=server.url, key=MANAGEMENT_KEY) as program:
            wait_until(lambda: flow_in(tmp_path / "data").booked, lambda booked: booked == 100)
            before = loopback.get(f"{program.url}/api/usage?by=model&range=30d").json()["rows"]
        with exporter_process(tmp_path, proxy_url=server.url, key=MANAGEMENT_KEY) as program:
            wait_until(summed, lambda number: number >= 4)
            assert loopback.get(f"{program.url}/api/usage?by=model&range=30d").json()["rows"] == before
