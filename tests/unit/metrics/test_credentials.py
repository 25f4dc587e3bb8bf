"""The state of accounts in a scrape over a real ledger."""

import re

import pytest

from exporter.sources.proxy_status import ProxyStatus
from tests.unit.metrics.conftest import Bench, account


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_disabled_login_says_nothing_about_an_account_that_has_another(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int]
) -> None:
    retry_ms = bench.clock.now_ms() + 3_600_000
    logins = [
        account("a.json", status="disabled", disabled=True),
        account("b.json", status="error", unavailable=True, retry_ms=retry_ms),
    ]
    taken = bench.ledger.take_inventory("p", logins)
    bench.statuses = [ProxyStatus(name="p", accounts=tuple(taken[place] for place in order))]
    monkeypatch.setattr(bench.shown_names, "credential", lambda _: "one")
    bench.limits.refresh()
    text = bench.scrape()

    assert re.findall(r'cliproxy_credential_status{.*status="(\w+)"} 1', text) == ["error"]
    assert re.findall(r'cliproxy_pool_accounts{.*state="(\w+)"} 1', text) == ["cooling"]
    assert len(re.findall(r"^cliproxy_credential_up{", text, re.M)) == 1
    assert len(re.findall(r"^cliproxy_credential_retry_timestamp_seconds{", text, re.M)) == 1
