"""Two of the proxy's settings: whether it records usage, and how long records wait."""

from typing import TypeVar

import msgspec

from exporter.errors import BadAnswerError, ProxyServerError, ProxyUnreachableError
from exporter.sources.client import FOUND_OR_NOT, ProxyClient
from exporter.sources.paths import V0, Paths
from exporter.sources.responses import Answer

MAX_RETENTION_SECONDS = 3600
_DEFAULT_RETENTION_SECONDS = 60

T = TypeVar("T")


class Flags(msgspec.Struct, frozen=True):
    """Two of the proxy's settings; None if it does not state them.

    ``publishing_enabled``: whether it records usage at all. ``retention_seconds``: how long a record waits for a
    reader.
    """

    publishing_enabled: bool | None = None
    retention_seconds: int | None = None


class _UsageSection(msgspec.Struct):
    publishing: object = msgspec.field(name="usage-statistics-enabled", default=None)
    retention: object = msgspec.field(name="redis-usage-queue-retention-seconds", default=None)


class _Observability(msgspec.Struct):
    usage: _UsageSection = msgspec.field(default_factory=_UsageSection)


class _Config(_UsageSection):
    """The two settings in a proxy's configuration, at v0's place or v8's. Everything else, full of keys, is skipped."""

    observability: _Observability = msgspec.field(default_factory=_Observability)


def read_flags(client: ProxyClient, paths: Paths) -> Flags:
    """The proxy's settings now: one call, or up to three if the configuration is not in its usual place.

    Raises the errors of ``client`` that concern the whole proxy.
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
    """From the switch's own path: v0 wraps the value in an object, v8 does not."""
    answer = read_if_there(client, path)
    wrapped = decoded(answer, _UsageSection)
    return _flags(wrapped.publishing if wrapped is not None else decoded(answer, bool), None)


def _flags(publishing: object, retention: object) -> Flags:
    seconds = None
    if isinstance(retention, int) and not isinstance(retention, bool):
        # CPA itself reads the setting like this.
        seconds = min(retention, MAX_RETENTION_SECONDS) if retention > 0 else _DEFAULT_RETENTION_SECONDS
    return Flags(publishing_enabled=publishing if isinstance(publishing, bool) else None, retention_seconds=seconds)


def _merge(first: Flags, second: Flags) -> Flags:
    publishing, retention = first.publishing_enabled, first.retention_seconds
    return Flags(
        publishing_enabled=second.publishing_enabled if publishing is None else publishing,
        retention_seconds=second.retention_seconds if retention is None else retention,
    )


def read_if_there(client: ProxyClient, path: str) -> Answer | None:
    """The answer, or None if this path fails: the exporter can do without it."""
    try:
        answer = client.get(path, accept=FOUND_OR_NOT)
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
