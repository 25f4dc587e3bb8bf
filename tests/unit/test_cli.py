"""The command line as its users see it: what it prints, on which stream, and with which exit code."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from exporter import __version__, cli
from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import environment, exporter_process, flow_in, run_command
from tests.stack.waiting import wait_until

COMMANDS = sorted(cli.COMMANDS)


@pytest.fixture
def server() -> Iterator[SteeredServer]:
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server:
        yield server


@pytest.fixture
def as_users_start_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.stack.running.FORKS", False)


def _settings(directory: Path, url: str, key: str = MANAGEMENT_KEY) -> dict[str, str]:
    return {"CLIPROXY_URL": url, "CLIPROXY_MANAGEMENT_KEY": key, "EXPORTER_DATA_DIR": str(directory / "data")}


# --- help and wrong use -----------------------------------------------------------------------------------------------


def test_help_lists_all_commands(tmp_path: Path) -> None:
    done = run_command("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Example: CLIPROXY_MANAGEMENT_KEY=" in done.stdout
    lines = done.stdout.partition("Commands:")[2].splitlines()
    for command, (_, sentence) in cli.COMMANDS.items():
        assert f"  {command:12}  {sentence}" in lines


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_character_that_the_terminal_lacks_is_no_error(is_terminal: bool, tmp_path: Path) -> None:
    settings = {"PYTHONIOENCODING": "latin-1", "EXPORTER_DATA_DIR": str(tmp_path)}
    reads, writes = os.openpty() if is_terminal else os.pipe()
    for arguments in (["--help"], ["price", "\N{GREEK SMALL LETTER ALPHA}-model"]):
        command = [sys.executable, "-m", "exporter", *arguments]
        subprocess.run(command, cwd=tmp_path, env=environment(settings), stdout=writes, check=arguments == ["--help"])
    os.close(writes)
    said = b"".join(iter(lambda: _read(reads), b""))
    os.close(reads)
    assert ("KEY=? cliproxy" if is_terminal else "KEY=\N{HORIZONTAL ELLIPSIS} cliproxy").encode() in said
    assert ("?-model" if is_terminal else "\N{GREEK SMALL LETTER ALPHA}-model").encode() in said


def _read(reads: int) -> bytes:
    try:
        return os.read(reads, 4096)
    except OSError:  # what a terminal says at its end
        return b""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("as_users_start_it")
def test_the_help_of_each_command_has_an_example(command: str, tmp_path: Path) -> None:
    done = run_command(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    example = " ".join(done.stdout.partition("Example: ")[2].split())
    assert f"cliproxy-exporter {command}" in example
    assert done.stderr == ""


def test_help_shows_the_first_sentence_of_each_command() -> None:
    context = click.Context(cli.main)
    for name, (_, line) in cli.COMMANDS.items():
        command = cli.main.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(1000) == line


@pytest.mark.parametrize(
    ("code", "needless"),
    [
        ("import exporter.cli", "exporter.commands"),
        ("import exporter.commands.price", "exporter.app exporter.ledger.ledger exporter.history flask supabase"),
        ("import exporter.commands.healthcheck", "click pydantic exporter.settings"),
        ("import exporter.settings.load", "exporter.limits exporter.pricing"),
    ],
)
def test_a_small_command_imports_a_small_part_of_the_program(code: str, needless: str, tmp_path: Path) -> None:
    asking = f"import sys; {code}; print(*(name for name in {needless.split()!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", asking], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_version_is_printed(tmp_path: Path) -> None:
    done = run_command("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"cliproxy-exporter, version {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["rnu"], "rnu"),
        (["--no-such-option"], "--no-such-option"),
        (["run", "something"], "something"),
        (["check-config", "--conect"], "--conect"),
        (["demo", "--rate", "often"], "often"),
        (["demo", "--rate", "inf"], "inf is not in the range"),
        (["demo", "--rate", "-1"], "-1.0 is not in the range"),
        (["demo", "--rate", "nan"], "'nan' is not a number"),
        (["demo", "--upgrade-after", "nan"], "'nan' is not a number"),
        (["demo", "--proxy-version", "5.0"], "not one of '6.9', '7.2', '8'"),
        (["demo", "--history-hours", "6"], "v7.2.140 has a queue"),
        (["demo", "--upgrade-to", "9"], "not one of '6.9', '7.2', '8'"),
        (["export", "--format", "xml"], "xml"),
        (["price", "gpt-5.4", "--at", "0001-01-01"], "'0001-01-01' is neither a day"),
    ],
    ids=" ".join,
)
def test_wrong_use_is_exit_code_2(arguments: list[str], word: str, tmp_path: Path) -> None:
    # East of Greenwich the first day of the calendar began before there was one in UTC.
    settings = {"CLIPROXY_MANAGEMENT_KEY": MANAGEMENT_KEY, "TIMEZONE": "Asia/Tokyo"}
    done = run_command(*arguments, cwd=tmp_path, **settings)
    assert done.returncode == 2
    assert done.stdout == ""
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


# --- run --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["run"]], ids=["no command", "run"])
def test_without_a_proxy_the_exporter_says_what_to_do(arguments: list[str], tmp_path: Path) -> None:
    done = run_command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (sentence,) = done.stderr.splitlines()
    assert "CLIPROXY_MANAGEMENT_KEY" in sentence
    assert sentence.endswith("run: cliproxy-exporter demo.")
    assert list(tmp_path.iterdir()) == []


def test_all_wrong_settings_are_reported_before_anything_starts(tmp_path: Path) -> None:
    done = run_command(
        "run",
        cwd=tmp_path,
        CLIPROXY_MANAGEMENT_KEY=MANAGEMENT_KEY,
        EXPORTER_PORT="many",
        TIMEZONE="Mars/Base",
        LOG_LEVEL="loud",
    )
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [sum(name in line for line in lines) for name in ("EXPORTER_PORT", "TIMEZONE", "LOG_LEVEL")] == [1, 1, 1]
    assert list(tmp_path.iterdir()) == []


def test_settings_in_dotenv_are_enough(server: SteeredServer, tmp_path: Path) -> None:
    dotenv = f"CLIPROXY_URL={server.url}\nCLIPROXY_MANAGEMENT_KEY={MANAGEMENT_KEY}\n"
    (tmp_path / ".env").write_text(dotenv, encoding="utf-8")
    with exporter_process(tmp_path) as program:
        wait_until(lambda: program.metric("cliproxy_up") == 1)
        assert program.stop() == 0
    assert program.out == [f"Open {program.url}/ (status) and {program.url}/metrics (for Prometheus)."]


# --- demo -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["demo", "--rate", "20", "--seed", "3"], ["run", "--or-demo"]], ids=" ".join)
def test_the_demo_shows_invented_figures(arguments: list[str], tmp_path: Path) -> None:
    real = {"SUPABASE_URL": "http://127.0.0.1:1", "SUPABASE_SECRET_KEY": "sb_secret_x"}
    with exporter_process(tmp_path, arguments=arguments, **real) as program:
        requests = "cliproxy_requests_total"
        wait_until(lambda: program.metric(requests, proxy="demo"), lambda made: made and made > 50)
        wait_until(lambda: program.metric("cliproxy_up", proxy="demo") == 1)  # its first poll may not have ended yet
        assert program.metric("cliproxy_exporter_history_state") is None, "invented figures go to no real project"
        assert program.stop() == 0
    assert "all figures are invented" in program.out[0]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["demo"]


def test_a_demo_has_a_month_from_its_first_minute_and_the_same_one_after_a_restart(tmp_path: Path) -> None:
    totals = []
    for _ in range(2):
        with exporter_process(tmp_path, arguments=["demo", "--rate", "0"]) as program:
            usage = program.get("/api/usage?range=30d&by=provider").json()
            totals.append(sum(row["requests"] for row in usage["rows"]))
            assert "Invented figures:" in program.get("/").text
            assert program.stop() == 0
        said = [line for line in program.out if "requests of the last 30 days" in line]
        assert len(said) == (len(totals) == 1)
    assert totals[0] > 5000
    assert totals[1] - totals[0] < 500, "but for what the demo proxy had to tell"


@pytest.mark.usefixtures("as_users_start_it")
def test_the_demo_plays_an_upgrade(tmp_path: Path) -> None:
    arguments = ["demo", "--proxy-version", "6.9", "--history-hours", "0", "--upgrade-after", "1", "--upgrade-to", "8"]
    with exporter_process(tmp_path, arguments=arguments, COLLECTOR_INTERVAL_SECONDS="1") as program:
        labels = {"proxy": "demo", "commit": "demo", "version": "v8.0.3", "source": "queue-v8"}
        wait_until(lambda: program.metric("cliproxy_proxy_info", **labels) == 1)
        assert program.stop() == 0
    assert "The demo proxy is now v8.0.3." in program.out


def test_the_demo_reads_a_simulated_proxy_that_runs_elsewhere(server: SteeredServer, tmp_path: Path) -> None:
    with exporter_process(tmp_path, arguments=["demo", "--proxy-url", server.url]) as program:
        wait_until(lambda: program.metric("cliproxy_up", proxy="demo") == 1)
        assert program.stop() == 0
    assert "all figures are invented" in program.out[0]
    refused = run_command("demo", "--proxy-url", server.url, "--rate", "5", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--proxy-url: takes no other options" in refused.stderr


def test_or_demo_starts_no_demo_if_a_proxy_is_configured(server: SteeredServer, tmp_path: Path) -> None:
    with exporter_process(
        tmp_path, proxy_url=server.url, key=MANAGEMENT_KEY, arguments=["run", "--or-demo"]
    ) as program:
        wait_until(lambda: program.metric("cliproxy_up", proxy="default") == 1)
        assert program.metric("cliproxy_up", proxy="demo") is None
        assert "nvented" not in program.get("/").text
        assert program.stop() == 0
    assert not any("invented" in line for line in program.out)


def test_a_demo_port_in_use_is_reported(server: SteeredServer, tmp_path: Path) -> None:
    done = run_command("demo", "--proxy-port", str(server.port), cwd=tmp_path, EXPORTER_PORT="0")
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert f"The demo proxy cannot listen on port {server.port} (Address already in use): set" in sentence
    assert "--proxy-port" in sentence


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--proxy-url", "localhost:8317", "It does not start with http:// or https://"),
        ("--proxy-port", "99999", "is not in the range 0<=x<=65535"),
    ],
)
def test_a_wrong_option_of_the_demo_is_wrong_use(option: str, value: str, says: str, tmp_path: Path) -> None:
    done = run_command("demo", option, value, cwd=tmp_path, EXPORTER_PORT="0", EXPORTER_DATA_DIR="data")
    assert done.returncode == 2
    assert f"Invalid value for {option}" in done.stderr.replace("'", "")
    assert says in done.stderr


# --- commands that read the ledger ------------------------------------------------------------------------------------


def test_an_import_without_a_proxy_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "past.csv").touch()
    done = run_command("import", "--from", "csv", "past.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("No proxy is configured. Set CLIPROXY_MANAGEMENT_KEY")


@pytest.mark.parametrize("command", ["export", "replay"])
def test_a_command_without_a_ledger_says_so(command: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = run_command(command, cwd=tmp_path, CLIPROXY_MANAGEMENT_KEY=MANAGEMENT_KEY, XDG_DATA_HOME=str(home))
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert f"There is no ledger at {home / 'cliproxy-exporter' / 'ledger.sqlite3'}" in sentence
    assert list(tmp_path.iterdir()) == []


def test_an_export_since_an_impossible_day_is_wrong_use(server: SteeredServer, tmp_path: Path) -> None:
    settings = _settings(tmp_path, server.url)
    with exporter_process(tmp_path, **settings) as program:
        assert program.url  # so that there is a ledger
        done = run_command("export", "--since", "yesterday", cwd=tmp_path, **settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'yesterday' is neither a day" in done.stderr


def test_an_export_whose_reader_leaves_ends_quietly(server: SteeredServer, tmp_path: Path) -> None:
    settings = _settings(tmp_path, server.url)
    proxy = server.proxy
    proxy.publish(Traffic(seed=1, zone=proxy.zone).batch(3000, ending=proxy.clock.now()))
    with exporter_process(tmp_path, **settings) as program:
        wait_until(lambda: flow_in(tmp_path / "data").booked == 3000)
        assert program.stop() == 0
    with subprocess.Popen(
        [sys.executable, "-m", "exporter", "export"],
        cwd=tmp_path,
        env=environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as export:
        assert export.stdout is not None
        assert export.stderr is not None
        assert export.stdout.readline().startswith("{")
        export.stdout.close()
        assert export.stderr.read() == ""
