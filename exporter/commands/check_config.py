"""``cliproxy-exporter check-config``: settings and machine, and with ``--connect`` the proxies and Supabase."""

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import click

from exporter.commands.common import FAILED, WRONG_SETTINGS, exit_codes, load
from exporter.errors import ProxyError, SettingsError
from exporter.history.claims import proxy_signs
from exporter.history.preflight import check_project
from exporter.ledger.database import FILE_NAME, is_in_use
from exporter.ledger.history.checkpoint import ExportedClient
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import Misfit, ShownNames
from exporter.limits.limit_file import read_limit_file
from exporter.limits.model import is_like
from exporter.limits.notices import Services
from exporter.normalize.pseudonyms import load_hash_key
from exporter.settings.load import NO_PROXY, Loaded
from exporter.settings.model import Settings
from exporter.settings.problems import did_you_mean
from exporter.settings.proxies import ProxySettings
from exporter.sources.all_sources import detect
from exporter.sources.inventory import Names, fetch_names
from exporter.sources.proxy_config import other_exporter
from exporter.sources.usage_subscription import STARVES
from exporter.web.server import AddressInUseError, check_address
from exporter.wiring import HASH_KEY_FILE, Parts, connect

_ROOM = 1 << 20
"""Bytes; a first start of the exporter writes less."""


@click.command("check-config", epilog="Example: cliproxy-exporter check-config --connect")
@click.option(
    "--connect",
    "also_connect",
    is_flag=True,
    help="Also ask each proxy, and Supabase if it is set, and compare aliases and limits with theirs; nothing is"
    " changed there. A management key that was refused lately is not tried again, so this cannot get you banned.",
)
def check_config(also_connect: bool) -> None:
    """Check the settings, and print all problems at once. Each says what to do.

    It also checks whether the data directory can be written and the port is free, and says in which zone days begin.
    """
    with exit_codes():
        loaded = load(starts=True)
        for kind, found in (("note", loaded.notes), ("warning", loaded.warnings), ("problem", loaded.problems)):
            for each in found:
                click.echo(f"{kind}: {each}")
        if loaded.settings is None:
            raise SystemExit(WRONG_SETTINGS)
        for proxy in loaded.settings.proxies:
            click.echo(f"proxy {proxy.name}: {proxy.url}")
            if proxy.source == "subscribe":
                click.echo(f"note: proxy {proxy.name} will be subscribed to. {STARVES}")
        has_proxy = bool(loaded.settings.proxies)
        if not has_proxy:
            click.echo(f"problem: {NO_PROXY}")
        if loaded.settings.notify_urls:
            Services(loaded.settings.notify_urls)  # refuses what it would refuse in a run
        if has_proxy:
            click.echo("The settings are valid.")
        works = _check_machine(loaded)
        if not has_proxy:
            raise SystemExit(WRONG_SETTINGS)
        if (also_connect and not _connect(loaded.settings)) or not works:
            raise SystemExit(FAILED)


def _check_machine(loaded: Loaded) -> bool:
    """Whether this machine has what ``run`` needs."""
    settings = loaded.require()
    works = True
    data_dir = settings.exporter_data_dir
    if problem := _unwritable(data_dir) or _damaged_key(settings):
        works = False
        click.echo(f"problem: {problem}")
    else:
        click.echo(f"data directory: {data_dir} can be written")
    address = f"{settings.exporter_host}:{settings.exporter_port}"
    if is_in_use(data_dir):
        click.echo(f"port: {address} is not tried, because an exporter runs with this data directory")
    else:
        try:
            check_address(settings.exporter_host, settings.exporter_port)
            click.echo(f"port: {address} is free" if settings.exporter_port else "port: any free one")
        except AddressInUseError as exc:
            works = False
            click.echo(f"problem: {exc}")
    is_set = any(loaded.origins[name] != "default" for name in ("TIMEZONE", "TIMEZONE_OFFSET_HOURS"))
    machines = "the machine's zone" if settings.timezone else "because this machine names no zone: set TIMEZONE"
    click.echo(f"days: begin at midnight in {settings.zone}{'' if is_set else f', {machines}'}")
    files = settings.exporter_config, settings.exporter_prices_file, settings.exporter_limits_file
    for file in filter(None, (*files, settings.exporter_web_config)):
        click.echo(f"file: {file} is valid")
    return works


def _unwritable(data_dir: Path) -> str:
    """Why the data directory cannot be used; empty if it can. Nothing is left there."""
    place = next(each for each in (data_dir, *data_dir.parents) if os.access(each, os.F_OK))
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(_ROOM))
            file.flush()
            os.fsync(file.fileno())  # some file systems find out only now that they are full
        for name in (FILE_NAME, HASH_KEY_FILE):
            place = data_dir / name
            if place.exists():
                with place.open("rb" if name == HASH_KEY_FILE else "r+b"):
                    pass
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return f"The disk of the data directory {data_dir} is full ({exc.strerror}). Free some space."
        return (
            f"The data directory {data_dir} cannot be used ({exc.strerror}: {place}). Give the"
            " exporter's user write access, or set EXPORTER_DATA_DIR to a directory that it can write."
        )
    return ""


def _damaged_key(settings: Settings) -> str:
    """Why the hash key in the data directory cannot be used; empty if it can, or if none is there or needed."""
    file = settings.exporter_data_dir / HASH_KEY_FILE
    try:
        if settings.exporter_hash_key is None and file.exists():
            load_hash_key(None, file)
    except SettingsError as exc:
        return str(exc)
    return ""


def _connect(settings: Settings) -> bool:
    """Ask the proxies and Supabase. Returns whether all is as it should be."""
    parts = Parts(settings)
    asked: dict[str, Names] = {}
    with closing(parts.ledger):
        works = [_check_proxy(proxy, parts, asked) for proxy in settings.proxies]
        if len(asked) == len(settings.proxies):  # else an alias without a match may be for a proxy that cannot be read
            for sentence in _compare_names(parts, asked):
                click.echo(f"warning: {sentence}")
        works.append(_check_history(parts))
    return all(works)


def _check_proxy(proxy: ProxySettings, parts: Parts, asked: dict[str, Names]) -> bool:
    """Ask a proxy, and put its names into ``asked`` if it lists them all. Returns whether its usage can be read."""
    try:
        with closing(connect(proxy, parts.ledger, parts.clock)) as client:
            if parts.ledger.flow(proxy.name).last_success_ms is None and (note := client.guard.before_first_call()):
                click.echo(f"proxy {proxy.name}: {note}")
            source = detect(client)
            flags = source.read_flags()
            names = fetch_names(client, source.paths, parts.pseudonyms.of, now_ms=parts.clock.now_ms())
            plugin = other_exporter(client, source.paths)
    except ProxyError as exc:
        click.echo(f"problem: {exc}")
        return False
    click.echo(f"proxy {proxy.name}: version {source.version or 'unknown'}, usage {source.kind} ({source.paths.api})")
    for problem in (*names.problems, *filter(None, [plugin])):
        click.echo(f"warning: {problem}")
    if not names.problems:
        asked[proxy.name] = names
    if source.way.note:
        click.echo(f"note: proxy {proxy.name}: {source.way.note}")
    if flags.publishing_enabled is False:
        click.echo(
            f"problem: proxy {proxy.name} does not record usage: set usage-statistics-enabled: true in its config.yaml."
        )
    if flags.retention_seconds is not None:
        click.echo(
            f"proxy {proxy.name}: keeps unread records for {flags.retention_seconds} s"
            " (redis-usage-queue-retention-seconds; with 3600, the most, an hour without the exporter loses nothing)"
        )
    return flags.publishing_enabled is not False


def _check_history(parts: Parts) -> bool:
    remote = parts.remote
    if remote is None:
        click.echo("history: none, because SUPABASE_URL is not set")
        return True
    works = True
    with closing(remote):
        for finding in check_project(remote, parts.ledger, parts.clock, signs=proxy_signs(parts.settings)):
            click.echo(f"{'history' if finding.severity == 'fine' else finding.severity}: {finding.text}")
            works &= finding.severity != "problem"
    return works


# --- names ------------------------------------------------------------------------------------------------------------


def _compare_names(parts: Parts, asked: Mapping[str, Names]) -> Iterator[str]:
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
            clients = [(ExportedClient(each, present.name_store.masked_client(each)), each) for each in names.clients]
            present.restoring(proxy).take_names(credentials=(), clients=clients)
        shown = ShownNames(present.name_store, settings.aliases, pseudonyms.of, nearest_pseudonym=pseudonyms.nearest)
        yield from map(_of_alias, shown.find_misfits())
        if settings.exporter_limits_file is not None:
            both = [(present, shown), (parts.ledger, parts.shown_names)]
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


def _of_limits(settings: Settings, file: Path, ledgers: Iterable[tuple[Ledger, ShownNames]]) -> Iterator[str]:
    known: dict[str, set[str]] = {name: set() for name in ("proxy", "provider", "credential", "client")}
    known["proxy"] |= {proxy.name for proxy in settings.proxies}
    for ledger, shown in ledgers:
        name_store = ledger.name_store
        known["provider"] |= {each.provider for each in name_store.credentials.values()} - {""}
        known["provider"] |= {route.provider for route in name_store.routes.values()}
        known["credential"] |= {shown.credential(id_) for id_ in name_store.credentials}
        known["credential"] |= {each.long_name for each in name_store.credentials.values()}
        known["client"] |= {shown.client(id_) for id_ in name_store.clients}
    for limit in read_limit_file(file, zone=settings.zone).limits:
        for field, names in known.items():
            wanted = getattr(limit, field)
            if wanted and names and not any(_fits(field, wanted, name) for name in names):
                why = f"the limit {limit.id!r} counts nothing: no {field} is called {wanted!r}."
                yield f"{why} {did_you_mean(wanted, names)}".rstrip()


def _fits(field: str, wanted: str, name: str) -> bool:
    return wanted.lower() == name.lower() if field == "provider" else is_like(wanted, name)
