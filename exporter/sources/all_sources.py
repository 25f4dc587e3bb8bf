"""The sources, and how to find out which one a proxy has without taking records.

CPA has had three usage interfaces: a cumulative ``/usage`` (up to 6.9), a queue over RESP alone (6.10.0 to 6.10.7) and
a queue over HTTP (from 6.10.8; from 8.0 also under a second base path), which accepts subscribers from 7.0.7 on. The
first refused call ends the detection.
"""

from exporter.errors import ManagementOffError, RespOnlyError, UnknownServerError, UnsupportedProxyError
from exporter.sentences import say
from exporter.sources.base import Source, Version, parse_version
from exporter.sources.paths import V0, V8, Paths
from exporter.sources.proxy_client import FOUND_OR_NOT, ProxyClient
from exporter.sources.usage_queue import UsageQueue
from exporter.sources.usage_snapshot import UsageSnapshot
from exporter.sources.usage_subscription import UsageSubscription

SOURCES: list[type[Source]] = [
    UsageSubscription,
    UsageQueue,
    UsageSnapshot,
]
"""All sources, the preferred one first. Several sources of a proxy have the same records, so only one is read."""

_FIRST_HTTP_QUEUE = (6, 10, 8)
_FIRST_V8 = (8, 0, 0)

_FRONT_PAGE_BYTES = 1024


def source_of_kind(kind: str) -> type[Source] | None:
    """The source by its name in the ledger, None if another version of the exporter wrote it."""
    return next((source for source in SOURCES if source.kind == kind), None)


def detect(client: ProxyClient) -> Source:
    """The source to read. Raises an UnsupportedProxyError that says what to do, or the errors of ``client``."""
    known = client.get(V0.publishing, accept=FOUND_OR_NOT).whole()
    # A 404 may come without a login or a version: the proxy may have only v8 paths, or no management.
    version = parse_version(client.version) if known.status == 200 else None
    if (version is None or version >= _FIRST_V8) and (source := _offered(client, V8, version)):
        return source
    if known.status == 404:
        raise _management_off(client)
    if source := _offered(client, V0, version):
        return source
    raise _unsupported(client, version)


def _offered(client: ProxyClient, paths: Paths, version: Version | None) -> Source | None:
    return next((source(client, paths) for source in SOURCES if source.is_offered(client, paths, version)), None)


def _management_off(client: ProxyClient) -> ManagementOffError:
    if b"CLI Proxy API Server" in client.get_public("/", max_bytes=_FRONT_PAGE_BYTES).body:
        return ManagementOffError(
            "{where} is CLIProxyAPI, but has no Management API (404). Set `secret-key` below `remote-management` in"
            " its configuration, or start it with MANAGEMENT_PASSWORD. A node of a Home cluster has none; a version"
            " before 6.0.5 is too old.",
            where=client.where,
        )
    return ManagementOffError(
        "{where} has no Management API (404), and does not look like CLIProxyAPI. Is its URL right (CLIPROXY_URL)? It"
        " ends before /v0/management.",
        where=client.where,
    )


def _unsupported(client: ProxyClient, version: Version | None) -> UnsupportedProxyError:
    stated = say("an unknown version") if version is None else ".".join(map(str, version))
    if version is not None and version < _FIRST_HTTP_QUEUE:
        return RespOnlyError(
            "{where} is {stated} of CLIProxyAPI, whose usage queue is not reachable over HTTP. Upgrade it to 6.10.8 or"
            " newer.",
            where=client.where,
            stated=stated,
        )
    return UnknownServerError(
        "{where} is {stated} of CLIProxyAPI and has neither a usage queue nor a usage snapshot that is known here. Use"
        " a released CPA 6.10.8 or newer, and see whether the exporter has a newer version.",
        where=client.where,
        stated=stated,
    )
