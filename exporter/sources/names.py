"""The real names of a proxy's credentials and clients: e-mail addresses, files and keys from its own lists.

Only for a terminal, for somebody who has the management key anyway. Must never be stored, logged or shown elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from exporter.normalize.credentials import Account
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.wire import decoded
from exporter.sources.credentials import fetch_inventory
from exporter.sources.paths import Paths
from exporter.sources.proxy_client import FOUND_OR_NOT, ProxyClient


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
    """Fetch a proxy's lists. Raises the ProxyErrors that end all calls to it."""
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
        problems.append(f"{client.where} answered {paths.client_keys} with something that is not CPA's.")
    clients = list(dict.fromkeys(remember(key) for key in (listed and listed.api_keys) or () if key))
    return Names(accounts=inventory.accounts, clients=clients, raw=raw, problems=problems)
