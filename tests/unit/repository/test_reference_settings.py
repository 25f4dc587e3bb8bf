"""The generated pages are up to date and complete."""

import re
from pathlib import Path

from exporter.settings.load import load_settings
from exporter.settings.model import declared
from tests.stack.pages.reference import env_example, settings_markdown

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")


def test_every_name_is_on_the_page() -> None:
    page = settings_markdown(PAGE)
    for setting in declared():
        for name in setting.names:
            assert f"`{name}`" in page


def test_the_text_between_the_tables_stays() -> None:
    """The text is written by hand, and so are the variables that only docker-compose.yml reads."""
    assert "management_key_file: secrets/home" in settings_markdown(PAGE)
    assert "\n# How long Prometheus keeps its data.\n" in env_example(EXAMPLE)


def test_a_copy_of_the_example_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(env_example(EXAMPLE), encoding="utf-8")
    loaded = load_settings({}, cwd=tmp_path)
    assert (loaded.problems, loaded.warnings, loaded.notes) == ([], [], [])
    assert set(loaded.origins.values()) == {"default"}


def test_the_values_in_the_example_are_the_defaults(tmp_path: Path) -> None:
    active = env_example(EXAMPLE).replace("CLIPROXY_MANAGEMENT_KEY=", "CLIPROXY_MANAGEMENT_KEY=some-key")
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z_]+=)", r"\1", active, flags=re.MULTILINE), encoding="utf-8")
    given = load_settings({}, cwd=tmp_path)
    by_default = load_settings({"CLIPROXY_MANAGEMENT_KEY": "some-key"}, cwd=tmp_path / "nowhere")
    assert given.warnings == []
    assert given.origins["EXPORTER_PORT"].startswith(".env:")
    assert given.require() == by_default.require().model_copy(update={"exporter_data_dir": tmp_path / "data"})
