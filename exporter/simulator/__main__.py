"""``python -m exporter.simulator``: the demo proxy with live traffic in its own process."""

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from exporter.simulator import versions
from exporter.simulator.live import DEFAULT_HISTORY_HOURS, live_demo
from exporter.simulator.world import MANAGEMENT_KEY


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
    parser.add_argument(
        "--allow-remote", action="store_true", help="let other machines manage it, like CPA's allow-remote"
    )
    options = parser.parse_args(arguments)
    if options.history_hours and not versions.has_usage(options.version):
        parser.error(f"--history-hours: {options.version} has a queue, which remembers no history")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    settings = vars(options)
    only_port = settings.pop("print_port")

    def say(text: str) -> None:
        if not only_port:
            print(text, flush=True)

    try:
        with live_demo(**settings, upgraded=lambda: say(f"Now it is {options.upgrade_to}.")) as server:
            if only_port:
                print(server.port, flush=True)
            say(f"Demo proxy {options.version} at {server.url}, management key: {options.key}")
            ended.wait()
    except OSError as error:
        print(f"Cannot listen on {options.host}:{options.port}: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
