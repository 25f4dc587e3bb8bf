"""Finds out where a proxy's usage records are, without taking any.

CPA has had three usage interfaces: a cumulative ``/usage`` (up to 6.9), a queue over RESP alone (6.10.0 to 6.10.7) and
a queue over HTTP (from 6.10.8; from 8.0 under a second base path as well). A queue is told by ``count=0``, which CPA
answers with 400 before it pops anything. ``/usage`` may be tens of megabytes, so no more than its first bytes are read,
and only if the version is not known. The first refused call ends the detection.
"""

import re
from typing import Literal, NamedTuple, TypeVar

import msgspec

from exporter.errors import (
    BadAnswerError,
    ManagementOffError,
    ProxyServerError,
    ProxyUnreachableError,
    RespOnlyError,
    UnknownServerError,
    UnsupportedProxyError,
)
from exporter.sources.client import ProxyClient
from exporter.sources.responses import Answer

_V0 = "/v0/management"
_V8 = "/v8/management"
_V0_FLAG = f"{_V0}/usage-statistics-enabled"
_V0_CONFIG = f"{_V0}/config"

_FIRST_HTTP_QUEUE = (6, 10, 8)
_FIRST_WITHOUT_USAGE = (6, 10, 0)
_FIRST_V8 = (8, 0, 0)

_DEFAULT_RETENTION_SECONDS = 60
MAX_RETENTION_SECONDS = 3600

_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:[-+].*)?", re.ASCII | re.DOTALL)
_LEGACY_USAGE = re.compile(rb'\s*\{.*?"usage"\s*:\s*\{', re.DOTALL)
_PEEK_BYTES = 1024

_FOUND_OR_NOT = frozenset({200, 404})
_PROBED = frozenset({200, 204, 400, 404, 405})


T = TypeVar("T")


class Version(NamedTuple):
    """A CPA release; what follows the three numbers (commits on top, the suffix of a fork) does not count."""

    major: int
    minor: int
    patch: int


class Paths(msgspec.Struct, frozen=True):
    """Where a proxy has what the exporter reads.

    ``usage`` is the snapshot of CPA up to 6.9; ``key_lists`` are the lists of configured API keys, one per kind.
    """

    queue: str
    usage: str
    credentials: str
    api_key_usage: str
    config: str
    publishing: str
    key_lists: tuple[str, ...]


class Flags(msgspec.Struct, frozen=True):
    """Two of the proxy's settings; None if it does not tell.

    ``publishing_enabled``: whether it records usage at all. ``retention_seconds``: how long a record
    waits in the queue.
    """

    publishing_enabled: bool | None
    retention_seconds: int | None


class Source(msgspec.Struct, frozen=True):
    """A usage source that can be read. ``version`` and ``commit`` are the proxy's own words, empty if unknown."""

    kind: Literal["queue", "snapshot"]
    api: Literal["v0", "v8"]
    paths: Paths
    flags: Flags
    version: str
    commit: str


_KEY_LISTS = tuple(
    f"{_V0}/{kind}"
    for kind in (
        "gemini-api-key",
        "claude-api-key",
        "codex-api-key",
        "openai-compatibility",
        "vertex-api-key",
        "xai-api-key",
        "interactions-api-key",
    )
)
_V0_PATHS = Paths(
    queue=f"{_V0}/usage-queue",
    usage=f"{_V0}/usage",
    credentials=f"{_V0}/auth-files",
    api_key_usage=f"{_V0}/api-key-usage",
    config=_V0_CONFIG,
    publishing=_V0_FLAG,
    key_lists=_KEY_LISTS,
)
_V8_PATHS = Paths(
    queue=f"{_V8}/observability/usage/queue",
    usage=f"{_V0}/usage",
    credentials=f"{_V8}/credentials",
    api_key_usage=f"{_V8}/observability/usage/api-keys",
    config=f"{_V8}/config",
    publishing=f"{_V8}/config/observability/usage/usage-statistics-enabled",
    key_lists=_KEY_LISTS,  # v8 has no documented successor, and keeps the v0 paths
)


def parse_version(text: str) -> Version | None:
    """The release in an ``X-CPA-VERSION`` (``v7.2.140``, ``7.2.140``, ``v7.2.140-3-gabc1234-dirty``), else None."""
    match = _VERSION.fullmatch(text.strip())
    return Version(*map(int, match.groups())) if match else None


def detect(client: ProxyClient) -> Source:
    """The source to read. Raises an UnsupportedProxyError that says what to do, or the errors of ``client``."""
    known = client.get(_V0_FLAG, accept=_FOUND_OR_NOT)
    if known.error is not None:
        raise known.error
    # A 404 may come without a login and without a version: this proxy may have v8 paths alone, or no management.
    version = parse_version(client.version) if known.status == 200 else None
    if (version is None or version >= _FIRST_V8) and _has_queue(client, _V8_PATHS.queue):
        return _source(client, "v8", _V8_PATHS)
    if known.status == 404:
        raise _management_off(client)
    if _has_queue(client, _V0_PATHS.queue):
        return _source(client, "v0", _V0_PATHS)
    # From 6.9.38 to 6.9.49 there is a queue beside it, of the same records, which HTTP does not reach: read one only.
    if (version is None or version < _FIRST_WITHOUT_USAGE) and _has_legacy_usage(client):
        return _source(client, "v0", _V0_PATHS, kind="snapshot")
    raise _unsupported(client, version)


def read_flags(client: ProxyClient, source: Source) -> Flags:
    """The proxy's settings now: one call, or up to three if the proxy's configuration is not where it is expected.

    What the proxy does not tell is None. Raises the errors of ``client`` that concern the whole proxy.
    """
    return _read_flags(client, source.paths)


def _source(
    client: ProxyClient, api: Literal["v0", "v8"], paths: Paths, *, kind: Literal["queue", "snapshot"] = "queue"
) -> Source:
    flags = _read_flags(client, paths)
    if kind == "snapshot":
        flags = Flags(publishing_enabled=flags.publishing_enabled, retention_seconds=None)  # nothing waits to be read
    return Source(kind=kind, api=api, paths=paths, flags=flags, version=client.version, commit=client.commit)


def _has_queue(client: ProxyClient, path: str) -> bool:
    """Whether ``path`` is CPA's queue. Raises UnknownServerError if it is something else."""
    answer = client.get(f"{path}?count=0", accept=_PROBED, max_bytes=_PEEK_BYTES)
    if answer.status == 400 and "positive integer" in answer.error_text:
        return True
    if answer.status == 404:
        return False
    raise UnknownServerError(
        f"{client.where} answered {answer.status} to a question that every known CPA refuses with 400, so its queue is "
        "not touched. Is it a fork, or a server in between? Use CPA 6.10.8 or newer."
    )


def _management_off(client: ProxyClient) -> ManagementOffError:
    if b"CLI Proxy API Server" in client.get_public("/", max_bytes=_PEEK_BYTES).body:
        return ManagementOffError(
            f"{client.where} is CLIProxyAPI, but has no Management API (404). Set `secret-key` below "
            "`remote-management` in its configuration, or start it with MANAGEMENT_PASSWORD. A node of a Home cluster "
            "has none; a version before 6.0.5 is too old."
        )
    return ManagementOffError(
        f"{client.where} has no Management API (404), and does not look like CLIProxyAPI. Is its URL right "
        "(CLIPROXY_URL)? It ends before /v0/management."
    )


def _unsupported(client: ProxyClient, version: Version | None) -> UnsupportedProxyError:
    stated = "an unknown version" if version is None else ".".join(map(str, version))
    if version is not None and version < _FIRST_HTTP_QUEUE:
        return RespOnlyError(
            f"{client.where} is {stated} of CLIProxyAPI, whose usage queue is not reachable over HTTP. Upgrade it to "
            "6.10.8 or newer."
        )
    return UnknownServerError(
        f"{client.where} is {stated} of CLIProxyAPI and has neither a usage queue nor a usage snapshot that is known "
        "here. Use a released CPA "
        "6.10.8 or newer, and see whether the exporter has a newer version."
    )


def _has_legacy_usage(client: ProxyClient) -> bool:
    answer = client.get(f"{_V0}/usage", accept=_FOUND_OR_NOT, max_bytes=_PEEK_BYTES)
    return answer.status == 200 and _LEGACY_USAGE.match(answer.body) is not None


class _UsageSection(msgspec.Struct):
    publishing: object = msgspec.field(name="usage-statistics-enabled", default=None)
    retention: object = msgspec.field(name="redis-usage-queue-retention-seconds", default=None)


class _Observability(msgspec.Struct):
    usage: _UsageSection = msgspec.field(default_factory=_UsageSection)


class _Config(_UsageSection):
    """The two settings in a proxy's configuration, at v0's place or v8's. All the rest, full of keys, is skipped."""

    observability: _Observability = msgspec.field(default_factory=_Observability)


def _read_flags(client: ProxyClient, paths: Paths) -> Flags:
    flags = _from_config(client, paths.config)
    if flags.publishing_enabled is None:
        flags = _merge(flags, _from_switch(client, paths.publishing))
    if flags.retention_seconds is None and paths.config != _V0_CONFIG:
        flags = _merge(flags, _from_config(client, _V0_CONFIG))
    return flags


def _from_config(client: ProxyClient, path: str) -> Flags:
    config = _decode(_read(client, path), _Config)
    if config is None:
        return Flags(publishing_enabled=None, retention_seconds=None)
    v8 = config.observability.usage
    return _merge(_flags(config.publishing, config.retention), _flags(v8.publishing, v8.retention))


def _from_switch(client: ProxyClient, path: str) -> Flags:
    """From the switch's own path: wrapped in an object by v0, bare by v8."""
    answer = _read(client, path)
    wrapped = _decode(answer, _UsageSection)
    return _flags(wrapped.publishing if wrapped is not None else _decode(answer, bool), None)


def _flags(publishing: object, retention: object) -> Flags:
    seconds = None
    if isinstance(retention, int) and not isinstance(retention, bool):
        # As CPA itself reads the setting.
        seconds = min(retention, MAX_RETENTION_SECONDS) if retention > 0 else _DEFAULT_RETENTION_SECONDS
    return Flags(publishing_enabled=publishing if isinstance(publishing, bool) else None, retention_seconds=seconds)


def _merge(first: Flags, second: Flags) -> Flags:
    publishing, retention = first.publishing_enabled, first.retention_seconds
    return Flags(
        publishing_enabled=second.publishing_enabled if publishing is None else publishing,
        retention_seconds=second.retention_seconds if retention is None else retention,
    )


def _read(client: ProxyClient, path: str) -> Answer | None:
    """The answer, or None if this one path is of no use: the queue can be read without knowing the settings."""
    try:
        answer = client.get(path, accept=_FOUND_OR_NOT)
    except (BadAnswerError, ProxyServerError, ProxyUnreachableError):
        return None
    return answer if answer.status == 200 and answer.complete else None


def _decode(answer: Answer | None, type_: type[T]) -> T | None:
    if answer is None:
        return None
    try:
        return msgspec.json.decode(answer.body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
