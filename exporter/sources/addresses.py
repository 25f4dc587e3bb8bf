"""The names of a server: a refused key stays refused under all of them.

A server's names are its URL as written, the URL in one spelling, and each address of its host; all of loopback is one
address. Two URLs that share a name are one server. So a host with several addresses matches each of them, and one whose
addresses change, or cannot be looked up, still matches by its text.
"""

import ipaddress
import socket
import threading
from collections.abc import Callable, Collection

import httpx

Resolve = Callable[[str], Collection[str]]
"""The addresses of a host name; none if it cannot be resolved."""

_RESOLVE_SECONDS = 2.0
_LOOPBACK = "loopback"


def addresses_of(host: str) -> Collection[str]:
    """The addresses of ``host`` as the system resolves it; none if that fails or takes more than two seconds."""
    found: list[str] = []

    def look_up() -> None:
        try:
            found.extend(str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError):
            return

    thread = threading.Thread(target=look_up, name="resolve", daemon=True)
    thread.start()
    thread.join(_RESOLVE_SECONDS)
    return list(found)


def fingerprints(
    url: str, key: str, keyed_hash: Callable[[bytes], str], *, resolve: Resolve = addresses_of
) -> list[str]:
    """Hashes of ``key`` with each name of the server at ``url``, in the order of ``server_names``."""
    return [keyed_hash(f"{name}\n{key}".encode()) for name in server_names(url, resolve)]


def server_names(url: str, resolve: Resolve) -> list[str]:
    """The names of the server at ``url``: first as written, last the one that its other spellings share."""
    written = url.rstrip("/")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:  # the client reports it
        return [written]
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    tail = f":{port}{parsed.path.rstrip('/')}"
    host = parsed.host.lower().rstrip(".")
    try:
        addresses = [_plain(host)]
    except ValueError:
        addresses = sorted({_plain(address) for address in resolve(host)})
        if host == "localhost":
            addresses = [_LOOPBACK]
    # "\n" keeps these apart from any written URL.
    return [written, *(f"server\n{name}{tail}" for name in (host, *addresses))]


def _plain(text: str) -> str:
    """An address in one spelling. Raises ValueError if ``text`` is a name."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return _LOOPBACK if address.is_loopback or address.is_unspecified else str(address)
