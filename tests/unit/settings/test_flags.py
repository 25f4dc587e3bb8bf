"""Settings that are given as flags."""

import contextlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from exporter.cli import main


def _check(tmp_path: Path, *arguments: str) -> str:
    """What ``check-config`` says of the settings, without a proxy."""
    with CliRunner().isolated_filesystem(tmp_path):
        return (
            CliRunner(env={"EXPORTER_PORT": "1", "LOG_LEVEL": "info"}).invoke(main, [*arguments, "check-config"]).output
        )


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--web.listen-address", "127.0.0.2:9400"], "EXPORTER_PORT"),
        (["--log.level=debug"], "LOG_LEVEL"),
        (["--data-dir", "elsewhere"], "EXPORTER_DATA_DIR"),
    ],
)
def test_a_flag_goes_before_the_environment(tmp_path: Path, arguments: list[str], line: str) -> None:
    (said,) = [each for each in _check(tmp_path, *arguments).splitlines() if line in each]

    assert "command line" in said


def test_an_address_without_host_is_every_interface(tmp_path: Path) -> None:
    assert "can read usage, costs and labels" in _check(tmp_path, "--web.listen-address=:9400")


def test_what_is_wrong_with_a_flag_is_told_as_of_the_command_line(tmp_path: Path) -> None:
    assert "LOG_LEVEL (command line)" in _check(tmp_path, "--log.level=loud")


@pytest.mark.parametrize("address", ["9400", "host", "host:", "host:http"])
def test_an_address_is_host_and_port(tmp_path: Path, address: str) -> None:
    assert "Write HOST:PORT" in _check(tmp_path, "--web.listen-address", address)
