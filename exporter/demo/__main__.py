"""``python -m exporter.demo``: the demo proxy with live traffic as a process of its own."""

import argparse
import re
import signal
import sys
import threading
from collections.abc import Sequence

from exporter.demo.live import LiveTraffic
from exporter.demo.proxy import DemoProxy
from exporter.demo.server import DemoServer
from exporter.demo.world import MANAGEMENT_KEY


def run_demo_proxy(
    *,
    host: str = "127.0.0.1",
    port: int = 8317,
    key: str = MANAGEMENT_KEY,
    version: str = "v7.2.140",
    rate: float = 1.0,
    seed: int = 1,
    control: bool = False,
    allow_remote: bool = False,
    print_port: bool = False,
) -> None:
    """Serve the demo proxy with live traffic until SIGTERM or SIGINT; call it on the main thread.

    Raises ``OSError`` when the port cannot be had.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    proxy = DemoProxy(key=key, version=version)
    proxy.door.allow_remote = allow_remote
    server = DemoServer(proxy, host=host, port=port, control=control)
    traffic = LiveTraffic(proxy, rate=rate, seed=seed)
    traffic.start()
    server.start()
    try:
        if print_port:
            print(server.port, flush=True)
        else:
            print(f"Demo proxy {version} at {server.url}, management key: {key}", flush=True)
        ended.wait()
    finally:
        traffic.stop()
        server.stop()


def _version(text: str) -> str:
    if not re.fullmatch(r"v\d+\.\d+\.\d+", text):
        raise argparse.ArgumentTypeError("a version looks like v7.2.140")
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m exporter.demo",
        description="A simulated CLIProxyAPI server with invented traffic.",
        epilog="example: python -m exporter.demo --port 8317 --rate 2",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8317, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--print-port", action="store_true", help="print only the port, as the first line")
    parser.add_argument("--key", default=MANAGEMENT_KEY, help="management key (default: %(default)s)")
    parser.add_argument(
        "--version", type=_version, default="v7.2.140", help="CPA version to play (default: %(default)s)"
    )
    parser.add_argument(
        "--rate", type=float, default=1.0, help="requests per second over a day's average (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the traffic (default: %(default)s)")
    parser.add_argument("--control", action="store_true", help="add POST /demo/enqueue and others, loopback only")
    parser.add_argument(
        "--allow-remote", action="store_true", help="let other machines manage it, as CPA's allow-remote does"
    )
    options = parser.parse_args(arguments)
    try:
        run_demo_proxy(**vars(options))
    except OSError as error:
        print(f"Cannot listen on {options.host}:{options.port}: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
