"""``python -m exporter.simulator``: the demo proxy with live traffic in its own process."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from exporter.simulator import versions
from exporter.simulator.live import DEFAULT_HISTORY_HOURS, LiveTraffic
from exporter.simulator.proxy import DemoProxy
from exporter.simulator.server import DemoServer
from exporter.simulator.world import MANAGEMENT_KEY, SHOWN


def run_demo_proxy(
    *,
    host: str = "127.0.0.1",
    port: int = 8317,
    key: str = MANAGEMENT_KEY,
    version: str = versions.DEFAULT,
    shown_version: str | None = None,
    rate: float = 1.0,
    seed: int = 1,
    control: bool = False,
    allow_remote: bool = False,
    print_port: bool = False,
    history_hours: float | None = None,
    upgrade_after: float | None = None,
    upgrade_to: str = versions.DEFAULT,
) -> None:
    """Serve the demo proxy with live traffic until SIGTERM or SIGINT. Only for the main thread.

    ``history_hours`` is how long it has already run, by default 6 for a version with ``/usage``; others forget. After
    ``upgrade_after`` seconds it becomes ``upgrade_to``.

    Raises ``OSError`` if the port is not available.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    proxy = DemoProxy(key=key, version=version, shown_version=shown_version, accounts=SHOWN)
    proxy.door.allow_remote = allow_remote
    server = DemoServer(proxy, host=host, port=port, control=control)
    if history_hours is None:
        history_hours = DEFAULT_HISTORY_HOURS if proxy.has_usage_snapshot else 0.0
    traffic = LiveTraffic(proxy, rate=rate, seed=seed, history_hours=history_hours)
    traffic.start()
    server.start()
    try:
        if print_port:
            print(server.port, flush=True)
        else:
            print(f"Demo proxy {version} at {server.url}, management key: {key}", flush=True)
        if upgrade_after is not None and not ended.wait(upgrade_after):
            proxy.upgrade(upgrade_to)
            if not print_port:
                print(f"Now it is {upgrade_to}.", flush=True)
        ended.wait()
    finally:
        traffic.stop()
        server.stop()


def _version(text: str) -> str:
    try:
        return versions.parse_version(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m exporter.simulator",
        description="A simulated CLIProxyAPI server with invented traffic.",
        epilog="example: python -m exporter.simulator --port 8317 --rate 2 --version 6.9 --upgrade-after 120",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8317, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--print-port", action="store_true", help="print only the port, as the first line")
    parser.add_argument("--key", default=MANAGEMENT_KEY, help="management key (default: %(default)s)")
    parser.add_argument(
        "--version",
        type=_version,
        default=versions.DEFAULT,
        help=f"CPA version to play: {versions.EXAMPLES} (default: %(default)s)",
    )
    parser.add_argument("--shown-version", metavar="TEXT", help="the version that it claims to be, such as dev")
    parser.add_argument(
        "--history-hours",
        type=float,
        metavar="HOURS",
        help=f"hours that a version with /usage has already run (default: {DEFAULT_HISTORY_HOURS:g})",
    )
    parser.add_argument(
        "--upgrade-after", type=float, metavar="SECONDS", help="become another version after this many seconds"
    )
    parser.add_argument(
        "--upgrade-to", type=_version, default=versions.DEFAULT, help="version after the upgrade (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", type=float, default=1.0, help="average requests per second over a day (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the traffic (default: %(default)s)")
    parser.add_argument("--control", action="store_true", help="add POST /demo/enqueue and others, loopback only")
    parser.add_argument(
        "--allow-remote", action="store_true", help="let other machines manage it, like CPA's allow-remote"
    )
    options = parser.parse_args(arguments)
    if options.history_hours and not versions.has_usage(options.version):
        parser.error(f"--history-hours: {options.version} has a queue, which remembers no history")
    try:
        run_demo_proxy(**vars(options))
    except OSError as error:
        print(f"Cannot listen on {options.host}:{options.port}: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
