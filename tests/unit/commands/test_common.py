"""Commands check the files that settings name together with the settings, wherever the path was given."""

import subprocess
import sys
from pathlib import Path

import pytest

from exporter.commands.common import FAILED, load, print_table
from exporter.settings.load import Loaded

GOOD = "prices:\n  - {model: house, input: 1, output: 2}\n"
BAD = "prices:\n  - {model: house, input: cheap}\n  - {model: other, input: 1, form: 2026-01-01}\n"


@pytest.fixture(autouse=True)
def _in_an_empty_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def load_from(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> Loaded:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return load()


def test_a_path_is_below_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(GOOD)
    settings = load_from(monkeypatch, {"EXPORTER_PRICES_FILE": "prices.yaml"}).require()
    assert settings.exporter_prices_file == tmp_path / "prices.yaml"


def test_a_path_in_the_configuration_file_is_below_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "prices.yaml").write_text(GOOD)
    (tmp_path / "conf" / "exporter.yaml").write_text("exporter_prices_file: prices.yaml\nexporter_prices_refresh: no\n")
    settings = load_from(monkeypatch, {"EXPORTER_CONFIG": "conf/exporter.yaml"}).require()
    assert settings.exporter_prices_file == tmp_path / "conf" / "prices.yaml"
    assert settings.exporter_prices_refresh is False


def test_mistakes_in_the_file_are_reported_with_all_others_each_with_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "prices.yaml").write_text(BAD)
    loaded = load_from(monkeypatch, {"EXPORTER_PRICES_FILE": "prices.yaml", "EXPORTER_PORT": "many"})
    assert loaded.settings is None
    assert {(problem.setting, problem.place) for problem in loaded.problems} == {
        ("EXPORTER_PORT", "environment"),
        ("EXPORTER_PRICES_FILE", "prices.yaml:2"),
        ("EXPORTER_PRICES_FILE", "prices.yaml:3"),
    }
    assert any("Did you mean from?" in str(problem) for problem in loaded.problems)


def test_a_missing_file_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = load_from(monkeypatch, {"EXPORTER_PRICES_FILE": "none.yaml"}).problems
    assert str(problem) == (
        "EXPORTER_PRICES_FILE (none.yaml): The file does not exist."
        " Create it, or correct the path in EXPORTER_PRICES_FILE."
    )


def test_mistakes_in_limits_and_prices_are_reported_together(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(BAD)
    (tmp_path / "limits.yaml").write_text("limits:\n- {id: a, tokens: 5, strategy: dayly}\n")
    environ = {"EXPORTER_PRICES_FILE": "prices.yaml", "EXPORTER_LIMITS_FILE": "limits.yaml", "TIMEZONE": "Asia/Tokyo"}
    loaded = load_from(monkeypatch, environ)
    assert [problem.place for problem in loaded.problems] == ["prices.yaml:2", "prices.yaml:3", "limits.yaml:2"]


def test_a_table_is_aligned_and_a_name_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "cost"), [("a", "$10.00"), ("\x1b[2Jevil\n\u202e", "$1.00")], right={"cost"})

    assert capsys.readouterr().out.splitlines() == [
        "name          cost",
        "a           $10.00",
        "\ufffd[2Jevil\ufffd\ufffd   $1.00",
    ]


def test_wide_characters_keep_a_table_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "cost"), [("玛丽亚", "$10.00"), ("jonas", "$1.00")], right={"cost"})

    assert capsys.readouterr().out.splitlines() == [
        "name      cost",
        "玛丽亚  $10.00",
        "jonas    $1.00",
    ]


@pytest.mark.parametrize("write", ["click.echo('x')", "sys.stdout.write('x')"])
def test_a_full_disk_ends_a_command_with_a_sentence(write: str) -> None:
    script = f"import click, sys; from exporter.commands.common import exit_codes\nwith exit_codes():\n    {write}"
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (FAILED, "The output cannot be written (No space left on device).\n")
