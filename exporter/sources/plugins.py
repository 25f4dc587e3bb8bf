"""Finds a plugin in the proxy whose metrics share our names."""

import msgspec

from exporter.sources.client import ProxyClient
from exporter.sources.paths import Paths
from exporter.sources.recording_flags import decoded, read_if_there

OTHER_EXPORTER = "cpa-prometheus"
"""The id of giovannirco/cpa-prometheus-plugin in its registry and in its metrics path."""


class _Plugin(msgspec.Struct):
    id: str = ""
    effective_enabled: bool = False


class _Plugins(msgspec.Struct):
    """The list in CPA 7.1.47 and newer (from the source of v7): a plugin with ``effective_enabled`` runs."""

    plugins: list[_Plugin] = []


def other_exporter(client: ProxyClient, paths: Paths) -> str:
    """What to do about the plugin if the proxy runs it, else empty; makes one call.

    Raises the errors of ``client`` that concern the whole proxy.
    """
    listed = decoded(read_if_there(client, paths.plugins), _Plugins) or _Plugins()
    if not any(plugin.id == OTHER_EXPORTER and plugin.effective_enabled for plugin in listed.plugins):
        return ""
    return (
        f"{client.where} runs the plugin {OTHER_EXPORTER}, whose metrics begin with cliproxy_, too, and have no label"
        ' proxy. If one Prometheus scrapes both, give the plugin a job of its own, and ask for {proxy!=""} in your own'
        " queries: docs/other-metrics.md."
    )
