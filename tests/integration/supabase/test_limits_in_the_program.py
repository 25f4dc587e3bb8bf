"""Limits kept in Supabase as an operator sees them: in metrics, on the page, over HTTP and on the command line."""

import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from exporter.app import Exporter
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack import loopback
from tests.stack.running import metric_in, run_command
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.limit_project import PASS_SECONDS
from tests.stack.waiting import wait_until

_RECORDS = 50
_COLUMNS = "provider, tier_name, model_pattern, token_limit, request_limit, reset_strategy"


class _Program:
    """A running exporter on a project; the test moves its clock."""

    def __init__(self, exporter: Exporter, api: SupabaseApi, clock: TurnableClock, data_dir: Path) -> None:
        self.exporter = exporter
        self.api = api
        self.data_dir = data_dir
        self._clock = clock

    def turn(self) -> None:
        """Let half a minute pass, in which all periodic work is done once."""
        self._clock.advance(PASS_SECONDS)
        self.exporter.trigger()

    def metric(self, name: str, **labels: str) -> float | None:
        self.exporter.parts.limits.refresh()  # as it does by itself every few seconds
        return metric_in(metrics_of(self.exporter), name, **labels)

    def waits_for(self, value: float | None, name: str, **labels: str) -> None:
        wait_until(lambda: self.metric(name, **labels), lambda found: found == value)

    def reset(self, id_: str) -> httpx.Response:
        return loopback.post(f"{self.exporter.web.url}/api/collector/reset/{id_}")

    def status(self, id_: int) -> dict[str, object]:
        rows = self.api.database.rows(f"select * from rate_limit_status where config_id = {id_}")
        return rows[0] if rows else {}

    def command(self, *arguments: str) -> tuple[int, str, str]:
        """The exit code, output and notes of a command beside the running exporter."""
        said = run_command(
            *arguments,
            cwd=self.data_dir.parent,
            EXPORTER_DATA_DIR=str(self.data_dir),
            SUPABASE_URL=self.api.url,
            SUPABASE_SECRET_KEY=self.api.secret_key,
        )
        return said.returncode, said.stdout, said.stderr


@pytest.fixture
def program(tmp_path: Path, supabase_api: SupabaseApi) -> Iterator[_Program]:
    """An exporter that has read some records, on a project with one limit."""
    supabase_api.database.run(
        f"insert into rate_limit_configs ({_COLUMNS}) values ('OpenAI', 'Plus', '%', null, 80, 'weekly');"
    )
    clock = TurnableClock(time.time())
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server:
        proxy = server.proxy
        traffic = Traffic(seed=5, zone=proxy.zone, shape=proxy.shape)
        proxy.publish(traffic.batch(_RECORDS, ending=time.time(), span_seconds=1))
        settings = settings_for(
            tmp_path / "data",
            proxy_url=server.url,
            key=MANAGEMENT_KEY,
            supabase_url=supabase_api.url,
            supabase_secret_key=SecretStr(supabase_api.secret_key),
        )
        with running(settings, clock=clock) as exporter:
            yield _Program(exporter, supabase_api, clock, tmp_path / "data")


def test_a_limit_in_the_table_reaches_the_metrics_and_a_reset_reaches_the_table(program: _Program) -> None:
    counted = wait_until(lambda: program.metric("cliproxy_limit_used", limit="1", unit="requests"))
    assert counted is not None
    labels = {"limit": "1", "kind": "configured", "provider": "openai", "window": "week", "unit": "requests"}
    assert program.metric("cliproxy_limit_budget", **labels) == 80
    assert program.metric("cliproxy_limit_used_ratio", **labels) == counted / 80
    program.turn()
    status = wait_until(lambda: program.status(1), lambda row: row.get("used_requests") == counted)
    assert status["percentage"] == (80 - int(counted)) * 100 // 80
    assert status["status_label"] == f"{counted:.0f}/80 Requests"

    program.api.database.run("update rate_limit_configs set token_limit = 800000, request_limit = null;")
    program.turn()
    program.waits_for(800_000, "cliproxy_limit_budget", limit="1", unit="tokens")
    program.turn()
    wait_until(lambda: str(program.status(1)["status_label"]), lambda label: label.endswith("/800,000 Tokens"))

    answer = program.reset("1")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {
        "message": "Limit 1 was reset.",
        "new_status": {"percentage": 100, "label": "0/800,000 Tokens"},
    }
    assert program.metric("cliproxy_limit_used", limit="1") == 0, "without waiting"
    program.turn()
    wait_until(lambda: program.status(1)["status_label"], lambda label: label == "0/800,000 Tokens")
    assert program.api.database.value("(select reset_anchor_timestamp is not null from rate_limit_configs)")

    program.api.database.run("update rate_limit_configs set token_limit = 0;")
    program.turn()
    program.waits_for(None, "cliproxy_limit_used", limit="1")
    assert program.reset("1").json()["new_status"] == {"percentage": 100, "label": "Unlimited"}

    program.api.database.run("delete from rate_limit_configs;")
    program.turn()
    answer = wait_until(lambda: program.reset("1"), lambda answer: answer.status_code == 404)
    assert answer.json() == {"error": "Configuration with id 1 not found."}
    assert program.status(1) == {}


def test_a_row_with_a_mistake_shows_in_metric_and_page(program: _Program) -> None:
    program.waits_for(80, "cliproxy_limit_budget", limit="1")
    program.api.database.run(
        f"insert into rate_limit_configs ({_COLUMNS}) values ('Google', '', 'gemini', 5000, null, 'fixed');"
    )
    program.turn()
    program.waits_for(0, "cliproxy_exporter_config_reload_success")
    page = loopback.get(program.exporter.web.url).text
    assert "A limit has a mistake" in page
    assert "Row 2 of rate_limit_configs is not in force" in page
    assert program.metric("cliproxy_limit_budget", limit="1") == 80

    program.api.database.run("update rate_limit_configs set reset_strategy = 'daily' where id = 2;")
    program.turn()
    program.waits_for(1, "cliproxy_exporter_config_reload_success")
    program.waits_for(5000, "cliproxy_limit_budget", limit="2")


def test_the_command_line_shows_them_and_resets_them_beside_a_running_exporter(program: _Program) -> None:
    wait_until(lambda: program.metric("cliproxy_limit_used", limit="1"))
    code, said, notes = program.command("limits")
    assert code == 0, notes
    assert "OpenAI Plus: %" in said

    code, said, notes = program.command("limits", "reset", "1")
    assert (code, said) == (0, "The limit 1 counts from now on.\n"), notes
    program.turn()
    program.waits_for(0, "cliproxy_limit_used", limit="1")
    program.turn()
    anchor = wait_until(lambda: program.api.database.value("(select reset_anchor_timestamp from rate_limit_configs)"))
    assert abs(datetime.fromisoformat(anchor).timestamp() - time.time()) < 600

    program.api.kill()
    code, said, notes = program.command("limits", "reset", "1")
    assert (code, said) == (0, "The limit 1 counts from now on.\n"), "it asks nobody"
    code, said, notes = program.command("limits", "reset", "7")
    assert (code, said) == (1, "")
    assert "No limit has the id '7'. " in notes
    assert " in the table rate_limit_configs in Supabase: 1." in notes
