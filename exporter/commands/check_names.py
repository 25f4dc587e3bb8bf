"""Aliases and limits compared with what the proxies have right now: for ``check-config --connect``."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from exporter.ledger.database import FILE_NAME
from exporter.ledger.labels import Labels, Misfit
from exporter.ledger.ledger import Ledger
from exporter.ledger.sync.checkpoint import ExportedClient
from exporter.limits.limit_file import read_limit_file
from exporter.limits.model import is_like
from exporter.settings.model import Settings
from exporter.settings.problems import did_you_mean
from exporter.sources.credentials import Names
from exporter.wiring import Parts


def compare_names(parts: Parts, asked: Mapping[str, Names]) -> Iterator[str]:
    """A sentence for each alias or limit that matches nothing, and each alias that matches several accounts.

    ``asked`` has each proxy's answer. A temporary ledger knows only that. The real one also remembers what is gone; an
    exporter may be using it, so it is only read.
    """
    settings, pseudonyms = parts.settings, parts.pseudonyms
    with tempfile.TemporaryDirectory(dir=settings.exporter_data_dir) as folder:
        present = Ledger(Path(folder) / FILE_NAME, clock=parts.clock, zone=settings.zone)
        for proxy, names in asked.items():
            present.register(proxy)
            present.take_inventory(proxy, names.accounts)
            clients = [(ExportedClient(each, present.dictionary.client_label(each)), each) for each in names.clients]
            present.restoring(proxy).take_names(credentials=(), clients=clients)
        labels = Labels(present.dictionary, settings.aliases, pseudonyms.of, nearest_pseudonym=pseudonyms.nearest)
        yield from map(_of_alias, labels.look_for_misfits())
        if settings.exporter_limits_file is not None:
            both = [(present, labels), (parts.ledger, parts.labels)]
            yield from _of_limits(settings, settings.exporter_limits_file, both)
        present.close()


def _of_alias(misfit: Misfit) -> str:
    if misfit.several:
        return (
            f"the alias {misfit.alias!r} matches several accounts, shown as {', '.join(misfit.names)}. To choose"
            " their names yourself, identify them by file."
        )
    near = f"Did you mean the one shown as {misfit.names[0]}? " if misfit.names else ""
    return f"the alias {misfit.alias!r} matches nothing that the proxies have. {near}cliproxy-exporter names lists all."


def _of_limits(settings: Settings, file: Path, ledgers: Iterable[tuple[Ledger, Labels]]) -> Iterator[str]:
    known: dict[str, set[str]] = {name: set() for name in ("proxy", "provider", "credential", "client")}
    known["proxy"] |= {proxy.name for proxy in settings.proxies}
    for ledger, shown in ledgers:
        dictionary = ledger.dictionary
        known["provider"] |= {each.provider for each in dictionary.credentials.values()} - {""}
        known["provider"] |= {route.provider for route in dictionary.routes.values()}
        known["credential"] |= {shown.credential(id_) for id_ in dictionary.credentials}
        known["credential"] |= {each.label for each in dictionary.credentials.values()}
        known["client"] |= {shown.client(id_) for id_ in dictionary.clients}
    for limit in read_limit_file(file, zone=settings.zone).limits:
        for field, names in known.items():
            wanted = getattr(limit, field)
            if wanted and names and not any(_fits(field, wanted, name) for name in names):
                why = f"the limit {limit.id!r} counts nothing: no {field} is called {wanted!r}."
                yield f"{why} {did_you_mean(wanted, names)}".rstrip()


def _fits(field: str, wanted: str, name: str) -> bool:
    return wanted.lower() == name.lower() if field == "provider" else is_like(wanted, name)
