"""What a user wrote: texts, lists and mappings, each of which knows where it stands."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from exporter.sentences import say
from exporter.settings.problems import Problem, ProblemsError


@dataclass(frozen=True)
class Place:
    """Where something was written: under a ``name``, in a ``line`` (0 if there are none) of a ``source``.

    Paths that were written there are relative to ``base``.
    """

    name: str
    source: str
    base: Path
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source

    def problem(self, why: str, fix: str = "") -> Problem:
        """A problem with what was written here."""
        return Problem(setting=self.name, place=str(self), why=why, fix=fix)


class Text(str):
    """One value, without spaces around it."""

    at: Place

    def __new__(cls, text: str, at: Place) -> Self:
        made = super().__new__(cls, text)
        made.at = at
        return made


class Items(list["Node"]):
    """A list."""

    def __init__(self, items: Iterable["Node"], at: Place) -> None:
        super().__init__(items)
        self.at = at


class Mapping(dict[str, "Node"]):
    """Names and their values."""

    def __init__(self, values: dict[str, "Node"], at: Place) -> None:
        super().__init__(values)
        self.at = at


Node = Text | Items | Mapping
"""``at`` is where its name stands or, in a list, where it begins."""


def single(node: Node) -> Text:
    """The text that stands there. Raises ProblemsError for a list or a mapping."""
    if not isinstance(node, Text):
        raise ProblemsError(node.at.problem("It is not a single value.", f"Write it as {node.at.name}: value."))
    return node


def secret_in_file(file: Node, *, plain: Node | None) -> Text:
    """The secret in the file that is named, which must not be given in plain text too. Raises ProblemsError.

    Line breaks at the end of the file do not belong to it.
    """
    at, name = file.at, single(file)
    if plain is not None:
        raise ProblemsError(at.problem(f"{plain.at.name} ({plain.at}) is set too.", "Set only one of the two."))
    text = read_text(at.base / name, at).rstrip("\r\n")
    if not text.strip():
        raise ProblemsError(at.problem("The file is empty.", "Put the secret into it."))
    return Text(text, at)


def read_text(path: Path, named: Place) -> str:
    """The text of a file without byte order mark; ``named`` is where its path was written. Raises ProblemsError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        why, fix = say("The file does not exist."), say("Create it, or correct the path in {name}.", name=named.name)
    except IsADirectoryError:
        why = say("It is a directory.")
        fix = say("Put a file there, or correct the path in {name}.", name=named.name)
    except UnicodeDecodeError:
        why, fix = say("The file is not UTF-8 text."), say("Save it as UTF-8.")
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "not a path"
        why, fix = say("The file cannot be read: {cause}.", cause=cause), say("Let the exporter's user read it.")
    raise ProblemsError(named.problem(why, fix))
