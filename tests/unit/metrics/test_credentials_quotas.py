"""What providers were asked about accounts, in a scrape over a real ledger."""

import pytest

from exporter.metrics.credentials import quota_families
from exporter.quotas.pacing import LastAsked
from exporter.sources.proxy_status import ProxyStatus
from tests.unit.metrics.conftest import Bench, account


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_logins_with_the_same_labels_the_working_one_counts(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int]
) -> None:
    logins = [account("a.json", status="disabled", disabled=True), account("b.json", status="active")]
    taken = bench.ledger.take_inventory("p", logins)
    bench.statuses = [ProxyStatus(name="p", accounts=tuple(taken[place] for place in order))]
    monkeypatch.setattr(bench.shown_names, "credential", lambda _: "one")
    now_ms = bench.clock.now_ms()
    bench.ledger.quota_asks.outlook = {taken[1][0]: LastAsked(next_ms=now_ms + 60_000, result="ok")}
    families = quota_families(bench.ledger, bench.shown_names, lambda: bench.statuses, bench.clock)

    labels = {"proxy": "p", "credential": "one", "provider": "claude"}
    assert [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples] == [
        ("cliproxy_quota_next_fetch_timestamp_seconds", labels, now_ms / 1000 + 60),
        ("cliproxy_quota_last_result_info", {**labels, "result": "ok"}, 1.0),
    ]
