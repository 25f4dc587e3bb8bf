"""Fetches a proxy's inventory, and the real names in it for a terminal.

The names are e-mail addresses, files and keys, for somebody who has the management key anyway. They must never be
stored, logged or shown elsewhere.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import msgspec

from exporter.errors import BadAnswerError, ProxyServerError, ProxyUnreachableError
from exporter.normalize.inventory import Account, KeyUses, Read, read_auth_files, read_key_list, read_key_uses
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.wire_record import decoded
from exporter.sources.paths import Paths
from exporter.sources.proxy_client import FOUND_OR_NOT, ProxyClient

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Inventory:
    """The credentials that the proxy lists, and a sentence per list that could not be read, or not completely."""

    accounts: list[Account]
    problems: list[str]


def fetch_inventory(client: ProxyClient, paths: Paths, pseudonym: Pseudonym, *, now_ms: int) -> Inventory:
    """Fetch all lists. One that the proxy's version lacks (404) is empty.

    A list that fails is only a problem: the exporter reads records without it. If a list gets no answer, the others are
    skipped. Raises what ends all calls to the proxy: KeyRefusedError, BannedError and their like.
    """
    problems: list[str] = []
    accounts: list[Account] = []

    def fetch(path: str, read: Callable[[bytes], _T], missing: _T) -> _T:
        try:
            answer = client.get(path, accept=FOUND_OR_NOT).whole()
        except (BadAnswerError, ProxyServerError) as exc:
            problems.append(str(exc))
            return missing
        try:
            return read(bytes(answer.body)) if answer.status == 200 else missing
        except BadAnswerError:
            problems.append(_not_of_cpa(client, path))
            return missing

    def add(path: str, read: Callable[[bytes], Read]) -> None:
        found = fetch(path, read, Read(accounts=[], unread=0))
        accounts.extend(found.accounts)
        if found.unread:
            noun = "credential" if found.unread == 1 else "credentials"
            problems.append(f"{client.where} lists {found.unread} {noun} in {path} that cannot be read.")

    try:
        uses: KeyUses = fetch(paths.api_key_usage, lambda body: read_key_uses(body, pseudonym), {})
        add(paths.credentials, lambda body: read_auth_files(body, pseudonym, received_ms=now_ms))
        for path in paths.key_lists:
            add(path, partial(read_key_list, path.rpartition("/")[2], uses=uses, pseudonym=pseudonym))
    except ProxyUnreachableError as exc:
        problems.append(str(exc))
    return Inventory(accounts=accounts, problems=problems)


class _ClientKeys(msgspec.Struct, rename="kebab"):
    api_keys: list[str] | None = None


@dataclass(frozen=True)
class Names:
    """``accounts`` are the credentials, ``clients`` the clients' pseudonyms; ``raw`` maps pseudonyms to real names.

    ``problems`` are sentences on what could not be read. This object's own text leaves the raw names out.
    """

    accounts: list[Account] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)
    raw: Mapping[str, str] = field(default_factory=dict, repr=False)
    problems: list[str] = field(default_factory=list)

    def of(self, account: Account, kind: str) -> str:
        """A credential's real e-mail address, file or key; empty if it has none."""
        return next((self.raw[value] for each, value in account.names if each == kind and value in self.raw), "")


def fetch_names(client: ProxyClient, paths: Paths, pseudonym: Pseudonym, *, now_ms: int) -> Names:
    """Fetch a proxy's lists with the real names in them. Raises the ProxyErrors that end all calls to it."""
    raw: dict[str, str] = {}

    def remember(value: str) -> str:
        hidden = pseudonym(value)
        raw[hidden] = value
        return hidden

    inventory = fetch_inventory(client, paths, remember, now_ms=now_ms)
    answer = client.get(paths.client_keys, accept=FOUND_OR_NOT)
    listed = decoded(answer.body, _ClientKeys) if answer.status == 200 else _ClientKeys()
    problems = list(inventory.problems)
    if listed is None:
        problems.append(_not_of_cpa(client, paths.client_keys))
    clients = list(dict.fromkeys(remember(key) for key in (listed and listed.api_keys) or () if key))
    return Names(accounts=inventory.accounts, clients=clients, raw=raw, problems=problems)


def _not_of_cpa(client: ProxyClient, path: str) -> str:
    return f"{client.where} answered {path} with something that is not CPA's."
