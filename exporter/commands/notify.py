"""``cliproxy-exporter notify``: sends a test message."""

import click

from exporter.commands.common import exit_codes, ready_settings
from exporter.errors import ExporterError, SettingsError
from exporter.limits.notices import Services


@click.command(epilog="Example: EXPORTER_NOTIFY_URLS=ntfy://my-topic cliproxy-exporter notify --test")
@click.option("--test", is_flag=True, required=True, help="Send a test message to every URL of EXPORTER_NOTIFY_URLS.")
def notify(test: bool) -> None:  # noqa: ARG001 - so far the only thing that it does
    """Send a test message to those who are warned about limits."""
    with exit_codes():
        urls = ready_settings().notify_urls
        if not urls:
            raise SettingsError("EXPORTER_NOTIFY_URLS is not set: docs/alerting.md#without-prometheus has examples.")
        services = Services(urls)
        text = "This is a test. Warnings about limits will look like this: claude-alice: 5h limit 81% used."
        failed = services.send("info", "cliproxy-exporter can reach you", text)
        for name in services.names:
            click.echo(f"{name}: {'not taken' if name in failed else 'sent'}")
        if failed:
            raise ExporterError("Not every service took the message. Are URL and token right, and is it reachable?")
