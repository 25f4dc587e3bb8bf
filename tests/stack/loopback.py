"""HTTP to servers on loopback: without the environment's proxies, without certificate authorities, and with patience.

httpx reads a few hundred certificates for each new client, which takes longer than most requests of the tests.
"""

import atexit
import socket
import ssl
import sys
from typing import Any

import httpx

from tests.stack.waiting import PATIENCE_SECONDS

_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def free_port() -> int:
    """A port on which nobody listens until the test starts a server there.

    On Linux no other program on the machine is given it until this process ends, nor while that server is away.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that sets it, too, can still listen there
    held.bind(("127.0.0.1", 0))
    port = int(held.getsockname()[1])
    if sys.platform == "linux":
        atexit.register(held.close)
    else:
        held.close()
    return port


def has_ipv6() -> bool:
    """Whether this machine has an IPv6 loopback, which many containers lack."""
    try:
        with socket.socket(socket.AF_INET6) as found:
            found.bind(("::1", 0))
    except OSError:
        return False
    return True


def client(**options: Any) -> httpx.Client:
    """A client for ``http://`` addresses. ``options`` are those of ``httpx.Client``."""
    return httpx.Client(**{"verify": _NO_AUTHORITIES, "trust_env": False, "timeout": PATIENCE_SECONDS, **options})


def get(url: str, **options: Any) -> httpx.Response:
    """The answer to one GET. ``options`` are those of ``httpx.get``."""
    with client() as asking:
        return asking.get(url, **options)


def post(url: str, **options: Any) -> httpx.Response:
    """The answer to one POST. ``options`` are those of ``httpx.post``."""
    with client() as asking:
        return asking.post(url, **options)
