"""The settings that have a name in the environment, as ``exporter.settings.model`` declares them."""

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.settings.model import DefaultProxy, SettingMeta, Settings


@dataclass(frozen=True, kw_only=True)
class Declared:
    """One setting as declared. ``yaml_name`` is its name in YAML; ``default`` is a text, empty if it has none."""

    yaml_name: str
    default: str
    section: str
    meta: SettingMeta

    @property
    def env_name(self) -> str:
        return self.yaml_name.upper()

    @property
    def file_name(self) -> str:
        """Name of the setting that names a file with the secret; empty if this one is not a secret."""
        return f"{self.env_name}_FILE" if self.meta.secret else ""

    @property
    def names(self) -> tuple[str, ...]:
        """All names in the environment."""
        return tuple(name for name in (self.env_name, self.meta.also, self.file_name) if name)


def declared() -> Iterator[Declared]:
    """All settings that have a name in the environment, in the order of the reference page."""
    section = ""
    for model in (DefaultProxy, Settings):
        for name, field in model.model_fields.items():
            for meta in field.metadata:
                if isinstance(meta, SettingMeta):
                    section = meta.section or section
                    default = "" if field.default in (None, ()) else str(field.default)
                    if isinstance(field.default, bool):
                        default = default.lower()
                    yield Declared(yaml_name=name, default=default, section=section, meta=meta)
