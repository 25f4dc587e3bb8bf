"""``cliproxy-exporter import``: adds past requests from a file."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import click

from exporter import formats
from exporter.commands.common import exit_codes, ready_settings
from exporter.commands.existing_ledger import check_exists
from exporter.errors import LedgerError, LedgerLockedError
from exporter.imports.booking import Findings, PastImport
from exporter.imports.cpa_export import read_cpa_export
from exporter.imports.items import Item
from exporter.imports.own_csv import Names, read_own_csv
from exporter.imports.peer_files import CpampRow, KeeperRow, of_hashes, read_peer
from exporter.ledger.database import DataDirectoryLock
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import RESTORED
from exporter.settings.model import Settings
from exporter.wiring import Parts


@click.command(
    "import",
    epilog="Example: cliproxy-exporter import --from keeper --dry-run /srv/keeper/data/app.db",
)
@click.option(
    "--from",
    "kind",
    type=click.Choice(["keeper", "cpamp", "cpa-export", "csv"]),
    required=True,
    help="keeper, cpamp: the SQLite file of cpa-usage-keeper or CPA-Manager-Plus. cpa-export: the JSON of CPA's"
    " /usage/export. csv: what cliproxy-exporter export --format csv wrote.",
)
@click.option("--proxy", help="Name of the proxy that the records belong to; needed if several are configured.")
@click.option("--dry-run", is_flag=True, help="Print what would be added, by day, and write nothing.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def import_past(kind: str, proxy: str | None, dry_run: bool, file: Path) -> None:
    """Import past requests from a file, each only once.

    A request that the ledger already has counts once, whether this exporter read it or an import brought it. Requests
    get the price of their time. They count in limits, periods, history and exports, but not in the counters, where they
    would look like today's traffic. Keys and e-mail addresses become hashes.

    Stop the exporter first; --dry-run may run beside it.
    """
    with exit_codes(), ExitStack() as stack:
        settings = ready_settings(needs_proxy=True)
        name = _proxy(settings, proxy)
        check_exists(settings)
        parts = Parts(settings, alone=not dry_run)
        if not dry_run:
            stack.callback(_lock(settings).release)
        ledger = stack.enter_context(closing(parts.ledger))
        _check_proxy(settings, ledger, name)
        if not dry_run:
            parts.note_aliases()
        past = PastImport(
            name, ledger=ledger, pricer=parts.prices, clock=parts.clock, zone=settings.zone, dry_run=dry_run
        )
        for line in _told(past.take(_source(parts, kind, name, file)), dry_run=dry_run):
            click.echo(line)


def _proxy(settings: Settings, name: str | None) -> str:
    names = [proxy.name for proxy in settings.proxies]
    if name is None and len(names) == 1:
        return names[0]
    if name not in names:
        raise click.BadParameter(f"name one of the configured proxies: {', '.join(names)}.", param_hint="--proxy")
    return name


def _lock(settings: Settings) -> DataDirectoryLock:
    try:
        return DataDirectoryLock(settings.exporter_data_dir)
    except LedgerLockedError as exc:
        raise LedgerLockedError(
            f"An exporter uses the data directory {settings.exporter_data_dir} and has its sums in memory. Stop it,"
            " import, and start it again: meanwhile the proxy keeps records as long as its retention allows. A"
            " --dry-run may run beside it."
        ) from exc


def _check_proxy(settings: Settings, ledger: Ledger, proxy: str) -> None:
    if proxy not in ledger.name_store.proxies or ledger.flow(proxy).last_success_ms is None:
        raise LedgerError(
            f"The exporter has not read the proxy {proxy} yet. Run it until it has, so that records find their"
            " accounts and nothing that the proxy still shows counts twice; then stop it and import."
        )
    if settings.supabase_url is not None and ledger.backlog.stage(proxy) != RESTORED:
        raise LedgerError(
            f"The ledger has not yet taken over what Supabase has of the proxy {proxy}. Run the exporter until the"
            " status page says that the history is ok; then stop it and import."
        )


def _source(parts: Parts, kind: str, proxy: str, file: Path) -> Iterator[Item]:
    pseudonym = parts.pseudonyms.of
    if kind == "keeper":
        return read_peer(file, KeeperRow, pseudonym)
    if kind == "cpamp":
        keys = [alias.key.get_secret_value() for alias in parts.settings.aliases.clients if alias.key is not None]
        return read_peer(file, CpampRow, of_hashes(pseudonym, keys))
    if kind == "cpa-export":
        return read_cpa_export(file, pseudonym)
    return read_own_csv(file, proxy, Names(parts.ledger, parts.shown_names, proxy, pseudonym))


def _told(findings: Findings, *, dry_run: bool) -> Iterator[str]:
    for day, found in sorted(findings.days.items()):
        yield (
            f"{day}  {formats.count(found.new):>9} new  {formats.short(found.tokens):>7} tokens"
            f"  {formats.count(found.known):>9} known"
        )
    added = "Would be added" if dry_run else "Added"
    yield f"{added}: {formats.count(findings.new)}. In the ledger already: {formats.count(findings.known)}."
    if findings.deleted:
        yield (
            "Left out, because they are older than the ledger's records (EXPORTER_RETENTION_DAYS) and may already have"
            f" been counted: {formats.count(findings.deleted)}."
        )
    for reason, records in sorted(findings.rejected.items()):
        yield f"Cannot be booked ({reason}){'' if dry_run else ', kept as rejected'}: {formats.count(records)}."
    for why, requests in findings.left_out.items():
        yield f"Left out, because {why}: {formats.count(requests)}."
    if dry_run:
        yield "Nothing was written."
