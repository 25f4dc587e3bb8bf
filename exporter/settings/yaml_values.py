"""YAML as the user wrote it: texts, lists and mappings that know where they stand.

A YAML file may be what ``yaml.safe_load`` accepts, except for a key that occurs twice (``safe_load`` silently takes the
last one) and a document that is not a mapping. Scalars keep the text as written, because YAML would turn an
``auth_index`` such as ``0123456701234567`` into another number. Error texts never quote the file, which may hold keys.
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import yaml

from exporter.sentences import Sentence, say
from exporter.settings.problems import Problem, ProblemsError

_PLAIN = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_PLAIN + kind for kind in ("str", "int", "float", "bool", "timestamp", "value", "null")}


@dataclass(frozen=True)
class Place:
    """Where something was written: under a ``name``, in a ``line`` (0 if there are none) of an ``origin``.

    Paths that were written there are relative to ``base``.
    """

    name: str
    origin: str
    base: Path
    line: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}" if self.line else self.origin

    def problem(self, why: str, fix: str = "") -> Problem:
        return Problem(setting=self.name, place=str(self), why=why, fix=fix)


class _Written:
    """``at`` is where its name stands or, in a list, where it begins."""

    at: Place

    def found(self, at: Place) -> Self:
        self.at = at
        return self


class Text(_Written, str):
    """One value, without spaces around it."""

    @cached_property
    def file(self) -> str:
        """The text of the file with this path. It is read only once, because it may be a pipe. Raises ProblemsError."""
        return read_text(self.at.base / self, self.at)


class Items(_Written, list["Node"]):
    """A list."""


class Mapping(_Written, dict[str, "Node"]):
    """Names and their values."""


Node = Text | Items | Mapping


def read_text(path: Path, named: Place) -> str:
    """The text of a file without byte order mark; ``named`` is where its path was written. Raises ProblemsError."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        why, fix = say("The file does not exist."), say("Create it, or correct the path in {name}.", name=named.name)
    except UnicodeDecodeError:
        why, fix = say("The file is not UTF-8 text."), say("Save it as UTF-8.")
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "not a path"
        why = say("The file cannot be read: {cause}.", cause=cause)
        fix = say("Let the exporter's user read it, or correct the path in {name}.", name=named.name)
    raise ProblemsError(named.problem(why, fix))


# --- YAML -------------------------------------------------------------------------------------------------------------


def read_yaml(path: Path, *, setting: str) -> Mapping:
    """The file's mapping, empty for an empty file. Raises ProblemsError. ``setting`` holds its path."""
    top = Place(setting, path.name, path.parent)
    text = read_text(path, top)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None or root.tag == _PLAIN + "null":
            return Mapping().found(replace(top, line=1))
        if isinstance(root, yaml.MappingNode):
            return _mapping(root, replace(top, line=1))
        raise _refused(root, say("The file is not a mapping."), say("Begin it with a name and a colon."))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        why, fix = error.problem or "", error.note or ""
        if not fix:
            why = say("This is not YAML: {cause}.", cause=_cause(error))
            fix = say("Check the indentation, and put quotes around special characters, also in the line before.")
            if "'\\t'" in str(error.problem):
                fix = say("Replace it with spaces.")
    except RecursionError:
        line, why = 1, say("Lists or mappings are nested too deeply, or contain themselves.")
        fix = say("Write it flat, without aliases.")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        why, fix = say("There is a control character."), say("Remove it.")
    raise ProblemsError(replace(top, line=line).problem(why, fix))


def _refused(node: yaml.Node, why: Sentence, fix: Sentence) -> yaml.MarkedYAMLError:
    """The error for something that YAML allows and we do not."""
    return yaml.MarkedYAMLError(problem=why, problem_mark=node.start_mark, note=fix)


def _cause(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or "it cannot be parsed").removeprefix("but ")
    if "'\\t'" in problem:
        return say("a tab stands where only spaces may indent")
    if problem.startswith("found character"):
        return say("a value begins with a character that has a meaning in YAML")
    is_of_tokens = isinstance(error, yaml.parser.ParserError)
    if problem.startswith("could not find") or (is_of_tokens and problem.startswith("expected")):
        return problem  # quotes kinds of tokens, and nothing of the file
    return re.split("['\"]", problem, maxsplit=1)[0].strip().rstrip(",:") or "it cannot be parsed"


def _mapping(node: yaml.MappingNode, at: Place) -> Mapping:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        name = _name(key)
        if name in lines:
            why = say("The same name is already in line {line}.", line=lines[name])
            raise _refused(key, why, say("Keep one of the two."))
        lines[name] = key.start_mark.line + 1
    yaml.SafeLoader("").flatten_mapping(node)
    found = Mapping().found(at)
    for key, value in node.value:
        place = replace(at, name=_name(key), line=key.start_mark.line + 1)
        found[place.name] = _node(value, place)
    return found


def _name(key: yaml.Node) -> str:
    if not isinstance(key, yaml.ScalarNode):
        raise _refused(key, say("A name is not a plain text."), say("Write name: value."))
    return str(key.value)


def _node(node: yaml.Node, at: Place) -> Node:
    if isinstance(node, yaml.MappingNode) and node.tag == _PLAIN + "map":
        return _mapping(node, at)
    if isinstance(node, yaml.SequenceNode) and node.tag == _PLAIN + "seq":
        return Items(_node(item, replace(at, line=item.start_mark.line + 1)) for item in node.value).found(at)
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALAR_TAGS:
        return Text("" if node.tag == _PLAIN + "null" else node.value.strip()).found(at)
    why = say("The value has a tag (a word after !), which is not supported.")
    raise _refused(node, why, say("Write the value plainly, in quotes."))
