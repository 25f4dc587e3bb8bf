"""``cliproxy-exporter names``: prints who is behind each name, and suggests aliases.

Real names stay on the terminal, and in the file of ``--write``.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

import click

from exporter import formats
from exporter.commands.alias_skeleton import Suggestion, write_suggestions
from exporter.commands.common import FAILED, print_table
from exporter.commands.existing_ledger import opened
from exporter.errors import ProxyError
from exporter.ledger.credential_store import ACCOUNT_ID, MASKED, MEMBER_ID, Credential
from exporter.ledger.ledger import Ledger
from exporter.ledger.name_store import OTHER
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.shown_names import ShownNames
from exporter.normalize.inventory import Account
from exporter.pricing.model_names import OPENAI_COMPATIBLE
from exporter.settings.model import Settings
from exporter.settings.proxies import ProxySettings
from exporter.sources.all_sources import detect
from exporter.sources.inventory import Names, fetch_names
from exporter.wiring import Parts, connect

_LAST_USE = "select s.credential, s.client, max(r.bucket) from rollup r join series s on s.id = r.series group by 1, 2"
_SHOWN_OF_A_KEY = 4
_UNREAD = "unknown: the proxy cannot be read"


@dataclass(frozen=True)
class _Named:
    """A credential or client. ``suggestion`` is None if there is an alias already, or nothing identifies the owner."""

    shown: str
    name: str
    last_ms: int | None
    suggestion: Suggestion | None = None
    proxy: str = ""
    provider: str = ""


@click.command(epilog="Example: cliproxy-exporter names --write exporter.yaml")
@click.option(
    "--write",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Add to this YAML file an alias for each label that has none, for you to edit; the rest of it stays."
    " They are in use once EXPORTER_CONFIG names the file.",
)
def names(file: Path | None) -> None:
    """Print each account and client with its label and owner. The exporter may be running.

    E-mail addresses, file names and the last four characters of keys are read from the proxy now and printed here; only
    --write keeps them, in FILE. The time of the last use is exact to a quarter of an hour.
    """
    with opened(needs_proxy=True) as at:
        settings, owners = at.settings, _Owners(at.ledger, at.shown_names)
        credentials: list[_Named] = []
        asked: list[Names] = []
        for proxy in settings.proxies:
            found = _ask(proxy, at)
            for problem in found.problems:
                click.echo(f"problem: {problem}", err=True)
            asked.append(found)
            credentials += owners.credentials(proxy.name, found)
        clients = owners.clients(asked)
        _print(credentials, clients, zone=settings.zone, names_proxy=len(settings.proxies) > 1)
        if file is not None:
            _write(file, settings, credentials, clients)
        if any(each.problems for each in asked):
            raise SystemExit(FAILED)


def _ask(proxy: ProxySettings, at: Parts) -> Names:
    try:
        with closing(connect(proxy, at.ledger, at.clock)) as client:
            return fetch_names(client, detect(client).paths, at.pseudonyms.of, now_ms=at.clock.now_ms())
    except ProxyError as exc:
        return Names(problems=[str(exc)])


class _Owners:
    """Combines a proxy's names for its credentials and clients with what the ledger knows about them."""

    def __init__(self, ledger: Ledger, shown_names: ShownNames) -> None:
        self._name_store = ledger.name_store
        self._shown_names = shown_names
        self._client_aliases = shown_names.aliases_of_clients()
        self._credentials: defaultdict[int, int] = defaultdict(int)
        self._clients: defaultdict[int, int] = defaultdict(int)
        with ledger.reading() as connection:
            for credential, client, bucket in connection.execute(_LAST_USE):
                id_ = self._name_store.resolved(credential).id
                self._credentials[id_] = max(self._credentials[id_], bucket * BUCKET_MS)
                self._clients[client] = max(self._clients[client], bucket * BUCKET_MS)

    def credentials(self, proxy: str, names: Names) -> list[_Named]:
        """The credentials of a proxy: the listed ones, then those that it no longer lists."""
        proxy_id = self._name_store.proxies[proxy]
        found: list[_Named] = []
        met: set[int] = set()
        emails = [names.of(account, "email") for account in names.accounts]
        for account in names.accounts:
            shown, last_ms, masked = "not met yet", None, ""
            has_alias = self._shown_names.credential_has_alias({*account.names, ("auth_index", account.auth_index)})
            if (known := self._known(proxy_id, account)) is not None:
                if known.id in met:
                    continue  # another login of the account, or a key listed twice
                met.add(known.id)
                shown, last_ms = self._shown_names.credential(known.id), self._credentials.get(known.id)
                masked = known.masked
                has_alias |= shown != masked  # by one of its labels, or of those that were merged into it
            email, file, key = (names.of(account, kind) for kind in ("email", "file", "key"))
            name = email or file or _end_of(key)
            handle = ("email", email) if email and emails.count(email) == 1 else ("file", file)
            if not handle[1] or not handle[1].isprintable():  # no setting could hold it
                handle = (MASKED, masked)
            own = email.partition("@")[0] if email else "key" if key else Path(file).stem
            provider = account.facts.provider
            alias = own if own.startswith(provider) else f"{provider.removeprefix(OPENAI_COMPATIBLE)}-{own}"
            is_open = handle[1] and not has_alias
            suggestion = Suggestion(*handle, alias, about=f"{shown}, {name}") if is_open else None
            found.append(_Named(shown, name, last_ms, suggestion, proxy=proxy, provider=provider))
        why = _UNREAD if names.problems else "not listed by the proxy"
        return found + self._unlisted(proxy, proxy_id, met, why)

    def _unlisted(self, proxy: str, proxy_id: int, met: set[int], why: str) -> list[_Named]:
        return [
            _Named(self._shown_names.credential(id_), why, last_ms, proxy=proxy, provider=credential.provider)
            for id_, last_ms in self._credentials.items()
            if id_ not in met
            and (credential := self._name_store.credentials[id_]).proxy == proxy_id
            and credential.long_name != OTHER
        ]

    def _known(self, proxy_id: int, account: Account) -> Credential | None:
        account_id = "" if account.shares_id else account.account_id
        ids = ((MEMBER_ID, account.member_id), (ACCOUNT_ID, account_id))
        ways = (*ids, account.identity or ("", ""), ("auth_index", account.auth_index))
        return next((each for way in ways if (each := self._name_store.find_credential(proxy_id, *way))), None)

    def clients(self, asked: Sequence[Names]) -> list[_Named]:
        """All clients: those whose keys the proxies list, then the others in the ledger."""
        names = {pseudonym: _end_of(each.raw[pseudonym]) for each in asked for pseudonym in each.clients}
        why = _UNREAD if any(each.problems for each in asked) else "not listed by a proxy"
        for pseudonym, masked in self._name_store.clients_by_pseudonym().items():
            if masked != OTHER:
                names.setdefault(pseudonym, why if pseudonym else "no key")
        return [self._client(*each) for each in names.items()]

    def _client(self, pseudonym: str, name: str) -> _Named:
        id_ = self._name_store.client_ids.get(pseudonym)
        masked = self._name_store.masked_client(pseudonym)
        shown = self._client_aliases.get(pseudonym) or masked
        is_open = pseudonym and pseudonym not in self._client_aliases
        suggestion = Suggestion(MASKED, masked, "client-1", f"{shown}, {name}") if is_open else None
        return _Named(shown, name, self._clients.get(id_) if id_ is not None else None, suggestion)


def _end_of(key: str) -> str:
    """The last characters of a key; none of a short one, of which four would give away too much."""
    shown = key[-_SHOWN_OF_A_KEY:] if len(key) >= 4 * _SHOWN_OF_A_KEY else ""
    return f"key …{shown}"


def _print(credentials: Sequence[_Named], clients: Sequence[_Named], *, zone: tzinfo, names_proxy: bool) -> None:
    def cells(each: _Named) -> list[str]:
        last = formats.moment(each.last_ms, zone) if each.last_ms is not None else "never"
        return [formats.cut(text) for text in (each.shown, each.name, each.provider, last)]

    head = ["account", "name", "provider", "last use"]
    if names_proxy:
        print_table([*head, "proxy"], [[*cells(each), each.proxy] for each in credentials])
    else:
        print_table(head, [cells(each) for each in credentials])
    click.echo()
    print_table(["client", "key", "last use"], [[shown, name, last] for shown, name, _, last in map(cells, clients)])


def _write(file: Path, settings: Settings, credentials: Sequence[_Named], clients: Sequence[_Named]) -> None:
    written = write_suggestions(
        file,
        clients=[each.suggestion for each in clients if each.suggestion],
        credentials=[each.suggestion for each in credentials if each.suggestion],
    )
    click.echo()
    if written:
        click.echo(f"Added {written} {'alias' if written == 1 else 'aliases'} to {file}: edit them as you like.")
    else:
        click.echo(f"All of them have an alias, so {file} is unchanged.")
    if settings.exporter_config is None or settings.exporter_config.resolve() != file.resolve():
        click.echo(f"Set EXPORTER_CONFIG={file.resolve()} and restart the exporter; later edits show within seconds.")
    elif written:
        click.echo("A running exporter shows them within seconds, and again after each edit.")
