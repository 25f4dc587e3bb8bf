"""What the formats of our own YAML files share: one thing that is wrong with a row, and how fields are read."""

from collections.abc import Iterator

from exporter.settings.problems import Problem, nearest, shown
from exporter.settings.yaml_file import Mapping, Scalar


class Wrong(Exception):  # noqa: N818 - it never leaves the reader of a file, which collects it as a Problem
    """One thing that is wrong, and where."""

    def __init__(self, line: int, why: str, fix: str) -> None:
        super().__init__(why)
        self.line, self.why, self.fix = line, why, fix

    def problem(self, *, setting: str, file: str) -> Problem:
        """As it is reported. ``setting`` is where the path of ``file`` was given."""
        return Problem(setting=setting, place=f"{file}:{self.line}", why=self.why, fix=self.fix)


def refuse_unknown(node: Mapping, known: tuple[str, ...]) -> None:
    """Raises Wrong for a field that is none of ``known``."""
    for wrong in unknown_fields(node, known):
        raise wrong


def unknown_fields(node: Mapping, known: tuple[str, ...]) -> Iterator[Wrong]:
    """What is wrong with each field that is none of ``known``."""
    for name in node.values:
        if name not in known:
            guess = nearest(name, known)
            fix = f"Did you mean {guess}?" if guess else f"Known here: {', '.join(known)}."
            yield Wrong(node.key_lines[name], f"{shown(name)} is unknown here.", fix)


def text_of(node: Mapping, field: str) -> str | None:
    """The text of a field, None without the field. Raises Wrong if it holds anything else."""
    value = node.values.get(field)
    if value is None:
        return None
    if not isinstance(value, Scalar) or not (value.text or "").strip():
        raise Wrong(node.key_lines[field], f"{field} is not a text.", f"Give {field} a text, or leave it out.")
    return (value.text or "").strip()
