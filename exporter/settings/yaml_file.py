"""Read a YAML file into texts that know their line.

It accepts what ``yaml.safe_load`` accepts, except for a key that occurs twice (``safe_load`` silently takes the last
one) and a document that is not a mapping. Scalars keep the text as written, because YAML would turn an ``auth_index``
such as ``0123456701234567`` into another number. Error texts never quote the file, which may hold keys.
"""

import re
from pathlib import Path

import yaml

from exporter.settings.problems import Problem, ProblemsError, read_text

_PLAIN = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_PLAIN + kind for kind in ("str", "int", "float", "bool", "timestamp", "value", "null")}


class Text(str):
    """One value as written, without spaces around it; ``null`` is empty."""

    line: int


class Items(list["Node"]):
    """A list."""

    line: int


class Mapping(dict[str, "Node"]):
    """Names and their values. ``line`` is where it begins; ``key_lines`` is where each name stands."""

    line: int
    key_lines: dict[str, int]


Node = Text | Items | Mapping


class _YamlError(Exception):
    """What is wrong with the text, what to do, and in which line."""

    def __init__(self, why: str, fix: str, line: int) -> None:
        self.why, self.fix, self.line = why, fix, line


def read_yaml(path: Path, *, setting: str) -> Mapping:
    """The file's mapping, empty for an empty file. Raises ProblemsError. ``setting`` gave its path."""
    text = read_text(path, setting=setting)
    try:
        return _compose(text)
    except _YamlError as error:
        place = f"{path.name}:{error.line}"
        raise ProblemsError(Problem(setting=setting, place=place, why=error.why, fix=error.fix)) from None


def _compose(text: str) -> Mapping:
    try:
        loader = yaml.SafeLoader(text)
        try:
            root = loader.get_single_node()
            if root is None or root.tag == _PLAIN + "null":
                root = yaml.compose("{}", Loader=yaml.SafeLoader)
            if not isinstance(root, yaml.MappingNode):
                raise _YamlError("The file is not a mapping.", "Write one setting a line, as name: value.", 1)
            return _mapping(loader, root, ())
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _YamlError(f"This is not YAML: {_cause(error)}.", _hint(error), mark.line + 1 if mark else 1) from None
    except RecursionError:
        raise _YamlError("Lists or mappings are nested too deeply.", "Write it flat.", 1) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _YamlError("There is a control character.", "Remove it.", line) from None


def _cause(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or "it cannot be parsed")
    if "'\\t'" in problem:
        return "a tab stands where only spaces may indent"
    return re.split("['\"]", problem, maxsplit=1)[0].strip().rstrip(",:") or "it cannot be parsed"


def _hint(error: yaml.MarkedYAMLError) -> str:
    if isinstance(error, yaml.composer.ComposerError | yaml.scanner.ScannerError):
        return "Put quotes around values with special characters, and check the line before it too."
    return "Check the indentation and quotes, also of the line before."


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode, above: tuple[yaml.Node, ...]) -> Mapping:
    _refuse_duplicates(node)
    loader.flatten_mapping(node)
    found = Mapping((key.value, _convert(loader, value, (*above, node))) for key, value in node.value)
    found.line = node.start_mark.line + 1
    found.key_lines = {key.value: key.start_mark.line + 1 for key, _ in node.value}
    return found


def _refuse_duplicates(node: yaml.MappingNode) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise _YamlError("A name is not a plain text.", "Write name: value.", line)
        if key.value in seen:
            raise _YamlError(f"The same name is already in line {seen[key.value]}.", "Keep one of the two.", line)
        seen[key.value] = line


def _convert(loader: yaml.SafeLoader, node: yaml.Node, above: tuple[yaml.Node, ...]) -> Node:
    line = node.start_mark.line + 1
    found: Node
    if any(node is parent for parent in above):
        raise _YamlError("A value contains itself.", "Remove the alias.", line)
    if isinstance(node, yaml.MappingNode) and node.tag == _PLAIN + "map":
        found = _mapping(loader, node, above)
    elif isinstance(node, yaml.SequenceNode) and node.tag == _PLAIN + "seq":
        found = Items(_convert(loader, item, (*above, node)) for item in node.value)
    elif isinstance(node, yaml.ScalarNode) and node.tag in _SCALAR_TAGS:
        found = Text("" if node.tag == _PLAIN + "null" else node.value.strip())
    else:
        why = "The value has a tag (a word after !), which is not supported."
        raise _YamlError(why, "Write the value plainly, in quotes.", line)
    found.line = line
    return found
