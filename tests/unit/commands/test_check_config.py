"""``check-config``: what it asks and finds, and that it leaves nothing behind."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.simulator.world import CLIENTS, CREDENTIALS, MANAGEMENT_KEY
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.loopback import free_port
from tests.stack.running import PYTHON, environment, exporter_process, ledger_file, run_command
from tests.stack.waiting import wait_until


@pytest.fixture
def server() -> Iterator[SteeredServer]:
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server:
        yield server


def _settings(directory: Path, url: str, key: str = MANAGEMENT_KEY) -> dict[str, str]:
    return {"CLIPROXY_URL": url, "CLIPROXY_MANAGEMENT_KEY": key, "EXPORTER_DATA_DIR": str(directory / "data")}


def test_check_config_prints_all_problems_at_once(tmp_path: Path) -> None:
    done = run_command(
        "check-config",
        cwd=tmp_path,
        CLIPROXY_MANAGEMENT_KEY=MANAGEMENT_KEY,
        EXPORTER_PORT="many",
        TIMEZONE="Mars/Base",
        LOG_LEVEL="loud",
        EXPORTER_DATADIR="data",
    )
    assert done.returncode == 2
    problems = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert len(problems) == 3
    (warning,) = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert "EXPORTER_DATADIR" in warning
    assert "EXPORTER_DATA_DIR" in warning
    assert "The settings are valid" not in done.stdout


def test_check_config_without_a_proxy_says_what_to_do(tmp_path: Path) -> None:
    done = run_command("check-config", cwd=tmp_path)
    assert done.returncode == 2
    assert "problem: No proxy is configured. Set CLIPROXY_MANAGEMENT_KEY" in done.stdout


def test_check_config_without_a_proxy_tests_the_machine_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_command("check-config", cwd=tmp_path, EXPORTER_DATA_DIR="file/data")
    assert done.returncode == 2
    no_proxy, no_directory = (line for line in done.stdout.splitlines() if line.startswith("problem: "))
    assert "No proxy is configured." in no_proxy
    assert f"The data directory {tmp_path / 'file' / 'data'} cannot be used" in no_directory
    assert "port: any free one" in done.stdout
    assert "The settings are valid" not in done.stdout


def test_check_config_without_a_proxy_says_so_beside_a_wrong_url_for_messages(tmp_path: Path) -> None:
    done = run_command("check-config", cwd=tmp_path, EXPORTER_NOTIFY_URLS="nobody://planted")
    assert done.returncode == 2
    assert "problem: No proxy is configured." in done.stdout
    assert "EXPORTER_NOTIFY_URLS: Apprise does not know URL number 1." in done.stderr
    assert "planted" not in done.stdout + done.stderr


def test_check_config_asks_nobody_and_writes_nothing(server: SteeredServer, tmp_path: Path) -> None:
    done = run_command("check-config", cwd=tmp_path, **_settings(tmp_path, server.url))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"proxy default: {server.url}",
        "The settings are valid.",
        f"data directory: {tmp_path / 'data'} can be written",
        "port: any free one",
        "days: begin at midnight in UTC, the machine's zone",
    ]
    assert server.proxy.requests.total() == 0
    assert list(tmp_path.iterdir()) == []


def test_check_config_tests_what_a_run_needs(server: SteeredServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "limits.yaml").write_text("limits:\n- {id: l, strategy: daily, tokens: 5}\n")
    (tmp_path / "web.yaml").write_text("basic_auth_users: {}\n")
    settings = _settings(tmp_path, server.url) | {"EXPORTER_DATA_DIR": "file/data", "EXPORTER_WEB_CONFIG": "web.yaml"}
    port = server.url.rpartition(":")[2]
    more = {"EXPORTER_PORT": port, "EXPORTER_LIMITS_FILE": "limits.yaml", "TIMEZONE": "Asia/Tokyo"}
    done = run_command("check-config", cwd=tmp_path, **settings, **more)
    assert (done.returncode, done.stderr) == (1, "")
    directory, taken = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    place = tmp_path / "file"
    assert f"The data directory {place / 'data'} cannot be used (Not a directory: {place}). Give" in directory
    said = f"The exporter cannot listen on 127.0.0.1:{port} (Address already in use). Is another exporter running?"
    assert said in taken
    assert "days: begin at midnight in Asia/Tokyo\n" in done.stdout
    for name in ("limits.yaml", "web.yaml"):
        assert f"file: {tmp_path / name} is valid" in done.stdout
    assert run_command("run", cwd=tmp_path, **settings, **more).returncode == 1, "and so does the run"


def test_check_config_reports_a_damaged_hash_key(server: SteeredServer, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hash.key").write_text("no key\n")
    settings = _settings(tmp_path, server.url)
    done = run_command("check-config", cwd=tmp_path, **settings)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"problem: The hash key {tmp_path / 'data' / 'hash.key'} is damaged" in done.stdout
    assert "is damaged" not in run_command("check-config", cwd=tmp_path, **settings, EXPORTER_HASH_KEY="0" * 16).stdout


_ON_A_FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # no file may grow
from exporter.cli import main
main(["check-config"])
"""


def test_check_config_reports_a_full_disk(server: SteeredServer, tmp_path: Path) -> None:
    env = environment(_settings(tmp_path, server.url) | {"EXPORTER_PORT": "0"})
    command = [*PYTHON, "-c", _ON_A_FULL_DISK]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    (problem,) = [line for line in done.stdout.splitlines() if line.startswith("problem: ")]
    assert f"The disk of the data directory {tmp_path / 'data'} is full" in problem
    assert "Free some space" in problem
    assert "can be written" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_check_config_refuses_a_notification_url_that_a_run_refuses(server: SteeredServer, tmp_path: Path) -> None:
    settings = _settings(tmp_path, server.url) | {"EXPORTER_NOTIFY_URLS": "nonsense"}
    done = run_command("check-config", cwd=tmp_path, **settings)
    assert done.returncode == 2
    assert done.stderr.startswith("EXPORTER_NOTIFY_URLS: Apprise does not know URL number 1.")
    assert "The settings are valid" not in done.stdout
    assert run_command("run", cwd=tmp_path, **settings).returncode == 2


def test_check_config_leaves_the_port_to_the_running_exporter(server: SteeredServer, tmp_path: Path) -> None:
    settings = _settings(tmp_path, server.url)
    with exporter_process(tmp_path, **settings) as program:
        port = program.url.rpartition(":")[2]
        done = run_command("check-config", cwd=tmp_path, **settings, EXPORTER_PORT=port)
        assert done.returncode == 0
        assert f"port: 127.0.0.1:{port} is not tried, because an exporter runs" in done.stdout
        assert program.stop() == 0


def test_check_config_compares_aliases_and_limits_with_what_the_proxy_has(
    server: SteeredServer, tmp_path: Path
) -> None:
    alice, bob = (each for each in CREDENTIALS if each.provider == "claude" and each.email)
    (tmp_path / "exporter.yaml").write_text(f"""\
aliases:
  clients:
  - {{key: {CLIENTS[0].key}, alias: laptop}}
  - {{key: {CLIENTS[1].key}x, alias: phone}}
  credentials:
  - {{email: {alice.email}, alias: Alice}}
  - {{email: {bob.email}x, alias: Bob}}
""")
    (tmp_path / "limits.yaml").write_text("""\
limits:
- {id: fine, strategy: daily, tokens: 5, credential: Alice, client: laptop, provider: Claude, proxy: default}
- {id: glob, strategy: daily, tokens: 5, credential: "claude-*"}
- {id: odd, strategy: daily, tokens: 5, credential: Alise, provider: claud}
- {id: gone, strategy: daily, tokens: 5, client: telephone, proxy: office}
""")
    settings = _settings(tmp_path, server.url)
    files = {"EXPORTER_CONFIG": "exporter.yaml", "EXPORTER_LIMITS_FILE": "limits.yaml"}
    done = run_command("check-config", "--connect", cwd=tmp_path, **settings, **files)
    assert (done.returncode, done.stderr) == (0, "")
    warnings = [line.removeprefix("warning: ") for line in done.stdout.splitlines() if line.startswith("warning: ")]
    masked = [re.sub(r"-[0-9a-f]{4,}", "-…", line) for line in warnings]
    assert masked == [
        "the alias 'Bob' matches nothing that the proxies have. Did you mean the one shown as claude-…?"
        " cliproxy-exporter names lists all.",
        "the alias 'phone' matches nothing that the proxies have. Did you mean the one shown as client-…?"
        " cliproxy-exporter names lists all.",
        "the limit 'odd' counts nothing: no provider is called 'claud'. Did you mean claude?",
        "the limit 'odd' counts nothing: no credential is called 'Alise'. Did you mean Alice?",
        "the limit 'gone' counts nothing: no proxy is called 'office'.",
        "the limit 'gone' counts nothing: no client is called 'telephone'.",
    ]
    with ledger_file(tmp_path / "data") as ledger:
        assert ledger.execute("select count(*) from credential").fetchone() == (0,), "a check met them"


def test_check_config_connects(server: SteeredServer, tmp_path: Path) -> None:
    server.proxy.publish(Traffic(seed=1, zone=server.proxy.zone).batch(10, ending=server.proxy.clock.now()))
    server.proxy.plugins = {"cpa-prometheus": True}
    done = run_command("check-config", "--connect", cwd=tmp_path, **_settings(tmp_path, server.url))
    assert (done.returncode, done.stderr) == (0, "")
    assert "proxy default: version v7.2.140, usage queue (v0)" in done.stdout
    assert "warning: Proxy 'default' at" in done.stdout
    assert "runs the plugin cpa-prometheus, whose metrics begin with cliproxy_, too" in done.stdout
    assert "keeps unread records for 60 s" in done.stdout
    assert server.proxy.counts().popped == 0, "a check took records away"


def test_check_config_says_what_a_subscription_does_to_others_before_it_begins(
    server: SteeredServer, tmp_path: Path
) -> None:
    settings = {**_settings(tmp_path, server.url), "CLIPROXY_SOURCE": "subscribe"}
    done = run_command("check-config", "--connect", cwd=tmp_path, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert "programs that poll its usage queue get nothing" in done.stdout
    server.proxy.upgrade("v7.1.17")
    done = run_command("check-config", "--connect", cwd=tmp_path, **settings)
    assert "A subscription needs CPA 7.0.7 or newer, and not 7.1.17." in done.stdout
    server.proxy.upgrade("v6.9.49")
    done = run_command("check-config", "--connect", cwd=tmp_path, **settings)
    assert "note: proxy default: It cannot be subscribed to, and need not be" in done.stdout
    assert "Set source: queue" in done.stdout
    assert server.proxy.counts().refused_logins == 0


def test_check_config_reports_that_publishing_is_off(server: SteeredServer, tmp_path: Path) -> None:
    server.proxy.publishing = False
    done = run_command("check-config", "--connect", cwd=tmp_path, **_settings(tmp_path, server.url))
    assert done.returncode == 1
    assert "problem: proxy default does not record usage: set usage-statistics-enabled: true" in done.stdout


def test_check_config_reports_a_proxy_that_does_not_answer(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run_command("check-config", "--connect", cwd=tmp_path, **_settings(tmp_path, url))
    assert done.returncode == 1
    assert "refused the connection. Is CPA running" in done.stdout


def test_check_config_and_the_exporter_together_try_a_wrong_key_once(server: SteeredServer, tmp_path: Path) -> None:
    settings = _settings(tmp_path, server.url, key="sk-planted-wrong-key")
    for _ in range(3):
        done = run_command("check-config", "--connect", cwd=tmp_path, **settings)
        assert done.returncode == 1
        assert "was refused once" in done.stdout
    with exporter_process(tmp_path, **settings) as program:
        wait_until(lambda: program.logged("proxy_state", "state=key_refused"))
        done = run_command("check-config", "--connect", cwd=tmp_path, **settings)
        assert (done.returncode, done.stderr) == (1, "")
        assert program.stop() == 0
    assert server.proxy.counts().refused_logins == 1

    right = run_command("check-config", "--connect", cwd=tmp_path, **_settings(tmp_path, server.url))
    assert right.returncode == 0, "the right key has to wait for the wrong one"


def test_check_config_connects_beside_a_running_exporter(server: SteeredServer, tmp_path: Path) -> None:
    settings = _settings(tmp_path, server.url)
    with exporter_process(tmp_path, **settings) as program:
        wait_until(lambda: program.metric("cliproxy_up") == 1)
        done = run_command("check-config", "--connect", cwd=tmp_path, **settings)
        assert (done.returncode, done.stderr) == (0, "")
        assert program.stop() == 0
