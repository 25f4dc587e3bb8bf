"""A user sets another hash key, or loses the old one, while the ledger stays."""

import time
from pathlib import Path

from pydantic import SecretStr

from exporter.settings.proxies import Aliases, ClientAlias
from exporter.simulator.world import CLIENTS, MANAGEMENT_KEY
from tests.benches.polling import one_record_each
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import metric_in
from tests.stack.waiting import wait_until

_ALIASES = Aliases(clients=(ClientAlias(key=SecretStr(CLIENTS[0].key), alias="laptop"),))
_LIMIT = "limits:\n  - {id: of-laptop, client: laptop, strategy: rolling, window_minutes: 1440, requests: 1000}\n"


def _publish(server: SteeredServer, *, seed: int) -> int:
    """Publish 60 records; returns how many requests the client with the alias has made. A warm-up is none."""
    traffic = Traffic(seed=seed, zone=server.proxy.zone, shape=server.proxy.shape)
    records = [each.record for each in one_record_each(traffic, 60, ending=time.time())]
    server.proxy.enqueue(records)
    return sum(record["api_key"] == CLIENTS[0].key and record["generate"] is not False for record in records)


def test_another_hash_key_renames_no_client_with_an_alias_and_its_figures_go_on(
    server: SteeredServer, tmp_path: Path
) -> None:
    limits = tmp_path / "limits.yaml"
    limits.write_text(_LIMIT)
    settings = settings_for(
        tmp_path / "data", proxy_url=server.url, key=MANAGEMENT_KEY, aliases=_ALIASES, exporter_limits_file=limits
    )
    with running(settings) as exporter:
        made = _publish(server, seed=5)
        exporter.trigger()
        wait_until(lambda: metric_in(metrics_of(exporter), "cliproxy_limit_used", limit="of-laptop") == made)
    assert 0 < made < 60

    with running(settings.model_copy(update={"exporter_hash_key": SecretStr("another-key-of-a-test")})) as exporter:
        assert metric_in(metrics_of(exporter), "cliproxy_requests_total", client="laptop") == made
        made += _publish(server, seed=6)
        exporter.trigger()
        wait_until(lambda: metric_in(metrics_of(exporter), "cliproxy_requests_total", client="laptop") == made)
        wait_until(lambda: metric_in(metrics_of(exporter), "cliproxy_limit_used", limit="of-laptop") == made)
