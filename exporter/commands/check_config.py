"""``cliproxy-exporter check-config``: the settings, and with ``--connect`` the proxies and Supabase."""

import click

from exporter.app import connect, open_ledger, open_remote
from exporter.clock import Clock, SystemClock
from exporter.commands.common import FAILED, WRONG_SETTINGS, exit_codes, load
from exporter.errors import ProxyError
from exporter.history.claims import proxy_signs
from exporter.history.preflight import check_project
from exporter.ledger.ledger import Ledger
from exporter.settings.load import no_proxy_sentence
from exporter.settings.model import ProxySettings, Settings
from exporter.sources.detect import detect


@click.command("check-config", epilog="Example: cliproxy-exporter check-config --connect")
@click.option(
    "--connect",
    "also_connect",
    is_flag=True,
    help="Also ask each proxy, and Supabase if it is set; nothing is changed there. A management key that was refused"
    " lately is not tried again, so this cannot get you banned.",
)
def check_config(also_connect: bool) -> None:
    """Check the settings and print all problems at once, each with what to do."""
    with exit_codes():
        loaded = load()
        for note in (*loaded.notes, *loaded.warnings):
            click.echo(f"warning: {note}" if note in loaded.warnings else f"note: {note}")
        for problem in loaded.problems:
            click.echo(f"problem: {problem}")
        if loaded.settings is None:
            raise SystemExit(WRONG_SETTINGS)
        if not loaded.settings.proxies:
            click.echo(f"problem: {no_proxy_sentence()}")
            raise SystemExit(WRONG_SETTINGS)
        for proxy in loaded.settings.proxies:
            click.echo(f"proxy {proxy.name}: {proxy.url}")
        click.echo("The settings are valid.")
        if also_connect and not _connect(loaded.settings):
            raise SystemExit(FAILED)


def _connect(settings: Settings) -> bool:
    """Ask the proxies and Supabase; whether all is as it should be."""
    clock = SystemClock()
    ledger = open_ledger(settings, clock)
    try:
        works = [_check_proxy(proxy, ledger, clock) for proxy in settings.proxies]
        works.append(_check_history(settings, ledger, clock))
    finally:
        ledger.close()
    return all(works)


def _check_proxy(proxy: ProxySettings, ledger: Ledger, clock: Clock) -> bool:
    client = connect(proxy, ledger, clock)
    if ledger.flow(proxy.name).last_success_ms is None and (sentence := client.before_first_call()):
        click.echo(f"proxy {proxy.name}: {sentence}")
    try:
        source = detect(client)
        flags = source.read_flags()
    except ProxyError as exc:
        click.echo(f"problem: {exc}")
        return False
    finally:
        client.close()
    click.echo(f"proxy {proxy.name}: version {source.version or 'unknown'}, usage {source.kind} ({source.paths.api})")
    if flags.publishing_enabled is False:
        click.echo(
            f"problem: proxy {proxy.name} does not record usage: set usage-statistics-enabled: true in its config.yaml."
        )
    if flags.retention_seconds is not None:
        click.echo(
            f"proxy {proxy.name}: keeps unread records for {flags.retention_seconds} s"
            " (redis-usage-queue-retention-seconds; 3600 is the most, and survives a longer restart)"
        )
    return flags.publishing_enabled is not False


def _check_history(settings: Settings, ledger: Ledger, clock: Clock) -> bool:
    remote = open_remote(settings)
    if remote is None:
        click.echo("history: none, because SUPABASE_URL is not set")
        return True
    works = True
    try:
        for finding in check_project(remote, ledger, clock, signs=proxy_signs(settings)):
            click.echo(f"{'history' if finding.severity == 'fine' else finding.severity}: {finding.text}")
            works &= finding.severity != "problem"
    finally:
        remote.close()
    return works
