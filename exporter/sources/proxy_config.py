"""What a proxy's configuration says about usage, and whether one of its plugins exports metrics, too."""

from typing import Any, NamedTuple

import msgspec

from exporter.errors import BadAnswerError, ProxyServerError, ProxyUnreachableError
from exporter.normalize.wire_record import decoded
from exporter.sources.paths import V0, Paths
from exporter.sources.proxy_client import FOUND_OR_NOT, ProxyClient

OTHER_EXPORTER = "cpa-prometheus"
"""The id of giovannirco/cpa-prometheus-plugin in its registry and in its metrics path."""

MAX_RETENTION_SECONDS = 3600
_DEFAULT_RETENTION_SECONDS = 60


class Flags(NamedTuple):
    """Two of the proxy's settings; None if it does not state them.

    ``publishing_enabled``: whether it records usage at all. ``retention_seconds``: how long a record waits for a
    reader.
    """

    publishing_enabled: bool | None = None
    retention_seconds: int | None = None

    @property
    def stated(self) -> dict[str, Any]:
        """The settings that the proxy states, by name."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class _UsageSection(msgspec.Struct):
    publishing: object = msgspec.field(name="usage-statistics-enabled", default=None)
    retention: object = msgspec.field(name="redis-usage-queue-retention-seconds", default=None)


class _Observability(msgspec.Struct):
    usage: _UsageSection = msgspec.field(default_factory=_UsageSection)


class _Config(_UsageSection):
    """The two settings in a proxy's configuration, at v0's place or v8's. Everything else, full of keys, is skipped."""

    observability: _Observability = msgspec.field(default_factory=_Observability)


class _Plugin(msgspec.Struct):
    id: str = ""
    effective_enabled: bool = False


class _Plugins(msgspec.Struct):
    """The list in CPA 7.1.47 and newer (from the source of v7): a plugin with ``effective_enabled`` runs."""

    plugins: list[_Plugin] = []


def other_exporter(client: ProxyClient, paths: Paths) -> str:
    """Advice if the proxy runs a plugin whose metrics share our names, else empty. Makes one call.

    Raises the errors of ``client`` that concern the whole proxy.
    """
    listed = decoded(_read_if_there(client, paths.plugins), _Plugins) or _Plugins()
    if not any(plugin.id == OTHER_EXPORTER and plugin.effective_enabled for plugin in listed.plugins):
        return ""
    return (
        f"{client.where} runs the plugin {OTHER_EXPORTER}, whose metrics begin with cliproxy_, too, and have no label"
        ' proxy. If one Prometheus scrapes both, give the plugin a job of its own, and ask for {proxy!=""} in your own'
        " queries: docs/other-metrics.md."
    )


def read_flags(client: ProxyClient, paths: Paths) -> Flags:
    """The proxy's settings now: one call, or up to three if the configuration is not in its usual place.

    Raises the errors of ``client`` that concern the whole proxy.
    """
    flags = _flags_at(client, paths.config)
    if paths.config != V0.config and None in flags:
        # v8 shows only what its file says, v0 what is in force.
        flags = _flags_at(client, V0.config)._replace(**flags.stated)
    if flags.publishing_enabled is None:
        flags = _flags_at(client, V0.publishing)._replace(**flags.stated)
    return flags


def _flags_at(client: ProxyClient, path: str) -> Flags:
    config = decoded(_read_if_there(client, path), _Config) or _Config()
    sections = (config, config.observability.usage)
    publishing = next((each.publishing for each in sections if isinstance(each.publishing, bool)), None)
    retention = next((each.retention for each in sections if type(each.retention) is int), None)
    if retention is not None:  # CPA itself reads the number like this
        retention = min(retention, MAX_RETENTION_SECONDS) if retention > 0 else _DEFAULT_RETENTION_SECONDS
    return Flags(publishing, retention)


def _read_if_there(client: ProxyClient, path: str) -> bytes | bytearray:
    """The body of the answer, empty if this path fails: the exporter can do without it."""
    try:
        answer = client.get(path, accept=FOUND_OR_NOT).whole()
    except (BadAnswerError, ProxyServerError, ProxyUnreachableError):
        return b""
    return answer.body if answer.status == 200 else b""
