"""``cliproxy-exporter check-config``: the settings, and with ``--connect`` the proxies."""

import os
from pathlib import Path

import click

from exporter.app import connect, open_ledger
from exporter.clock import SystemClock
from exporter.commands.common import FAILED, WRONG_SETTINGS, exit_codes
from exporter.errors import ProxyError
from exporter.settings.load import load_settings, no_proxy_sentence
from exporter.settings.model import Settings
from exporter.sources.detect import detect


@click.command("check-config", epilog="Example: cliproxy-exporter check-config --connect")
@click.option(
    "--connect",
    "also_connect",
    is_flag=True,
    help="Also ask each proxy. A key that was refused lately is not tried again, so this cannot get you banned.",
)
def check_config(also_connect: bool) -> None:
    """Check the settings and print all problems at once, each with what to do."""
    with exit_codes():
        loaded = load_settings(os.environ, cwd=Path.cwd())
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
        if also_connect:
            _check_proxies(loaded.settings)


def _check_proxies(settings: Settings) -> None:
    clock = SystemClock()
    ledger = open_ledger(settings, clock)
    failed = False
    for proxy in settings.proxies:
        client = connect(proxy, ledger, clock)
        try:
            source = detect(client)
        except ProxyError as exc:
            failed = True
            click.echo(f"problem: {exc}")
        else:
            click.echo(f"proxy {proxy.name}: version {source.version or 'unknown'}, usage {source.kind} ({source.api})")
            if source.flags.publishing_enabled is False:
                failed = True
                click.echo(
                    f"problem: proxy {proxy.name} does not record usage: set usage-statistics-enabled: true in its"
                    " config.yaml."
                )
            if source.flags.retention_seconds is not None:
                click.echo(
                    f"proxy {proxy.name}: keeps unread records for {source.flags.retention_seconds} s"
                    " (redis-usage-queue-retention-seconds; 3600 is the most, and survives a longer restart)"
                )
        finally:
            client.close()
    ledger.close()
    if failed:
        raise SystemExit(FAILED)
