"""The command line. Exit codes: 0 fine, 1 failed, 2 wrong use or wrong settings."""

import ctypes
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import click
from pydantic import SecretStr

from exporter import __version__
from exporter.app import Exporter, connect, open_ledger
from exporter.clock import SystemClock
from exporter.commands.common import FAILED, WRONG_SETTINGS, exit_codes, ready_settings
from exporter.commands.export import export
from exporter.commands.price import price
from exporter.commands.replay import replay
from exporter.errors import ExporterError, ProxyError, SettingsError
from exporter.settings.load import load_settings, no_proxy_sentence
from exporter.settings.model import ProxySettings, Settings
from exporter.sources.detect import detect

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
"""From glibc's malloc.h."""


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: CLIPROXY_MANAGEMENT_KEY=… cliproxy-exporter run",
)
@click.version_option(__version__, prog_name="cliproxy-exporter")
@click.pass_context
def main(context: click.Context) -> None:
    """Prometheus exporter for CLIProxyAPI: what it costs, who used it, which account runs out.

    Without a command it is `run`. Settings come from the environment, from .env in this directory, and from the YAML
    file that EXPORTER_CONFIG names.
    """
    if context.invoked_subcommand is None:
        context.invoke(run)


@main.command(epilog="Example: CLIPROXY_URL=http://localhost:8317 CLIPROXY_MANAGEMENT_KEY=… cliproxy-exporter run")
@click.option("--or-demo", is_flag=True, help="Run the bundled demo proxy if no proxy is configured.")
def run(or_demo: bool = False) -> None:
    """Run the exporter in the foreground until it gets SIGTERM or Ctrl-C."""
    with exit_codes():
        settings = ready_settings()
        if not settings.proxies and or_demo:
            click.echo("No proxy is configured, so the bundled demo proxy runs: all figures are invented.")
            _run_demo(settings, rate=1.0, seed=None, proxy_port=0)
            return
        if not settings.proxies:
            raise SettingsError(no_proxy_sentence())
        _run_exporter(settings)


@main.command(epilog="Example: cliproxy-exporter demo --rate 5")
@click.option("--rate", default=1.0, show_default=True, help="Requests per second, on average over a day.")
@click.option("--seed", type=int, help="Seed of the invented traffic: the same seed gives the same requests.")
@click.option("--proxy-port", default=0, show_default=True, help="Port of the demo proxy; 0 takes a free one.")
def demo(rate: float, seed: int | None, proxy_port: int) -> None:
    """Run the exporter beside a simulated proxy with invented traffic.

    Its ledger is in the folder `demo` of the data directory, so real figures and invented ones never mix.
    """
    with exit_codes():
        click.echo("This is the bundled demo proxy: all figures are invented.")
        _run_demo(ready_settings(), rate=rate, seed=seed, proxy_port=proxy_port)


@main.command("check-config", epilog="Example: cliproxy-exporter check-config --connect")
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
            click.echo(f"proxy {proxy.name}: version {source.version or 'unknown'}, usage queue ({source.api})")
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


def _run_demo(settings: Settings, *, rate: float, seed: int | None, proxy_port: int) -> None:
    # Imported here: the demo brings a web server of its own, which the exporter does not need.
    from exporter.demo.live import LiveTraffic  # noqa: PLC0415
    from exporter.demo.proxy import DemoProxy  # noqa: PLC0415
    from exporter.demo.server import DemoServer  # noqa: PLC0415
    from exporter.demo.world import MANAGEMENT_KEY  # noqa: PLC0415

    proxy = DemoProxy(key=MANAGEMENT_KEY)
    try:
        server = DemoServer(proxy, port=proxy_port)
    except OSError as exc:
        raise ExporterError(f"Port {proxy_port} cannot be listened on ({exc.strerror}): set --proxy-port.") from exc
    # A new seed at each start: the same records again would be what no proxy sends.
    traffic = LiveTraffic(proxy, rate=rate, seed=int.from_bytes(os.urandom(4), "big") if seed is None else seed)
    server.start()
    traffic.start()
    try:
        _run_exporter(
            settings.model_copy(
                update={
                    "proxies": (ProxySettings(name="demo", url=server.url, management_key=SecretStr(MANAGEMENT_KEY)),),
                    "exporter_data_dir": settings.exporter_data_dir / "demo",
                    "exporter_prices_refresh": False,
                }
            )
        )
    finally:
        traffic.stop()
        server.stop()


def _give_memory_back() -> None:
    """Have glibc serve all threads from one heap, and return the room of large texts at once.

    By default each web thread keeps a heap of its own, and the room of its largest scrape in it.
    """
    with suppress(OSError, AttributeError):  # another C library knows no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


def _run_exporter(settings: Settings) -> None:
    _give_memory_back()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    exporter = Exporter(settings)
    click.echo(f"Open {exporter.web.url}/ (status) and {exporter.web.url}/metrics (for Prometheus).")
    exporter.run(stop)


main.add_command(export)
main.add_command(replay)
main.add_command(price)
