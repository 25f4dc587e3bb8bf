"""Settings that are given as flags."""

import contextlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter.cli import main


def _check(tmp_path: Path, *arguments: str) -> str:
    """The output of ``check-config`` about the settings, without a proxy."""
    with contextlib.chdir(tmp_path):
        runner = CliRunner(env={"EXPORTER_PORT": "1", "LOG_LEVEL": "info"})
        return runner.invoke(main, [*arguments, "check-config"]).output


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ("--web.listen-address=127.0.0.2:94000", "EXPORTER_PORT (command line)"),
        ("--log.level=loud", "LOG_LEVEL (command line)"),
        ("--data-dir=~somebody/data", "EXPORTER_DATA_DIR (command line)"),
        ("--config.file=none.yaml", "EXPORTER_CONFIG (none.yaml)"),
        ("--web.config.file=none.yml", "none.yml"),
    ],
)
def test_a_flag_overrides_the_environment_and_is_named(tmp_path: Path, argument: str, problem: str) -> None:
    assert problem in _check(tmp_path, argument)


def test_an_address_without_a_host_means_every_interface(tmp_path: Path) -> None:
    assert "can read usage, costs and labels" in _check(tmp_path, "--web.listen-address=:9400")


@pytest.mark.parametrize("address", ["9400", "host", "host:", "host:http"])
def test_an_address_without_host_and_port_is_refused(tmp_path: Path, address: str) -> None:
    assert "Write HOST:PORT" in _check(tmp_path, "--web.listen-address", address)
