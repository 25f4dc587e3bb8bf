"""Two of the proxy's settings that decide whether records are there to be read, and for how long."""

from typing import TypeVar

import msgspec

from exporter.errors import BadAnswerError, ProxyServerError, ProxyUnreachableError
from exporter.sources.client import ProxyClient
from exporter.sources.paths import V0, Paths
from exporter.sources.responses import Answer

MAX_RETENTION_SECONDS = 3600
_DEFAULT_RETENTION_SECONDS = 60
_FOUND_OR_NOT = frozenset({200, 404})

T = TypeVar("T")


class Flags(msgspec.Struct, frozen=True):
    """Two of the proxy's settings; None if it does not tell.

    ``publishing_enabled``: whether it records usage at all. ``retention_seconds``: how long a record
    waits to be read.
    """

    publishing_enabled: bool | None = None
    retention_seconds: int | None = None


class _UsageSection(msgspec.Struct):
    publishing: object = msgspec.field(name="usage-statistics-enabled", default=None)
    retention: object = msgspec.field(name="redis-usage-queue-retention-seconds", default=None)


class _Observability(msgspec.Struct):
    usage: _UsageSection = msgspec.field(default_factory=_UsageSection)


class _Config(_UsageSection):
    """The two settings in a proxy's configuration, at v0's place or v8's. All the rest, full of keys, is skipped."""

    observability: _Observability = msgspec.field(default_factory=_Observability)


def read_flags(client: ProxyClient, paths: Paths) -> Flags:
    """The proxy's settings now: one call, or up to three if the proxy's configuration is not where it is expected.

    What the proxy does not tell is None. Raises the errors of ``client`` that concern the whole proxy.
    """
    flags = _from_config(client, paths.config)
    if flags.publishing_enabled is None:
        flags = _merge(flags, _from_switch(client, paths.publishing))
    if flags.retention_seconds is None and paths.config != V0.config:
        flags = _merge(flags, _from_config(client, V0.config))
    return flags


def _from_config(client: ProxyClient, path: str) -> Flags:
    config = decoded(read_if_there(client, path), _Config)
    if config is None:
        return Flags()
    v8 = config.observability.usage
    return _merge(_flags(config.publishing, config.retention), _flags(v8.publishing, v8.retention))


def _from_switch(client: ProxyClient, path: str) -> Flags:
    """From the switch's own path: wrapped in an object by v0, bare by v8."""
    answer = read_if_there(client, path)
    wrapped = decoded(answer, _UsageSection)
    return _flags(wrapped.publishing if wrapped is not None else decoded(answer, bool), None)


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


def read_if_there(client: ProxyClient, path: str) -> Answer | None:
    """The answer, or None if this one path is of no use: the queue can be read without knowing what it tells."""
    try:
        answer = client.get(path, accept=_FOUND_OR_NOT)
    except (BadAnswerError, ProxyServerError, ProxyUnreachableError):
        return None
    return answer if answer.status == 200 and answer.complete else None


def decoded(answer: Answer | None, type_: type[T]) -> T | None:
    """The body, or None for another shape."""
    if answer is None:
        return None
    try:
        return msgspec.json.decode(answer.body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
