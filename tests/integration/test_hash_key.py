"""A user sets another hash key, or loses the old one, while the ledger stays."""

from pathlib import Path

from pydantic import SecretStr

from exporter.settings.proxies import Aliases, ClientAlias
from exporter.simulator.world import CLIENTS, MANAGEMENT_KEY
from tests.benches.polling import publish
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.steered.server import SteeredServer
from tests.stack.running import flow_in, metric_in
from tests.stack.waiting import wait_until

_ALIASES = Aliases(clients=(ClientAlias(key=SecretStr(CLIENTS[0].key), alias="laptop"),))
_LIMIT = "limits:\n  - {id: of-laptop, client: laptop, strategy: rolling, window_minutes: 1440, requests: 1000}\n"


def _made(server: SteeredServer) -> int:
    """The requests that the client with the alias has made."""
    return sum(n for (client, *_), n in server.proxy.truth.attempts.items() if client == CLIENTS[0].name)


def test_another_hash_key_renames_no_client_with_an_alias_and_its_figures_go_on(
    server: SteeredServer, tmp_path: Path
) -> None:
    data, limits = tmp_path / "data", tmp_path / "limits.yaml"
    limits.write_text(_LIMIT)
    settings = settings_for(
        data, proxy_url=server.url, key=MANAGEMENT_KEY, aliases=_ALIASES, exporter_limits_file=limits
    )
    with running(settings) as exporter:
        publish(server.proxy, 60)
        exporter.trigger()
        wait_until(lambda: metric_in(metrics_of(exporter), "cliproxy_limit_used", limit="of-laptop") == _made(server))
    assert 0 < _made(server) < 60

    with running(settings.model_copy(update={"exporter_hash_key": SecretStr("another-key-of-a-test")})) as exporter:
        assert metric_in(metrics_of(exporter), "cliproxy_requests_total", client="laptop") == _made(server)
        publish(server.proxy, 60, seed=6)
        exporter.trigger()
        wait_until(lambda: flow_in(data).booked == 120)
        assert metric_in(metrics_of(exporter), "cliproxy_requests_total", client="laptop") == _made(server)
        wait_until(lambda: metric_in(metrics_of(exporter), "cliproxy_limit_used", limit="of-laptop") == _made(server))
