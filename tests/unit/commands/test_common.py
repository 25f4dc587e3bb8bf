"""The price file is checked with the settings, wherever its path was given."""

from pathlib import Path

from exporter.settings.load import load_settings

GOOD = "prices:\n  - {model: house, input: 1, output: 2}\n"
BAD = "prices:\n  - {model: house, input: cheap}\n  - {model: other, input: 1, form: 2026-01-01}\n"


def test_the_path_is_below_the_working_directory(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(GOOD)
    settings = load_settings({"EXPORTER_PRICES_FILE": "prices.yaml"}, cwd=tmp_path).require()
    assert settings.exporter_prices_file == tmp_path / "prices.yaml"


def test_the_path_in_the_configuration_file_is_below_that_file(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "prices.yaml").write_text(GOOD)
    (tmp_path / "conf" / "exporter.yaml").write_text("exporter_prices_file: prices.yaml\nexporter_prices_refresh: no\n")
    settings = load_settings({"EXPORTER_CONFIG": "conf/exporter.yaml"}, cwd=tmp_path).require()
    assert settings.exporter_prices_file == tmp_path / "conf" / "prices.yaml"
    assert settings.exporter_prices_refresh is False


def test_its_mistakes_are_reported_with_all_others_each_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(BAD)
    loaded = load_settings({"EXPORTER_PRICES_FILE": "prices.yaml", "EXPORTER_PORT": "many"}, cwd=tmp_path)
    assert loaded.settings is None
    assert {(problem.setting, problem.place) for problem in loaded.problems} == {
        ("EXPORTER_PORT", "environment"),
        ("EXPORTER_PRICES_FILE", "prices.yaml:2"),
        ("EXPORTER_PRICES_FILE", "prices.yaml:3"),
    }
    assert any("Did you mean from?" in str(problem) for problem in loaded.problems)


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    (problem,) = load_settings({"EXPORTER_PRICES_FILE": "none.yaml"}, cwd=tmp_path).problems
    assert str(problem) == (
        "EXPORTER_PRICES_FILE (none.yaml): The file does not exist."
        " Create it, or correct the path in EXPORTER_PRICES_FILE."
    )
