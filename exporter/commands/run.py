"""``cliproxy-exporter run`` and ``demo``: the program in the foreground."""

import os
import signal
import threading
from contextlib import ExitStack
from typing import Any

import click
from click.core import ParameterSource
from pydantic import SecretStr
from pydantic_core import PydanticCustomError

from exporter import formats
from exporter.clock import Clock
from exporter.commands.common import as_in_demo, exit_codes, ready_settings
from exporter.commands.machine_defaults import DEMO, announced
from exporter.errors import ExporterError
from exporter.jobs.memory import load_less, use_one_heap
from exporter.pricing.genai_prices import load_genai_rows
from exporter.settings import kinds
from exporter.settings.flags import setting_flags
from exporter.settings.model import Settings
from exporter.settings.proxies import ProxySettings
from exporter.simulator.options import DEFAULT_VERSION, play_options

_STOPPING = (signal.SIGTERM, signal.SIGINT)
_STANDARD = (0, 1, 2)


@click.command(epilog="Example: CLIPROXY_URL=http://localhost:8317 CLIPROXY_MANAGEMENT_KEY=… cliproxy-exporter run")
@setting_flags
@click.option("--or-demo", is_flag=True, help="Run the bundled demo proxy if no proxy is configured.")
def run(or_demo: bool = False) -> None:
    """Run the exporter in the foreground until it is stopped. SIGTERM or Ctrl-C does that.

    On SIGHUP it reads the files of aliases, limits and prices again. Closing the terminal ends it.
    """
    with exit_codes():
        settings = ready_settings(starts=True, needs_proxy=not or_demo)
        if settings.proxies:
            _run_exporter(settings)
        else:
            click.echo("No proxy is configured, so the bundled demo proxy runs: all figures are invented.")
            _run_demo(settings)


@click.command(epilog="Example: cliproxy-exporter demo --rate 5 --proxy-version 6.9 --upgrade-after 120")
@setting_flags
@click.option("--proxy-port", type=click.IntRange(0, 65535), default=0, help="Port of the demo proxy; 0: any free one.")
@play_options("--proxy-version")
@click.option("--proxy-url", help="Read a simulated proxy that is already running (`python -m exporter.simulator`).")
@click.pass_context
def demo(context: click.Context, /, *, proxy_url: str | None, **play: Any) -> None:
    """Run the exporter with a simulated proxy and invented traffic.

    Its ledger is in the folder `demo` of the data directory, and it writes nothing to Supabase, so real figures and
    invented ones never mix. A new ledger begins with thirty days of invented requests.
    """
    given = [name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if proxy_url and given != ["proxy_url"]:
        raise click.BadOptionUsage("--proxy-url", "--proxy-url: takes no other options: that proxy has its own.")
    try:
        proxy_url = proxy_url and kinds.proxy_url(proxy_url)
    except PydanticCustomError as exc:
        raise click.BadParameter(exc.message(), param_hint="--proxy-url") from exc
    with exit_codes():
        which = "reads a simulated proxy" if proxy_url else "is the bundled demo proxy"
        click.echo(f"This {which}: all figures are invented.")
        settings = ready_settings(for_demo=True, starts=True)
        if proxy_url:
            _run_demo_exporter(settings, proxy_url)
        else:
            _run_demo(settings, **play)


def _run_demo(settings: Settings, *, proxy_port: int = 0, upgrade_to: str = DEFAULT_VERSION, **play: Any) -> None:
    # Imported here: the demo has a web server of its own, which the exporter does not need.
    from exporter.simulator.live import live_demo  # noqa: PLC0415

    with ExitStack() as stack:
        try:
            server = stack.enter_context(
                live_demo(
                    port=proxy_port,
                    upgrade_to=upgrade_to,
                    upgraded=lambda: click.echo(f"The demo proxy is now {upgrade_to}."),
                    **play,
                )
            )
        except OSError as exc:
            why = os.strerror(exc.errno or 0)  # exc's own text repeats the address
            sentence = f"The demo proxy cannot listen on port {proxy_port} ({why}): set --proxy-port."
            raise ExporterError(sentence) from exc
        _run_demo_exporter(settings, server.url)


def _run_demo_exporter(settings: Settings, proxy_url: str) -> None:
    """Run the exporter with only the simulated proxy at this URL, and without Supabase."""
    from exporter.commands.demo_past import DAYS, book_demo_past  # noqa: PLC0415
    from exporter.simulator.world import MANAGEMENT_KEY  # noqa: PLC0415

    settings = as_in_demo(settings).model_copy(
        update={
            "proxies": (ProxySettings(name="demo", url=proxy_url, management_key=SecretStr(MANAGEMENT_KEY)),),
            "exporter_data_dir": settings.exporter_data_dir / DEMO,
            "exporter_prices_refresh": False,
            "exporter_quotas": "active",
            "supabase_url": None,
            "supabase_secret_key": None,
        }
    )
    if booked := book_demo_past(settings, Clock()):
        click.echo(f"Its past is invented, too: {formats.count(booked)} requests of the last {DAYS} days.")
    _run_exporter(settings, is_demo=True)


def _terminals() -> list[int]:
    """Which of standard input, output and error are a terminal that has not been closed."""
    return [number for number in _STANDARD if os.isatty(number)]


def _run_exporter(settings: Settings, *, is_demo: bool = False) -> None:
    use_one_heap()
    load_less()
    stop = threading.Event()

    def begin_stop(*_: object) -> None:
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)  # a second one ends the program at once
        stop.set()

    for number in _STOPPING:
        signal.signal(number, begin_stop)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # which waits until the exporter can act on it
    load_genai_rows()
    from exporter.app import Exporter  # noqa: PLC0415 - now: it takes the memory that reading the prices has freed

    exporter = Exporter(settings, is_demo=is_demo)
    terminals = _terminals()

    def hang_up(*_: object) -> None:
        if terminals and not _terminals():
            for number in terminals:
                os.dup2(os.open(os.devnull, os.O_RDWR), number)  # later output must not fail
            begin_stop()
        else:
            threading.Thread(target=exporter.reload, name="reload", daemon=True).start()

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup leaves it
        signal.signal(signal.SIGHUP, hang_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    click.echo(f"Open {exporter.web.url}/ (status) and {exporter.web.url}/metrics (for Prometheus).")
    with announced(os.environ, settings.exporter_data_dir, is_demo=is_demo):
        exporter.run(stop)
