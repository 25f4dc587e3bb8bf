"""Read a YAML file into texts, lists and mappings that know their line.

It accepts what ``yaml.safe_load`` accepts, except for a key that occurs twice (``safe_load`` silently takes the last
one) and a document that is not a mapping. Scalars keep the text as written, because YAML would turn an ``auth_index``
such as ``0123456701234567`` into another number. Error texts never quote the file, which may hold keys.
"""

import re
from dataclasses import replace
from pathlib import Path

import yaml

from exporter.sentences import Sentence, say
from exporter.settings.problems import ProblemsError
from exporter.settings.written import Items, Mapping, Node, Place, Text, read_text

_PLAIN = "tag:yaml.org,2002:"
_SCALAR_TAGS = {_PLAIN + kind for kind in ("str", "int", "float", "bool", "timestamp", "value", "null")}


def read_yaml(path: Path, *, setting: str) -> Mapping:
    """The file's mapping, empty for an empty file. Raises ProblemsError. ``setting`` gave its path."""
    top = Place(setting, path.name, path.parent)
    text = read_text(path, top)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None or root.tag == _PLAIN + "null":
            return Mapping({}, replace(top, line=1))
        if isinstance(root, yaml.MappingNode):
            return _mapping(root, replace(top, line=1), ())
        line, why, fix = 1, say("The file is not a mapping."), say("Write one setting a line, as name: value.")
    except _RefusedError as error:
        line, why, fix = error.line, error.why, error.fix
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, why, fix = (
            mark.line + 1 if mark else 1,
            say("This is not YAML: {cause}.", cause=_cause(error)),
            _hint(error),
        )
    except RecursionError:
        line, why, fix = 1, say("Lists or mappings are nested too deeply."), say("Write it flat.")
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        why, fix = say("There is a control character."), say("Remove it.")
    raise ProblemsError(replace(top, line=line).problem(why, fix))


class _RefusedError(Exception):
    """What YAML allows and we do not: why, what to do, and in which line."""

    def __init__(self, why: Sentence, fix: Sentence, node: yaml.Node) -> None:
        self.why, self.fix, self.line = why, fix, _line(node)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _cause(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or "it cannot be parsed")
    if "'\\t'" in problem:
        return say("a tab stands where only spaces may indent")
    if isinstance(error, yaml.parser.ParserError) and problem.startswith("expected"):
        return problem  # quotes kinds of tokens, and nothing of the file
    return re.split("['\"]", problem, maxsplit=1)[0].strip().rstrip(",:") or "it cannot be parsed"


def _hint(error: yaml.MarkedYAMLError) -> Sentence:
    if isinstance(error, yaml.composer.ComposerError | yaml.scanner.ScannerError):
        return say("Put quotes around values with special characters, and check the line before it too.")
    return say("Check the indentation and quotes, also of the line before.")


def _mapping(node: yaml.MappingNode, at: Place, above: tuple[yaml.Node, ...]) -> Mapping:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        name = _name(key)
        if name in lines:
            why = say("The same name is already in line {line}.", line=lines[name])
            raise _RefusedError(why, say("Keep one of the two."), key)
        lines[name] = _line(key)
    yaml.SafeLoader("").flatten_mapping(node)
    found = Mapping({}, at)
    for key, value in node.value:
        place = replace(at, name=_name(key), line=_line(key))
        found[place.name] = _convert(value, place, (*above, node))
    return found


def _name(key: yaml.Node) -> str:
    if not isinstance(key, yaml.ScalarNode):
        raise _RefusedError(say("A name is not a plain text."), say("Write name: value."), key)
    return str(key.value)


def _convert(node: yaml.Node, at: Place, above: tuple[yaml.Node, ...]) -> Node:
    if any(node is parent for parent in above):
        raise _RefusedError(say("A value contains itself."), say("Remove the alias."), node)
    if isinstance(node, yaml.MappingNode) and node.tag == _PLAIN + "map":
        return _mapping(node, at, above)
    if isinstance(node, yaml.SequenceNode) and node.tag == _PLAIN + "seq":
        return Items((_convert(item, replace(at, line=_line(item)), (*above, node)) for item in node.value), at)
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALAR_TAGS:
        return Text("" if node.tag == _PLAIN + "null" else node.value.strip(), at)
    why = say("The value has a tag (a word after !), which is not supported.")
    raise _RefusedError(why, say("Write the value plainly, in quotes."), node)
