"""The generated pages are up to date and complete."""

import re
from pathlib import Path

import pytest

from exporter.settings.declared import declared
from exporter.settings.load import load_settings
from exporter.settings.reference import env_example, settings_markdown

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param("docs/settings.md", settings_markdown(), id="the reference page"),
        pytest.param(".env.example", env_example(), id="the example of .env"),
    ],
)
def test_generated_files_are_up_to_date(file: str, expected: str) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == expected, f"{file} is stale: run make docs"


def test_every_name_is_on_the_page() -> None:
    page = settings_markdown()
    for setting in declared():
        for name in setting.names:
            assert f"`{name}`" in page


def test_a_copy_of_the_example_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(env_example(), encoding="utf-8")
    loaded = load_settings({}, cwd=tmp_path)
    assert (loaded.problems, loaded.warnings, loaded.notes) == ([], [], [])
    assert set(loaded.sources.values()) == {"default"}


def test_the_values_in_the_example_are_the_defaults(tmp_path: Path) -> None:
    active = env_example().replace("CLIPROXY_MANAGEMENT_KEY=", "CLIPROXY_MANAGEMENT_KEY=some-key")
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z_]+=)", r"\1", active, flags=re.MULTILINE), encoding="utf-8")
    given = load_settings({}, cwd=tmp_path)
    by_default = load_settings({"CLIPROXY_MANAGEMENT_KEY": "some-key"}, cwd=tmp_path / "nowhere")
    assert given.warnings == []
    assert given.sources["EXPORTER_PORT"].startswith(".env:")
    assert given.require() == by_default.require().model_copy(update={"exporter_data_dir": tmp_path / "data"})
