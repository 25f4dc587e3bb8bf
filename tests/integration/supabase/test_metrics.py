"""The metrics of the history, as a scrape shows them."""

import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from exporter.history.state import REASONS, STATES
from exporter.metrics.exporter import HISTORY
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.supabase.api import SupabaseApi
from tests.stack.waiting import wait_until


def test_every_family_of_the_history_is_there_with_its_type_help_and_labels(
    supabase_api: SupabaseApi, tmp_path: Path
) -> None:
    begun = time.time()
    with SteeredServer(SteeredProxy(key=MANAGEMENT_KEY)) as server:
        settings = settings_for(
            tmp_path / "data",
            proxy_url=server.url,
            key=MANAGEMENT_KEY,
            supabase_url=supabase_api.url,
            supabase_secret_key=SecretStr(supabase_api.secret_key),
        )
        with running(settings) as exporter:
            text = wait_until(lambda: metrics_of(exporter), lambda text: 'history_state{state="ok"} 1.0' in text)

    shown = {family.name: family for family in text_string_to_metric_families(text)}
    samples: dict[tuple[str, ...], float] = {}
    for family in HISTORY:
        found = shown[family.name]
        assert (found.type, found.documentation) == (family.kind, family.help)
        assert {frozenset(each.labels) for each in found.samples} == {frozenset(family.labels)}
        samples |= {(each.name, *each.labels.values()): each.value for each in found.samples}
    name = "cliproxy_exporter_history_"
    assert time.time() >= samples.pop((f"{name}last_success_timestamp_seconds",)) >= begun
    expected: dict[tuple[str, ...], float] = {(f"{name}backlog_records",): 0, (f"{name}refused_records",): 0}
    expected |= {(f"{name}state", state): state == "ok" for state in STATES}
    expected |= {(f"{name}errors_total", reason): 0 for reason in REASONS}
    assert samples == expected
