"""The credentials in the ledger: finding one, and merging two that turn out to be the same."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import replace

from exporter.ledger.statements import insert, listed
from exporter.records import UNKNOWN_CREDENTIAL, CredentialFacts

ACCOUNT_ID, MEMBER_ID, EMAIL = "account_id", "member_id", "email"
"""Kinds of keys and names that say whose a credential is. Where the members of a workspace share an account's id, it is
a name, and the member's id is the key."""
MASKED = "label"
"""Kind of the keys that find a credential by a masked name: by one of its long names in the history."""

ROOTS = """
with recursive root (id, root) as (
    select id, id from credential where merged_into is null
    union all select c.id, root from root join credential c on c.merged_into = root.id
)
"""
"""Begins a statement. Its table ``root`` has the ``root`` of each credential: itself, or the one it was merged into."""
NAME_DIGITS = 10
_FEWEST_DIGITS = 4
_LONGEST_PLAN = 20


class Credential(CredentialFacts, frozen=True, kw_only=True, gc=False, rename={"long_name": "label"}):
    """An account or key of a proxy. ``provider`` is empty until the inventory names it.

    ``long_name`` names it in the history. ``gone``: the proxy's last whole inventory did not list it; ``retired``: it
    listed another one of the same name instead. ``readable`` is the name shown without an alias. It is made from what
    is known when the credential is first met and never changes, so a plan that changes or becomes known later makes no
    new series. A credential of an older ledger gets one when the proxy lists it again.
    """

    id: int = 0
    proxy: int
    long_name: str
    merged_into: int | None = None
    retired: bool = False
    gone: bool = False
    readable: str = ""

    @property
    def masked(self) -> str:
        """The name shown without an alias."""
        return self.readable or self.long_name


_ALL_COLUMNS = Credential.__struct_encode_fields__
_COLUMNS = tuple(name for name in _ALL_COLUMNS if name != "id")
_values = attrgetter(*(name for name in Credential.__struct_fields__ if name != "id"))
_UPDATE = f"update credential set ({listed(_COLUMNS)}) = ({listed('?' * len(_COLUMNS))}) where id = ?"


class CredentialStore:
    """The credentials of all proxies, and which of them turned out to be the same.

    Methods that may add something take the connection of the running transaction.
    """

    def __init__(self) -> None:
        self.proxies: dict[str, int] = {}
        self.proxy_names: dict[int, str] = {}
        self.credentials: dict[int, Credential] = {}
        self._credential_keys: dict[tuple[int, str, str], int] = {}
        self._shared_handles: set[tuple[int, str]] = set()
        self._names: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        self._known_as: defaultdict[int, set[tuple[str, str]]] = defaultdict(set)
        self.names_version = 0
        """Rises whenever a shown name may have changed, or a name was added that an alias can be for."""

    def _load_credentials(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute(f"select {listed(_ALL_COLUMNS)} from credential").fetchall()
        named = [dict(zip(_ALL_COLUMNS, row, strict=True)) for row in rows]
        self.credentials = {row["id"]: msgspec.convert(row, Credential, strict=False) for row in named}
        self._credential_keys = {
            (row[0], row[1], row[2]): row[3]
            for row in connection.execute("select proxy, kind, value, credential from credential_key")
        }
        self._shared_handles = set()
        for proxy, kind, value in self._credential_keys:
            self._note_shared(proxy, kind, value)
        self._known_as.clear()
        for (_, kind, value), id_ in self._credential_keys.items():
            self._known_as[self.resolved(id_).id].add((kind, value))
        names: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        for kind, value, id_ in connection.execute("select kind, value, credential from credential_name"):
            names[kind, value].add(id_)
            self._known_as[self.resolved(id_).id].add((kind, value))
        self._names = names

    def facts(self, proxy: str, auth_index: str, provider: str) -> CredentialFacts:
        """What the inventory knows about an ``auth_index`` of a proxy, for a record that names this provider."""
        id_ = self.proxies.get(proxy, 0)
        if (id_, auth_index) in self._shared_handles:
            auth_index = shared_handle(auth_index, provider)
        credential = self.find_credential(id_, "auth_index", auth_index)
        return UNKNOWN_CREDENTIAL if credential is None else credential

    def is_listed(self, proxy: str, auth_index: str) -> bool:
        """Whether an inventory has named this ``auth_index``, for any provider."""
        is_shared = (self.proxies.get(proxy, 0), auth_index) in self._shared_handles
        return is_shared or bool(self.facts(proxy, auth_index, "").provider)

    def find_credential(self, proxy: int, kind: str, value: str) -> Credential | None:
        id_ = self._credential_keys.get((proxy, kind, value)) if value else None
        return None if id_ is None else self.resolved(id_)

    def bound(self, proxy: int, kind: str, value: str) -> int | None:
        """The id that ``value`` is bound to; that credential may since have been merged into another."""
        return self._credential_keys.get((proxy, kind, value))

    def known_as(self, credential: int, kind: str) -> set[str]:
        """All keys and names of a kind that a credential was ever met under."""
        return {value for known, value in self._known_as.get(credential, ()) if known == kind}

    def is_another(self, credential: Credential, met: Iterable[tuple[str, str]]) -> bool:
        """Whether these keys and names are another account's: by its ids if both sides have one, else by e-mail.

        Without a common file, only the same ``auth_index`` led here and the hash key was another one, so nothing can be
        compared.
        """
        ours, theirs = _by_kind(self._known_as.get(credential.id, ())), _by_kind(met)
        if ours["file"].isdisjoint(theirs["file"]):
            return False
        for kinds in ((ACCOUNT_ID, MEMBER_ID), (EMAIL,)):
            differ = [ours[kind].isdisjoint(theirs[kind]) for kind in kinds if ours[kind] and theirs[kind]]
            if differ:
                return any(differ)
        return False

    def credential_named(self, proxy: int, long_name: str) -> Credential | None:
        """The credential of a proxy with this long name, or the one it was merged into."""
        own = (each for each in self.credentials.values() if each.proxy == proxy and each.long_name == long_name)
        found = next(own, None)
        return None if found is None else self.resolved(found.id)

    def credentials_with(self, kind: str, value: str) -> list[Credential]:
        """The credentials of all proxies that are called ``value``: several can share an e-mail address."""
        if kind == "auth_index":
            ids = {
                id_
                for (_, known_kind, known), id_ in list(self._credential_keys.items())
                if known_kind == kind and known.partition("/")[0] == value
            }
        elif kind == MASKED:
            ids = {id_ for id_, each in list(self.credentials.items()) if value in (each.long_name, each.readable)}
            ids |= {id_ for key, id_ in list(self._credential_keys.items()) if key[1:] == (MASKED, value)}
        else:
            ids = set(self._names.get((kind, value), ()))
        found = (self.resolved(id_) for id_ in sorted(ids))
        return list({credential.id: credential for credential in found}.values())

    def called(self, kind: str) -> set[str]:
        """All values of a kind for which ``credentials_with`` finds a credential."""
        if kind == "auth_index":
            return {value.partition("/")[0] for _, each, value in list(self._credential_keys) if each == kind}
        if kind == MASKED:
            return {each.masked for each in list(self.credentials.values())}
        return {value for each, value in list(self._names) if each == kind}

    def resolved(self, credential: int) -> Credential:
        """The credential itself, or the one it was merged into."""
        found = self.credentials[credential]
        while found.merged_into is not None:
            found = self.credentials[found.merged_into]
        return found

    def readable_name(self, proxy: int, provider: str, plan: str, value: str) -> str:
        """A unique name for a new credential: provider, plan and digits of a hash; empty if all such are taken."""
        plan = plan.replace("_", "-")[:_LONGEST_PLAN]
        stem = "-".join(filter(None, (provider.removeprefix("openai-compatible-"), plan)))
        others = [each for each in self.credentials.values() if each.proxy == proxy]
        taken = {name for each in others for name in (each.long_name, each.readable)}
        names = (f"{stem}-{value[:digits]}" for digits in range(_FEWEST_DIGITS, max(_FEWEST_DIGITS, len(value)) + 1))
        return next((name for name in names if name not in taken), "")

    def _keyed_credential(
        self, connection: sqlite3.Connection, proxy: int, kind: str, value: str, *, long_name: str, readable: str = ""
    ) -> int:
        if (known := self._credential_keys.get((proxy, kind, value))) is not None:
            return known
        if (restored := self.find_credential(proxy, MASKED, long_name)) is not None:
            id_ = restored.id
        else:
            id_ = self.add_credential(connection, Credential(proxy=proxy, long_name=long_name, readable=readable))
        self.bind(connection, proxy, kind, value, id_)
        return id_

    def add_credential(self, connection: sqlite3.Connection, credential: Credential) -> int:
        """Store a new credential and return its id (``credential.id`` is ignored)."""
        id_ = insert_row(connection, insert("credential", _COLUMNS), _values(credential))
        self.credentials[id_] = replace(credential, id=id_)
        self.names_version += 1
        return id_

    def change_credential(self, connection: sqlite3.Connection, id_: int, **fields: Any) -> None:
        known = self.credentials[id_]
        changed = replace(known, **fields)
        if changed != known:
            connection.execute(_UPDATE, (*_values(changed), id_))
            self.credentials[id_] = changed
            self.names_version += 1

    def bind(self, connection: sqlite3.Connection, proxy: int, kind: str, value: str, credential: int) -> None:
        """Let ``value`` find ``credential`` from now on. If it found another one before, the two are merged."""
        known = self._credential_keys.get((proxy, kind, value))
        if known == credential:
            return
        connection.execute(
            "insert into credential_key (proxy, kind, value, credential) values (?, ?, ?, ?)"
            " on conflict (proxy, kind, value) do update set credential = excluded.credential",
            (proxy, kind, value, credential),
        )
        self._credential_keys[(proxy, kind, value)] = credential
        self._known_as[self.resolved(credential).id].add((kind, value))
        self._note_shared(proxy, kind, value)
        self.names_version += 1
        if known is not None:
            self.merge(connection, known, credential)

    def _note_shared(self, proxy: int, kind: str, value: str) -> None:
        handle, slash, _ = value.partition("/")
        if kind == "auth_index" and slash:
            self._shared_handles.add((proxy, handle))

    def unbind(self, connection: sqlite3.Connection, proxy: int, kind: str, value: str) -> None:
        if self._credential_keys.pop((proxy, kind, value), None) is not None:
            connection.execute(
                "delete from credential_key where proxy = ? and kind = ? and value = ?", (proxy, kind, value)
            )
            self.names_version += 1

    def name(self, connection: sqlite3.Connection, kind: str, value: str, credential: int) -> None:
        """Note ``value`` as a name of ``credential``."""
        known = self._names[kind, value]
        if credential not in known:
            connection.execute(
                "insert into credential_name (kind, value, credential) values (?, ?, ?) on conflict do nothing",
                (kind, value, credential),
            )
            known.add(credential)
            self._known_as[self.resolved(credential).id].add((kind, value))
            self.names_version += 1

    def forget_name(self, connection: sqlite3.Connection, kind: str, value: str, credential: int) -> None:
        for id_ in [each for each in self._names[kind, value] if self.resolved(each).id == credential]:
            connection.execute(
                "delete from credential_name where kind = ? and value = ? and credential = ?", (kind, value, id_)
            )
            self._names[kind, value].discard(id_)
        self._known_as[credential].discard((kind, value))
        self.names_version += 1

    def merge(self, connection: sqlite3.Connection, one: int, into: int) -> None:
        """Merge two credentials that turned out to be the same: from now on both are ``into``."""
        one, into = self.resolved(one).id, self.resolved(into).id
        if one == into:
            return
        self._known_as[into] |= self._known_as.pop(one, set())
        self.change_credential(connection, one, merged_into=into)


def shared_handle(auth_index: str, provider: str) -> str:
    """The key of a credential whose ``auth_index`` another provider's credential has, too.

    Before CPA 7.2.21, records name a compatible upstream without ``openai-compatible-``.
    """
    name = provider.lower().removeprefix("openai-compatible-")
    return f"{auth_index}/{name}" if auth_index else ""


def _by_kind(names: Iterable[tuple[str, str]]) -> defaultdict[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for kind, value in names:
        found[kind].add(value)
    return found


def insert_row(connection: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> int:
    id_ = connection.execute(statement, values).lastrowid
    assert id_ is not None  # noqa: S101 - an insert has one; this is for the type checker
    return id_
