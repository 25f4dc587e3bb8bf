"""Read a YAML file into texts that know their line.

Only what ``yaml.safe_load`` would accept passes, and two things that it lets pass are refused: keys that occur twice
(it silently takes the last one) and documents that are no mapping. Scalars keep the text that was written, because
YAML would turn an ``auth_index`` such as ``0123456701234567`` into another number. Error texts never quote the file,
which may hold keys.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from exporter.settings.problems import Problem

_PLAIN = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_PLAIN + kind for kind in ("str", "int", "float", "bool", "timestamp", "value")}


@dataclass(frozen=True)
class Scalar:
    """One value as it was written; None for an empty one or ``null``."""

    text: str | None = field(repr=False)
    line: int


@dataclass(frozen=True)
class Items:
    """A list."""

    values: tuple["Node", ...]
    line: int


@dataclass(frozen=True)
class Mapping:
    """Names and their values. ``line`` is where it begins; ``key_lines`` is where each name stands."""

    values: dict[str, "Node"]
    key_lines: dict[str, int]
    line: int


Node = Scalar | Items | Mapping


class _FileError(Exception):
    def __init__(self, line: int, why: str, fix: str) -> None:
        super().__init__(why)
        self.line = line
        self.why = why
        self.fix = fix


def read_yaml(path: Path, *, shown_as: str, setting: str = "EXPORTER_CONFIG") -> Mapping | Problem:
    """The file's mapping (empty for an empty file), or what is wrong.

    ``shown_as`` is the file's name in texts, ``setting`` is where its path was given.
    """

    def wrong(place: str, why: str, fix: str) -> Problem:
        return Problem(setting=setting, place=place, why=why, fix=fix)

    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return wrong(shown_as, "The file does not exist.", f"Create it, or correct the path in {setting}.")
    except UnicodeDecodeError:
        return wrong(shown_as, "The file is not UTF-8 text.", "Save it as UTF-8.")
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or "not a path"
        return wrong(shown_as, f"The file cannot be read: {cause}.", "Let the exporter's user read it.")
    try:
        return _compose(text)
    except _FileError as error:
        return wrong(f"{shown_as}:{error.line}", error.why, error.fix)


def _compose(text: str) -> Mapping:
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None or root.tag == _PLAIN + "null":
                return Mapping({}, {}, 1)
            if not isinstance(root, yaml.MappingNode):
                raise _FileError(1, "The file is not a mapping.", "Write one setting a line, as name: value.")
            mapping = _mapping(loader, root, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _FileError(mark.line + 1 if mark else 1, f"This is not YAML: {_cause(error)}.", _hint(error)) from None
    except RecursionError:
        raise _FileError(1, "Lists or mappings are nested too deeply.", "Write it flat.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _FileError(line, "There is a control character.", "Remove it.") from None
    return mapping


def _cause(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or "it cannot be parsed")
    if "'\\t'" in problem:
        return "a tab stands where only spaces may indent"
    return re.split("['\"]", problem, maxsplit=1)[0].strip().rstrip(",:") or "it cannot be parsed"


def _hint(error: yaml.MarkedYAMLError) -> str:
    if isinstance(error, yaml.composer.ComposerError | yaml.scanner.ScannerError):
        return "Put quotes around values with special characters, and look at the line before too."
    return "Look at the indentation and quotes, also of the line before."


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, above: tuple[yaml.Node, ...]) -> Mapping:
    _refuse_duplicates(node)
    loader.flatten_mapping(node)
    values: dict[str, Node] = {}
    lines: dict[str, int] = {}
    for key, value in node.value:
        values[key.value] = _convert(loader, value, (*above, node))
        lines[key.value] = key.start_mark.line + 1
    return Mapping(values, lines, node.start_mark.line + 1)


def _refuse_duplicates(node: yaml.MappingNode) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _FileError(line, "A name is not a plain text.", "Write name: value.")
        if key.value in seen:
            raise _FileError(
                line,
                f"The same name stands in line {seen[key.value]} already.",
                "Keep one of the two.",
            )
        seen[key.value] = line


def _convert(loader: yaml.SafeLoader, node: yaml.Node, above: tuple[yaml.Node, ...]) -> Node:
    line = node.start_mark.line + 1
    if any(node is parent for parent in above):
        raise _FileError(line, "A value contains itself.", "Remove the alias.")
    if isinstance(node, yaml.MappingNode) and node.tag == _PLAIN + "map":
        return _mapping(loader, node, above)
    if isinstance(node, yaml.SequenceNode) and node.tag == _PLAIN + "seq":
        return Items(tuple(_convert(loader, item, (*above, node)) for item in node.value), line)
    if isinstance(node, yaml.ScalarNode) and node.tag == _PLAIN + "null":
        return Scalar(None, line)
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALAR_TAGS:
        return Scalar(node.value, line)
    raise _FileError(
        line, "The value has a tag (a word after !), which is not supported.", "Write the value plainly, in quotes."
    )
