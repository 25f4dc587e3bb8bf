"""The whole program at a proxy where an account logs in again: another file, another handle, the same account."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from exporter.app import Exporter
from exporter.clock import Clock
from exporter.settings.proxies import Aliases, CredentialAlias
from exporter.simulator.wire import go_timestamp
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.running import flow_in, metric_in
from tests.stack.waiting import wait_until

_EMAIL = "dev@invented.example"
_LIMITS = "limits:\n  - {id: acct-day, provider: codex, %s, strategy: rolling, window_minutes: 1440, tokens: 10000}\n"
_RATIO = "cliproxy_limit_used_ratio"


class _LaterClock(Clock):
    """The machine's clock, which a test may set forward."""

    def __init__(self) -> None:
        self.later = 0.0

    def now(self) -> float:
        return super().now() + self.later

    def monotonic(self) -> float:
        return super().monotonic() + self.later


class _Logins(SteeredProxy):
    """A proxy that lists only these logins."""

    listed: Sequence[tuple[str, str]] = ()

    def auth_files(self) -> list[dict[str, Any]]:
        return [_auth_file(*login) for login in self.listed]

    def use(self, plan: str) -> None:
        """Send two requests of 3,500 tokens each."""
        self.enqueue(_record(plan) for _ in range(2))


def _auth_file(plan: str, account_id: str) -> dict[str, Any]:
    name = f"codex-1a2b-{_EMAIL}-{plan}.json"
    return {
        "account": _EMAIL,
        "account_type": "oauth",
        "auth_index": plan[0] * 16,
        "disabled": False,
        "email": _EMAIL,
        "failed": 0,
        "id": name,
        "id_token": {"plan_type": plan, "chatgpt_account_id": account_id},
        "name": name,
        "provider": "codex",
        "status": "active",
        "success": 0,
        "type": "codex",
        "unavailable": False,
    }


def _record(plan: str) -> dict[str, Any]:
    return {
        "timestamp": go_timestamp(time.time() - 3, UTC),
        "latency_ms": 1502,
        "source": _EMAIL,
        "auth_index": plan[0] * 16,
        "failed": False,
        "provider": "codex",
        "model": "gpt-5.5",
        "auth_type": "oauth",
        "api_key": "sk-invented-client-0001",
        "request_id": "00000002",
        "executor_type": "CodexExecutor",
        "tokens": {"input_tokens": 3000, "output_tokens": 500, "total_tokens": 3500},
    }


class _Site:
    """A proxy and an exporter with a daily budget of 10,000 tokens for the account."""

    def __init__(self, folder: Path, proxy: _Logins, url: str) -> None:
        self.proxy, self.clock = proxy, _LaterClock()
        self._folder, self._url = folder, url

    @contextmanager
    def exporter(self, *, alias: bool, source: str = "queue") -> Iterator[Exporter]:
        limits = self._folder / "limits.yaml"
        limits.write_text(_LIMITS % ("credential: dev-account" if alias else "per: credential"), encoding="utf-8")
        known = (CredentialAlias(email=SecretStr(_EMAIL), alias="dev-account"),) if alias else ()
        settings = settings_for(
            self._folder / "data",
            proxy_url=self._url,
            key=MANAGEMENT_KEY,
            exporter_limits_file=limits,
            aliases=Aliases(credentials=known),
            source=source,
        )
        with running(settings, clock=self.clock) as exporter:
            yield exporter

    @property
    def received(self) -> int:
        return flow_in(self._folder / "data").received

    def booked(self, exporter: Exporter, requests: int) -> str:
        """What a script reads once this many requests are in the ledger and in the limits."""

        def read() -> str:
            exporter.trigger()
            exporter.parts.limits.refresh()  # now instead of within five seconds
            return metrics_of(exporter)

        def holds(text: str) -> bool:
            tokens = metric_in(text, "cliproxy_limit_used", limit="acct-day")
            return metric_in(text, "cliproxy_requests_total") == requests and tokens == requests * 3500

        return wait_until(read, holds)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[_Site]:
    proxy = _Logins(key=MANAGEMENT_KEY)
    with SteeredServer(proxy) as server:
        yield _Site(tmp_path, proxy, server.url)


def _values(text: str, name: str) -> dict[str, float]:
    """Values by credential, without the series of API keys."""
    labels = {part.split('"')[1] for line in text.splitlines() if line.startswith(name) for part in _credentials(line)}
    found = {label: metric_in(text, name, credential=label, provider="codex") for label in labels}
    return {label: value for label, value in found.items() if value is not None}


def _credentials(line: str) -> list[str]:
    return [part for part in line.replace("{", ",").split(",") if part.startswith('credential="')]


@pytest.mark.parametrize("alias", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
def test_the_budget_of_an_account_continues_with_its_new_login(site: _Site, alias: bool, restarts: bool) -> None:
    site.proxy.listed = [("free", "acc-00000001")]
    site.proxy.use("free")
    with site.exporter(alias=alias) as exporter:
        before = site.booked(exporter, 2)
        if not restarts:
            site.clock.later += 75
            site.proxy.listed = [("pro", "acc-00000001")]
            site.proxy.use("pro")
            after = site.booked(exporter, 4)
    if restarts:
        site.proxy.listed = [("pro", "acc-00000001"), ("free", "acc-00000001")]
        site.proxy.use("pro")
        with site.exporter(alias=alias) as exporter:
            after = site.booked(exporter, 4)

    (label,) = _values(before, _RATIO)
    assert label == "dev-account" or not alias
    assert _values(before, _RATIO) == {label: 0.7}
    assert _values(after, _RATIO) == {label: 1.4}
    assert _values(after, "cliproxy_requests_total") == {label: 4}
    assert _values(after, "cliproxy_credential_up") == {label: 1}
    assert _values(after, "cliproxy_credential_info") == {label: 1}


def test_two_workspaces_of_one_address_have_separate_budgets(site: _Site) -> None:
    site.proxy.listed = [("free", "acc-00000001"), ("team", "acc-00000002")]
    site.proxy.use("free")
    site.proxy.use("team")
    with site.exporter(alias=False) as exporter:
        text = site.booked(exporter, 4)
    assert list(_values(text, _RATIO).values()) == [0.7, 0.7]
    assert list(_values(text, "cliproxy_credential_up").values()) == [1, 1]


@pytest.mark.parametrize("source", ["queue", "subscribe"])
def test_the_first_records_of_a_new_login_are_counted_under_the_account(site: _Site, source: str) -> None:
    """No inventory has named its handle yet, and the next regular one is 50 seconds away."""
    site.proxy.listed = [("free", "acc-00000001")]
    with site.exporter(alias=False, source=source) as exporter:
        site.proxy.use("free")
        before = site.booked(exporter, 2)
        site.clock.later += 10
        site.proxy.listed = [("pro", "acc-00000001")]
        site.proxy.use("pro")
        wait_until(lambda: source == "queue" or site.received == 4)
        between = metrics_of(exporter)
        after = site.booked(exporter, 4)
    (label,) = _values(before, "cliproxy_requests_total")
    assert _values(between, "cliproxy_requests_total").keys() == {label}
    assert _values(after, "cliproxy_requests_total") == {label: 4}
