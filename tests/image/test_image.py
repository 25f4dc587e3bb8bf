"""The image: its content, its user, its start and its end."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter.ledger.database import FILE_NAME
from tests.image.engine import Engine
from tests.stack.waiting import wait_until

# As docker-compose.yml confines it.
_CONFINED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=all", "--security-opt=no-new-privileges")
_NAME, _VOLUME = "image-test", "image-test-data"


@pytest.fixture
def tidy(engine: Engine) -> Iterator[None]:
    yield
    engine.try_podman("rm", "--force", "--volumes", _NAME)
    engine.try_podman("volume", "rm", "--force", _VOLUME)


def _start(engine: Engine, image: str, *options: str) -> None:
    volume = f"--volume={_VOLUME}:/data"
    engine.podman("run", "--detach", f"--name={_NAME}", "--network=none", volume, *_CONFINED, *options, image, "demo")


def test_without_settings_it_ends_with_code_2_and_a_sentence(engine: Engine, image: str) -> None:
    done = engine.try_podman("run", "--rm", "--network=none", *_CONFINED, image)

    assert done.returncode == 2
    assert "No proxy is configured. Set CLIPROXY_MANAGEMENT_KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("tidy")
def test_it_runs_confined_says_that_it_is_healthy_and_ends_in_time(engine: Engine, image: str) -> None:
    with engine.timed("container started until healthy"):
        _start(engine, image)
        wait_until(lambda: engine.is_healthy(_NAME))

    assert engine.exec(_NAME, "id", "-u").stdout.strip() == "10001"
    with engine.timed("stop"):
        # podman kills whatever has not ended after this time, and then the code is not 0.
        engine.podman("stop", "--time=3", _NAME)
    assert engine.exit_code(_NAME) == 0, engine.logs(_NAME)
    assert "event=stopped finished=true" in engine.logs(_NAME)


@pytest.mark.usefixtures("tidy")
def test_its_health_check_follows_the_port(engine: Engine, image: str) -> None:
    _start(engine, image, "--env=EXPORTER_PORT=9400")
    wait_until(lambda: engine.is_healthy(_NAME))

    assert "cliproxy_exporter_build_info" in engine.fetch(_NAME, "http://127.0.0.1:9400/metrics")


@pytest.mark.usefixtures("tidy")
def test_the_ledger_is_in_the_volume_and_outlives_the_container(engine: Engine, image: str, tmp_path: Path) -> None:
    _start(engine, image)
    wait_until(lambda: engine.is_healthy(_NAME))
    before = engine.exec(_NAME, "cat", "/data/demo/hash.key").stdout
    # The backup of docs/backup.md, while it runs.
    backup = engine.exec(
        _NAME, "python", "-m", "sqlite3", f"/data/demo/{FILE_NAME}", "vacuum into '/data/backup.sqlite3'"
    )
    assert backup.returncode == 0, backup.stderr
    engine.podman("cp", f"{_NAME}:/data/backup.sqlite3", str(tmp_path))
    engine.podman("rm", "--force", "--time=3", _NAME)

    _start(engine, image)
    wait_until(lambda: engine.is_healthy(_NAME))

    assert before
    assert engine.exec(_NAME, "cat", "/data/demo/hash.key").stdout == before
    with closing(sqlite3.connect(tmp_path / "backup.sqlite3")) as copy:
        assert copy.execute("select name from proxy").fetchall() == [("demo",)]


def test_nothing_in_it_can_install_or_compile_and_only_its_data_can_be_written(engine: Engine, image: str) -> None:
    script = (
        "ls /opt/exporter/lib/python3.13/site-packages | grep -i -E '^(pip|setuptools)';"
        "command -v cc gcc make;"
        "find / -xdev -writable -not -type l -not -path '/proc/*' -not -path '/dev/*' -not -path '/sys/*' 2>/dev/null;"
        "true"
    )
    found = engine.podman("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", script)

    assert set(found.split()) - {"/data", "/tmp", "/var/tmp", "/run/lock", "/var/lock"} == set()  # noqa: S108


def test_its_user_finds_all_templates_compiled(engine: Engine, image: str) -> None:
    script = (
        "import flask, jinja2; from exporter.web.rendering import add_filters; jinja2.Environment.compile = None;"
        " app = flask.Flask('exporter.web.site'); add_filters(app);"
        " print(len([app.jinja_env.get_template(name) for name in app.jinja_env.list_templates()]))"
    )
    assert int(engine.podman("run", "--rm", "--network=none", "--entrypoint=python", image, "-c", script)) > 5


def test_only_the_program_is_taken_from_the_checkout(engine: Engine, image: str) -> None:
    names = "-name '.env*' -o -name '*.sqlite3' -o -path '*/tests/fakes*'"
    script = f"ls -A /app /data; find / -xdev \\( {names} \\) 2>/dev/null; true"
    found = engine.podman("run", "--rm", "--network=none", "--entrypoint=sh", image, "-c", script)

    assert found.split() == ["/app:", "/data:"]
