"""``cliproxy-exporter try-key``: tries a refused management key once, now."""

from contextlib import closing

import click

from exporter.commands.common import FAILED, exit_codes, ready_settings
from exporter.commands.existing_ledger import check_exists
from exporter.errors import ProxyError, SettingsError
from exporter.settings.problems import did_you_mean
from exporter.sources.all_sources import detect
from exporter.wiring import Parts, connect


@click.command("try-key", epilog="Example: cliproxy-exporter try-key default")
@click.argument("proxy", required=False)
def try_key(proxy: str | None) -> None:
    """Try a refused management key once, now. Use it after the key was corrected in CPA.

    PROXY is the name of one proxy; without it, the keys of all proxies are tried. A try counts like the exporter's own:
    never more than three within 150 minutes, because five failed logins ban this address. If CPA accepts the key, a
    running exporter continues by itself. A new key needs no such try: set it, and restart the exporter.
    """
    with exit_codes():
        settings = ready_settings(needs_proxy=True)
        names = [each.name for each in settings.proxies]
        if proxy is not None and proxy not in names:
            raise SettingsError(f"No proxy is named {proxy!r}. {did_you_mean(proxy, names)}".rstrip())
        check_exists(settings)
        parts = Parts(settings)
        failed = False
        for each in settings.proxies:
            if proxy not in (None, each.name):
                continue
            try:
                with closing(connect(each, parts.ledger, parts.clock)) as client:
                    if client.guard.status() is None:
                        click.echo(f"proxy {each.name}: its key has not been refused, so there is nothing to try.")
                        continue
                    client.guard.ask()
                    detect(client)
            except ProxyError as exc:
                click.echo(f"problem: {exc}")
                failed = True
            else:
                click.echo(f"proxy {each.name}: the key is accepted. A running exporter continues with its next poll.")
        parts.ledger.close()
        if failed:
            raise SystemExit(FAILED)
