"""``python -m exporter.simulator``: the demo proxy with live traffic in its own process."""

import os
import signal
import sys
import threading
from typing import Any

import click

from exporter.simulator.live import live_demo
from exporter.simulator.options import play_options
from exporter.simulator.world import MANAGEMENT_KEY


@click.command(epilog="Example: python -m exporter.simulator --port 8317 --rate 2 --version 6.9 --upgrade-after 120")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8317, show_default=True, help="Port; 0: any free one.")
@click.option("--key", default=MANAGEMENT_KEY, show_default=True, help="Management key.")
@click.option("--allow-remote", is_flag=True, help="Let other machines manage it, like CPA's allow-remote.")
@play_options("--version")
def main(*, host: str, port: int, version: str, upgrade_to: str, **play: Any) -> None:
    """A simulated CLIProxyAPI server with invented traffic."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())

    try:
        with live_demo(
            host=host,
            port=port,
            version=version,
            upgrade_to=upgrade_to,
            upgraded=lambda: click.echo(f"Now it is {upgrade_to}."),
            **play,
        ) as server:
            click.echo(f"Demo proxy {version} at {server.url}, management key: {play['key']}")
            ended.wait()
    except OSError as error:
        click.echo(f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}.", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
