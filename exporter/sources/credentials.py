"""Fetches the inventory of a proxy's credentials now and then, list by list."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from exporter.errors import BadAnswerError, ProxyServerError, ProxyUnreachableError
from exporter.normalize.credentials import Account, KeyUses, Read, read_auth_files, read_key_list, read_key_uses
from exporter.normalize.pseudonyms import Pseudonym
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
            return read(bytes(answer.body)) if answer.status == 200 else missing
        except (BadAnswerError, ProxyServerError) as exc:
            problems.append(str(exc))
            return missing

    def add(path: str, read: Callable[[bytes], Read]) -> None:
        found = fetch(path, read, Read(accounts=[], unread=0))
        accounts.extend(found.accounts)
        if found.unread:
            problems.append(f"{client.where} lists {found.unread} credentials in {path} that cannot be read.")

    try:
        uses: KeyUses = fetch(paths.api_key_usage, lambda body: read_key_uses(body, pseudonym), {})
        add(paths.credentials, lambda body: read_auth_files(body, pseudonym, received_ms=now_ms))
        for path in paths.key_lists:
            add(path, partial(read_key_list, path.rpartition("/")[2], uses=uses, pseudonym=pseudonym))
    except ProxyUnreachableError as exc:
        problems.append(str(exc))
    return Inventory(accounts=accounts, problems=problems)
