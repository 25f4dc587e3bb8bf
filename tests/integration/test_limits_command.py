"""``cliproxy-exporter limits`` beside a running exporter, and mistakes in its file, as an operator sees them."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.limits.supabase_limits import COLUMNS
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.booking import open_ledger
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback
from tests.stack.running import Process, exporter_process, flow_in, ledger_file, run_command
from tests.stack.waiting import wait_until

_RECORDS = 200
_LIMITS = f"""\
limits:
- {{id: busy, name: Requests lately, strategy: session, window_minutes: 43200, requests: {_RECORDS // 2}}}
- {{id: quiet, strategy: rolling, window_minutes: 43200, requests: 1000000, usd: 100000}}
- {{id: all, strategy: rolling, window_minutes: 44640, requests: 1000000}}
- {{id: spare, strategy: session, window_minutes: 43200, requests: 1000000}}
- {{id: odd, strategy: daily, models: [no-such-model], tokens: 5}}
- {{id: people, strategy: weekly, per: client, client: nobody, tokens: 5}}
"""
_BAD = "limits:\n- id: busy\n  requests: -1\n  strategy: monthly\n  per: clients\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the exporter of these tests runs."""
    return tmp_path_factory.mktemp("limits")


@pytest.fixture(scope="module")
def program(folder: Path) -> Iterator[Process]:
    """An exporter with limits that has booked some records."""
    (folder / "limits.yaml").write_text(_LIMITS)
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server:
        proxy = server.proxy
        proxy.publish(Traffic(seed=5, zone=proxy.zone, shape=proxy.shape).batch(_RECORDS, ending=time.time()))
        with exporter_process(
            folder, proxy_url=server.url, key=MANAGEMENT_KEY, EXPORTER_LIMITS_FILE="limits.yaml"
        ) as program:
            wait_until(lambda: flow_in(folder / "data").booked, lambda booked: booked == _RECORDS)
            wait_until(lambda: _used(program, "quiet"), lambda used: used == _counted(folder))
            yield program


def _counted(folder: Path) -> int:
    """How many of the booked records are requests."""
    with ledger_file(folder / "data") as ledger:
        counted: int = ledger.execute("select sum(counted) from entry").fetchone()[0]
    return counted


def _used(program: Process, limit: str, unit: str = "requests") -> float | None:
    return program.metric("cliproxy_limit_used", limit=limit, unit=unit)


def _run(*arguments: str, folder: Path) -> tuple[int, list[str], str]:
    said = run_command(
        *arguments, cwd=folder, EXPORTER_DATA_DIR=str(folder / "data"), EXPORTER_LIMITS_FILE="limits.yaml"
    )
    return said.returncode, said.stdout.splitlines(), said.stderr


@pytest.mark.usefixtures("program")
def test_the_table_shows_the_limits_nearest_to_exhaustion_first_and_what_matches_nothing(folder: Path) -> None:
    code, lines, notes = _run("limits", folder=folder)
    assert code == 0, notes
    assert re.split(r"\s{2,}", lines[0].strip()) == ["limit", "used", "budget", "%", "resets in", "pace", "runs out in"]
    (busy,) = [line for line in lines if line.startswith("Requests lately")]
    assert "requests, 30d window" in busy
    assert busy.endswith("used up")
    (quiet,) = [line for line in lines if line.startswith("quiet") and "requests" in line]
    assert "rolling" in quiet
    assert any(line.startswith("quiet") and "usd" in line and "$" in line for line in lines)
    percents = [float(match[1].replace(",", "")) for line in lines[1:] if (match := re.search(r"([\d.,]+)\s?%", line))]
    assert len(percents) == len(lines) - 1
    assert percents == sorted(percents, reverse=True)
    assert "note: no usage so far counts against the limit odd." in notes
    assert "note: no usage so far counts against the limit people." in notes


def test_a_reset_by_command_reaches_the_running_exporter(program: Process, folder: Path) -> None:
    assert _used(program, "quiet") == _counted(folder)
    code, lines, notes = _run("limits", "reset", "quiet", folder=folder)
    assert (code, lines) == (0, ["The limit quiet counts from now on."]), notes
    wait_until(lambda: _used(program, "quiet"), lambda used: used == 0)
    assert _used(program, "all") == _counted(folder), "the others go on"


@pytest.mark.usefixtures("program")
def test_a_reset_of_an_unknown_limit_lists_the_ids(folder: Path) -> None:
    code, lines, notes = _run("limits", "reset", "nothing", folder=folder)
    assert (code, lines) == (1, [])
    assert "No limit has the id 'nothing'. The ids in EXPORTER_LIMITS_FILE and in the table" in notes
    assert "rate_limit_configs in Supabase: all, " in notes
    assert _run("limits", "reset", "people", folder=folder)[0] == 0, "known, though nobody has used it"


def test_a_reset_over_http_is_stored_at_once(program: Process) -> None:
    answer = loopback.post(f"{program.url}/api/collector/reset/spare")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "message": "Limit spare was reset.",
        "new_status": {"percentage": 100, "label": "0/1,000,000 Requests"},
    }
    assert _used(program, "spare") == 0, "without waiting for a tick"
    foreign = loopback.post(f"{program.url}/api/collector/reset/spare", headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403


def test_a_bad_edit_shows_in_log_metric_and_page_and_a_good_one_repairs_it(program: Process, folder: Path) -> None:
    def reloaded() -> float | None:
        return program.metric("cliproxy_exporter_config_reload_success")

    assert reloaded() == 1
    (folder / "limits.yaml").write_text(_BAD)
    wait_until(reloaded, lambda ok: ok == 0)
    assert _used(program, "all") == _counted(folder), "the last good set"
    wait_until(lambda: program.logged("limits_not_reloaded"))  # a moment after the metric shows it
    assert len(program.logged("limits_not_reloaded", "limits.yaml:3")) == 1
    assert "A limit has a mistake" in program.get("/").text
    (folder / "limits.yaml").write_text(_LIMITS.replace("id: all,", "id: renamed,"))
    wait_until(reloaded, lambda ok: ok == 1)
    assert (_used(program, "renamed"), _used(program, "all")) == (_counted(folder), None)
    assert "A limit has a mistake" not in program.get("/").text
    assert len(program.logged("limit_matches_nothing", "odd")) == 1
    (folder / "limits.yaml").write_text(_LIMITS)  # for the other tests of this program
    wait_until(lambda: _used(program, "all"), lambda used: used == _counted(folder))


def test_check_config_and_every_command_name_file_and_line_of_each_mistake(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text(_BAD)
    said = run_command(
        "check-config",
        cwd=tmp_path,
        CLIPROXY_URL="http://127.0.0.1:9",
        CLIPROXY_MANAGEMENT_KEY="x",
        EXPORTER_LIMITS_FILE="limits.yaml",
    )
    assert said.returncode == 2
    told = [
        "EXPORTER_LIMITS_FILE (limits.yaml:3): '-1' is not a budget in requests."
        " Give a number above 0, for example 5_000_000.",
        "EXPORTER_LIMITS_FILE (limits.yaml:5): 'clients' is not accepted. Use 'credential', 'client' or 'model'.",
    ]
    assert [f"problem: {each}" for each in told] == said.stdout.splitlines()[-2:]
    for arguments in (["limits"], ["limits", "reset", "busy"], ["run"]):
        code, _, notes = _run(*arguments, folder=tmp_path)
        assert code == 2, arguments
        assert all(each in notes for each in told), arguments
    assert not (tmp_path / "data").exists()


def test_without_a_ledger_the_command_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text(_LIMITS)
    code, lines, notes = _run("limits", folder=tmp_path)
    assert (code, lines) == (1, [])
    assert "There is no ledger at" in notes
    assert "run the exporter first" in notes


def test_a_table_whose_only_row_has_a_mistake_is_not_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ledger = open_ledger(tmp_path / "data")
    ledger.limits.take_configs([dict.fromkeys(COLUMNS) | {"id": 7, "reset_strategy": "daily"}], settled={})
    ledger.close()
    said = run_command(
        "limits",
        cwd=tmp_path,
        EXPORTER_DATA_DIR=str(tmp_path / "data"),
        SUPABASE_URL="http://127.0.0.1:9",
        SUPABASE_SECRET_KEY="sb_secret_planted",
    )
    assert "Row 7 of rate_limit_configs is not in force: model_pattern" in said.stderr
    assert said.stdout == (
        "No limit is in force: no provider has reported a window, and neither EXPORTER_LIMITS_FILE nor the table"
        " rate_limit_configs in Supabase has one without a mistake.\n"
    )
