"""Adds aliases to a YAML file of settings, and keeps its comments, order and spelling."""

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from pydantic import SecretStr

from exporter import formats
from exporter.errors import ExporterError, SettingsError
from exporter.settings.load import read_aliases
from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias

_INDENT = 2


class Suggestion(NamedTuple):
    """A suggested alias: the field and value that identify its owner, and a remark on who that is."""

    kind: str
    value: str
    alias: str
    about: str


def write_suggestions(file: Path, *, clients: Iterable[Suggestion], credentials: Iterable[Suggestion]) -> int:
    """Add these aliases, each with a unique name, to ``file``, which need not exist. Returns how many were added.

    Raises SettingsError for a file with mistakes, ExporterError if it cannot be written.
    """
    known = Aliases()
    text = ""
    if file.exists():
        known, text = read_aliases(file), file.read_text(encoding="utf-8-sig")
    new = {
        "clients": _distinct(clients, known.clients),
        "credentials": _distinct(credentials, known.credentials),
    }
    number = sum(map(len, new.values()))
    if number:
        try:
            for name, some in new.items():
                text = _with(text, name, some) if some else text
        except yaml.YAMLError as exc:
            raise _cannot_add(file) from exc
        _replace(file, text, known, number)
    return number


def _cannot_add(file: Path) -> ExporterError:
    return ExporterError(
        f"{file.name} has a form that aliases cannot be added to: write clients and credentials below aliases as"
        " lists with one dash a line, or choose another file."
    )


def _distinct(some: Iterable[Suggestion], known: Sequence[ClientAlias | CredentialAlias]) -> list[Suggestion]:
    taken = {each.alias for each in known}
    found: dict[tuple[str, str], Suggestion] = {}
    for each in some:
        given = (each.value, SecretStr(each.value))
        if (each.kind, each.value) in found or any(getattr(alias, each.kind) in given for alias in known):
            continue  # one alias names an account at all proxies
        alias = wanted = formats.printable(each.alias)[:60]
        number = 1
        while alias in taken:
            number += 1
            alias = f"{wanted.removesuffix('-1')}-{number}"
        taken.add(alias)
        found[each.kind, each.value] = each._replace(alias=alias)
    return [*found.values()]


def _with(text: str, name: str, some: Sequence[Suggestion]) -> str:
    """The text with entries at the end of ``aliases.<name>``."""
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    line, indent, missing = len(lines), 0, ["aliases", name]
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    while missing:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((key, value) for key, value in pairs if key.value == missing[0]), None)
        if found is None:
            break
        key, node = found
        del missing[0]
        if isinstance(node, yaml.CollectionNode) and node.value:
            first = node.value[0]  # in a mapping it is a pair; an anchor stands before that, where the mapping starts
            line, indent = _last_line(node) + 1, (first[0] if isinstance(first, tuple) else node).start_mark.column
        else:
            line, indent = key.end_mark.line + 1, key.start_mark.column + _INDENT
    added = [f"{' ' * (indent + _INDENT * depth)}{key}:\n" for depth, key in enumerate(missing)]
    added.append(_entries(some, indent + _INDENT * len(missing)))
    return "".join([*lines[:line], *added, *lines[line:]])


def _last_line(node: yaml.Node) -> int:
    """The last line of a node's content; the node itself ends where the next one begins."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.line)
    last = node.value[-1]
    return max(map(_last_line, last)) if isinstance(last, tuple) else _last_line(last)


def _entries(some: Sequence[Suggestion], indent: int) -> str:
    lines = []
    for each in some:
        entry = yaml.safe_dump(
            [{each.kind: each.value, "alias": each.alias}], sort_keys=False, allow_unicode=True, width=1_000_000
        )
        lines += [f"# {formats.printable(each.about)}", *entry.splitlines()]
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


def _replace(file: Path, text: str, known: Aliases, number: int) -> None:
    """Replace the content of the file by ``text``, atomically, if that has the expected aliases."""
    file = file.resolve()
    try:
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=file.name) as folder:
            new = Path(folder) / file.name
            new.touch(0o600)
            new.write_text(text, encoding="utf-8")
            if not _adds(new, known, number):
                raise _cannot_add(file)
            if file.exists():
                shutil.copymode(file, new)
            new.replace(file)
    except OSError as exc:
        raise ExporterError(f"{file} cannot be written ({exc.strerror}).") from exc


def _adds(file: Path, known: Aliases, number: int) -> bool:
    """Whether a file has the known aliases and this number of new ones."""
    try:
        read = read_aliases(file)
    except SettingsError:
        return False
    before = {*known.clients, *known.credentials}
    after = [*read.clients, *read.credentials]
    return before <= set(after) and len(after) == len(before) + number
