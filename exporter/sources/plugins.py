"""Whether a plugin inside the proxy exports metrics under names of ours."""

import msgspec

from exporter.sources.client import ProxyClient
from exporter.sources.flags import decoded, read_if_there
from exporter.sources.paths import Paths

OTHER_EXPORTER = "cpa-prometheus"
"""The id of the plugin of giovannirco/cpa-prometheus-plugin, as its registry and its path of metrics have it."""


class _Plugin(msgspec.Struct):
    id: str = ""
    effective_enabled: bool = False


class _Plugins(msgspec.Struct):
    """The list of CPA 7.1.47 and newer (read in the source of v7): ``effective_enabled`` are those that run."""

    plugins: list[_Plugin] = []


def other_exporter(client: ProxyClient, paths: Paths) -> str:
    """What to do about the plugin if the proxy runs it, else nothing: one call, as silent as older versions.

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
