"""A user sets another hash key, or loses the old one, while the ledger stays."""

import json
import time
from pathlib import Path

from pydantic import SecretStr

from exporter.settings.model import Settings
from exporter.settings.proxies import Aliases, ClientAlias
from exporter.simulator.world import CLIENTS, MANAGEMENT_KEY
from tests.benches.peers import keeper_file
from tests.benches.polling import one_record_each
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.steered.server import SteeredServer
from tests.fakes.steered.traffic import Traffic
from tests.stack.running import metric_in, run_command
from tests.stack.waiting import wait_until

_ALIASES = Aliases(clients=(ClientAlias(key=SecretStr(CLIENTS[0].key), alias="laptop"),))
_OTHER_KEY = "another-key-of-a-test"
_LIMIT = "limits:\n  - {id: of-laptop, client: laptop, strategy: rolling, window_minutes: 1440, requests: 1000}\n"


def _publish(server: SteeredServer, *, seed: int) -> int:
    """Publish 60 records; returns how many requests the client with the alias has made. A warm-up is none."""
    traffic = Traffic(seed=seed, zone=server.proxy.zone, shape=server.proxy.shape)
    records = [each.record for each in one_record_each(traffic, 60, ending=time.time())]
    server.proxy.enqueue(records)
    return sum(record["api_key"] == CLIENTS[0].key and record["generate"] is not False for record in records)


def _after_a_run(server: SteeredServer, tmp_path: Path) -> tuple[Settings, int]:
    """The settings of an exporter that has run, and how many requests it has booked of the client with the alias."""
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
    return settings, made


def test_another_hash_key_renames_no_client_with_an_alias_and_its_figures_go_on(
    server: SteeredServer, tmp_path: Path
) -> None:
    settings, made = _after_a_run(server, tmp_path)

    with running(settings.model_copy(update={"exporter_hash_key": SecretStr(_OTHER_KEY)})) as exporter:
        assert metric_in(metrics_of(exporter), "cliproxy_requests_total", client="laptop") == made
        made += _publish(server, seed=6)
        exporter.trigger()
        wait_until(lambda: metric_in(metrics_of(exporter), "cliproxy_requests_total", client="laptop") == made)
        wait_until(lambda: metric_in(metrics_of(exporter), "cliproxy_limit_used", limit="of-laptop") == made)


def test_an_import_before_the_first_start_under_another_hash_key_leaves_a_client_its_alias(
    server: SteeredServer, tmp_path: Path
) -> None:
    settings, made = _after_a_run(server, tmp_path)
    alias = {"alias": "laptop", "key": CLIENTS[0].key}
    (tmp_path / "config.yaml").write_text(json.dumps({"aliases": {"clients": [alias]}}), "utf-8")
    traffic = Traffic(seed=6, zone=server.proxy.zone, shape=server.proxy.shape)
    past = [each.record | {"api_key": CLIENTS[0].key} for each in traffic.batch(5, ending=time.time() - 86_400)]
    imported = run_command(
        *("import", "--from", "keeper", str(keeper_file(tmp_path / "app.db", past))),
        cwd=tmp_path,
        CLIPROXY_URL=server.url,
        CLIPROXY_MANAGEMENT_KEY=MANAGEMENT_KEY,
        EXPORTER_CONFIG="config.yaml",
        EXPORTER_DATA_DIR=str(tmp_path / "data"),
        EXPORTER_HASH_KEY=_OTHER_KEY,
        EXPORTER_PRICES_REFRESH="false",
    )
    assert "Added: 5." in imported.stdout, imported.stderr

    with running(settings.model_copy(update={"exporter_hash_key": SecretStr(_OTHER_KEY)})) as exporter:
        assert metric_in(metrics_of(exporter), "cliproxy_requests_total", client="laptop") == made
