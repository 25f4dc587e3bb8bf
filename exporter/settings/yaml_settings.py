"""What the names in the YAML file mean: the settings of the environment in lower case, the proxies, and the aliases."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from exporter.settings.given import Given, checked, one_secret
from exporter.settings.model import Aliases, ClientAlias, CredentialAlias, Declared, ProxySettings, declared
from exporter.settings.problems import Problem, nearest
from exporter.settings.yaml_file import Items, Mapping, Node, Scalar

_Alias = TypeVar("_Alias", ClientAlias, CredentialAlias)
_IDENTIFIERS = ("key", "email", "file", "auth_index")


@dataclass(frozen=True, kw_only=True)
class PlacedProxy:
    """A proxy and the place in the file where it begins."""

    settings: ProxySettings
    place: str


@dataclass(frozen=True, kw_only=True)
class YamlSettings:
    """All that the file said. ``given`` has the names of the environment."""

    given: dict[str, Given] = field(default_factory=dict)
    proxies: list[PlacedProxy] = field(default_factory=list)
    aliases: Aliases = field(default_factory=Aliases)
    problems: list[Problem] = field(default_factory=list)


def interpret(mapping: Mapping, *, shown_as: str, base: Path) -> YamlSettings:
    """The settings in ``mapping``. Paths are relative to ``base``; ``shown_as`` is the file's name in texts."""
    return _Reader(shown_as, base).read(mapping)


class _Reader:
    """Collects problems while it walks through one file."""

    def __init__(self, shown_as: str, base: Path) -> None:
        self._file = shown_as
        self._base = base
        self._problems: list[Problem] = []

    def read(self, mapping: Mapping) -> YamlSettings:
        settings = {name.lower(): setting for setting in declared() for name in setting.names}
        given: dict[str, Given] = {}
        for name, node in mapping.values.items():
            line = mapping.key_lines[name]
            if name in settings:
                value = self._setting(settings[name], name, node, line)
                if value is not None:
                    given[name.upper()] = value
            elif name not in ("proxies", "aliases"):
                self._unknown("", name, line, (*settings, "proxies", "aliases"))
        return YamlSettings(
            given=given,
            proxies=self._proxies(mapping),
            aliases=self._aliases(mapping.values.get("aliases")),
            problems=self._problems,
        )

    def _place(self, line: int) -> str:
        return f"{self._file}:{line}"

    def _wrong(self, setting: str, line: int, why: str, fix: str) -> None:
        self._problems.append(Problem(setting=setting, place=self._place(line), why=why, fix=fix))

    def _unknown(self, prefix: str, name: str, line: int, known: Iterable[str]) -> None:
        guess = nearest(name.lower(), known)
        # A name that resembles nothing is not shown: it may be a key that was written on the wrong side of the colon.
        self._wrong(
            f"{prefix}{name if guess else 'unknown name'}",
            line,
            "There is no such setting.",
            f"Did you mean {guess}?" if guess else "Remove it; docs/settings.md lists what there is.",
        )

    def _setting(self, setting: Declared, name: str, node: Node, line: int) -> Given | None:
        if not setting.about.in_yaml:
            self._wrong(name, line, "It cannot be set in this file.", f"Set {name.upper()} in the environment.")
            return None
        if isinstance(node, Items) and setting.about.is_list:
            texts = [item.text for item in node.values if isinstance(item, Scalar) and item.text]
            if len(texts) == len(node.values):
                return self._given(name, ",".join(texts), line)
        if not isinstance(node, Scalar):
            self._wrong(name, line, "It is not a single value.", f"Write it as {name}: value.")
            return None
        return self._given(name, node.text, line) if node.text and node.text.strip() else None

    def _given(self, name: str, text: str, line: int) -> Given:
        return Given(name=name, text=text.strip(), place=self._place(line), base=self._base)

    def _list(self, label: str, node: Node | None) -> list[Mapping]:
        """The mappings in the list ``node``; problems for what is no mapping."""
        if node is None or (isinstance(node, Scalar) and node.text is None):
            return []
        if not isinstance(node, Items):
            self._wrong(label, node.line, "It is not a list.", "Begin each entry with a dash.")
            return []
        found = []
        for index, item in enumerate(node.values):
            if isinstance(item, Mapping):
                found.append(item)
            else:
                self._wrong(
                    f"{label}[{index}]", item.line, "It is not a mapping.", "Write name: value pairs below the dash."
                )
        return found

    def _fields(self, label: str, mapping: Mapping, known: tuple[str, ...]) -> dict[str, Given]:
        found: dict[str, Given] = {}
        for name, node in mapping.values.items():
            line = mapping.key_lines[name]
            if name not in known:
                self._unknown(f"{label}.", name, line, known)
            elif not isinstance(node, Scalar):
                self._wrong(f"{label}.{name}", line, "It is not a single value.", f"Write it as {name}: value.")
            elif node.text and node.text.strip():
                found[name] = self._given(f"{label}.{name}", node.text, line)
        return found

    def _secret(self, label: str, name: str, fields: dict[str, Given], line: int) -> bool:
        """Replace the field ``<name>_file`` by the secret in the file; false if that is not possible."""
        file = fields.pop(f"{name}_file", None)
        secret = one_secret(fields.get(name), file)
        if isinstance(secret, Problem):
            self._problems.append(secret)
        elif secret is None:
            self._wrong(f"{label}.{name}", line, "It is missing.", f"Add {name} or {name}_file.")
        else:
            fields[name] = secret
            return True
        return False

    def _proxies(self, mapping: Mapping) -> list[PlacedProxy]:
        node = mapping.values.get("proxies")
        if node is not None and (node == Items((), node.line) or node == Scalar(None, node.line)):
            self._wrong(
                "proxies", mapping.key_lines["proxies"], "The list is empty.", "Add a proxy, or remove the line."
            )
            return []
        found: list[PlacedProxy] = []
        for index, item in enumerate(self._list("proxies", node)):
            label = f"proxies[{index}]"
            fields = self._fields(label, item, ("name", "url", "management_key", "management_key_file"))
            complete = self._secret(label, "management_key", fields, item.line)
            for name in ("name", "url"):
                if name not in fields:
                    self._wrong(f"{label}.{name}", item.line, "It is missing.", f"Add {name}.")
                    complete = False
            if not complete:
                continue
            proxy = checked(ProxySettings, fields)
            if isinstance(proxy, ProxySettings):
                found.append(PlacedProxy(settings=proxy, place=self._place(item.line)))
            else:
                self._problems.extend(proxy)
        return found

    def _aliases(self, node: Node | None) -> Aliases:
        if node is None or (isinstance(node, Scalar) and node.text is None):
            return Aliases()
        if not isinstance(node, Mapping):
            self._wrong("aliases", node.line, "It is not a mapping.", "Write clients: and credentials: below it.")
            return Aliases()
        for name in node.values:
            if name not in ("clients", "credentials"):
                self._unknown("aliases.", name, node.key_lines[name], ("clients", "credentials"))
        return Aliases(
            clients=tuple(self._clients(node.values.get("clients"))),
            credentials=tuple(self._credentials(node.values.get("credentials"))),
        )

    def _clients(self, node: Node | None) -> list[ClientAlias]:
        found: list[ClientAlias] = []
        seen: dict[tuple[str, str], str] = {}
        for index, item in enumerate(self._list("aliases.clients", node)):
            label = f"aliases.clients[{index}]"
            fields = self._fields(label, item, ("key", "key_file", "alias"))
            if not self._secret(label, "key", fields, item.line) or not self._named(label, fields, item.line):
                continue
            self._add(ClientAlias, fields, found, seen)
        return found

    def _credentials(self, node: Node | None) -> list[CredentialAlias]:
        found: list[CredentialAlias] = []
        seen: dict[tuple[str, str], str] = {}
        for index, item in enumerate(self._list("aliases.credentials", node)):
            label = f"aliases.credentials[{index}]"
            fields = self._fields(label, item, (*_IDENTIFIERS, "alias"))
            given = [name for name in _IDENTIFIERS if name in fields]
            if len(given) != 1:
                self._wrong(
                    label,
                    item.line,
                    "It names its credential not at all." if not given else f"It has {' and '.join(given)}.",
                    "Give exactly one of key, email, file and auth_index.",
                )
            elif self._named(label, fields, item.line):
                self._add(CredentialAlias, fields, found, seen)
        return found

    def _named(self, label: str, fields: dict[str, Given], line: int) -> bool:
        if "alias" not in fields:
            self._wrong(f"{label}.alias", line, "It is missing.", "Add alias, the name to be shown.")
        return "alias" in fields

    def _add(
        self, model: type[_Alias], fields: dict[str, Given], found: list[_Alias], seen: dict[tuple[str, str], str]
    ) -> None:
        """Check an entry and add it to ``found``, unless its alias or what it names occurred before (``seen``)."""
        alias = checked(model, fields)
        if isinstance(alias, list):
            self._problems.extend(alias)
            return
        again = [name for name in fields if (name, fields[name].text) in seen]
        for name in again:
            before = seen[name, fields[name].text]
            self._problems.append(
                fields[name].problem(f"The same {name} is used by {before} already.", "Use each once.")
            )
        for name, given in fields.items():
            seen.setdefault((name, given.text), given.place)
        if not again:
            found.append(alias)
