"""All settings as they are declared: for the loader, the reference page and ``.env.example``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from exporter.settings.model import DefaultProxy, Settings


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One setting. ``yaml_name`` is its name in YAML; ``default`` is a text, empty if it has none.

    ``section`` is its part of the reference page; the settings below the first of a section belong to it too. ``kind``
    says in words what a value looks like, ``unset`` what holds without one, ``also`` is an older name of the same
    setting. A secret may also be given as ``<NAME>_FILE``, a list (``is_list``) also as a list in YAML.
    """

    yaml_name: str
    default: str
    section: str
    kind: str
    help: str
    unset: str = ""
    also: str = ""
    secret: bool = False
    is_list: bool = False
    in_yaml: bool = True

    @property
    def env_name(self) -> str:
        return self.yaml_name.upper()

    @property
    def file_name(self) -> str:
        """Name of the setting that names a file with the secret; empty if this one is not a secret."""
        return f"{self.env_name}_FILE" if self.secret else ""

    @property
    def names(self) -> tuple[str, ...]:
        """All names in the environment."""
        return tuple(name for name in (self.env_name, self.also, self.file_name) if name)


def declared() -> Iterator[Declared]:
    """All settings that have a name in the environment, in the order of the reference page."""
    section = ""
    for model in (DefaultProxy, Settings):
        for name, field in model.model_fields.items():
            if field.json_schema_extra is None:
                continue  # proxies and aliases, which only YAML can hold
            said = cast("dict[str, Any]", field.json_schema_extra)
            section = said.get("section", section)
            default = "" if field.default in (None, (), Path()) else str(field.default)
            if isinstance(field.default, bool):
                default = default.lower()
            yield Declared(**said | {"yaml_name": name, "default": default, "section": section})
