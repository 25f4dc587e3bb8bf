"""The inventory of a proxy's credentials: fetched now and then, list by list."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from exporter.credentials.accounts import Account, Pseudonym, read_auth_files, read_key_list, read_key_uses
from exporter.errors import BadAnswerError, ProxyServerError
from exporter.sources.client import ProxyClient
from exporter.sources.detect import Paths

_FOUND_OR_NOT = frozenset({200, 404})
_T = TypeVar("_T")


def fetch_accounts(client: ProxyClient, paths: Paths, pseudonym: Pseudonym) -> tuple[list[Account], list[str]]:
    """All credentials that the proxy lists, and a sentence for each list that could not be read.

    A list that the proxy's version does not have (404) is empty. Raises what ends all calls to the proxy:
    KeyRefusedError and the other errors of ``ProxyClient.get`` that are not about this one path.
    """
    problems: list[str] = []

    def read(path: str, parse: Callable[[bytes], _T]) -> _T | None:
        try:
            answer = client.get(path, accept=_FOUND_OR_NOT)
            if answer.error is not None:
                raise answer.error
            return parse(answer.body) if answer.status == 200 else None
        except (BadAnswerError, ProxyServerError) as exc:
            problems.append(str(exc))
            return None

    uses = read(paths.api_key_usage, lambda body: read_key_uses(body, pseudonym)) or {}
    accounts = read(paths.credentials, lambda body: read_auth_files(body, pseudonym)) or []
    for path in paths.key_lists:
        parse = partial(read_key_list, path.rpartition("/")[2], uses=uses, pseudonym=pseudonym)
        accounts = accounts + (read(path, parse) or [])
    return accounts, problems
