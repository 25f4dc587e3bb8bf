"""Accounts of several proxies take turns at their provider if their calls come from one address."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client import Counter
from structlog.testing import capture_logs

from exporter.ingest.quota_asker import QuotaAsker
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.metrics.credentials import QUOTA_FETCHES
from exporter.normalize.inventory import read_auth_files
from exporter.settings.proxies import Aliases
from exporter.sources.paths import V0
from exporter.sources.proxy_client import ProxyClient
from exporter.sources.proxy_status import ProxyStatus
from tests.benches.booking import PSEUDONYMS, open_ledger
from tests.fakes.guarding import KEY, TurnableClock, make_guard

URLS = {
    "home": "http://localhost:8317",
    "shed": "http://192.168.1.5:8317",
    "compose": "http://cli-proxy-api:8317",
    "hosted": "https://cpa.example.com",
}
_LOGIN = {"provider": "claude", "email": "a@planted.example"}
FILES: dict[str, Any] = {"files": [_LOGIN | {"name": "a.json", "auth_index": "a"}]}
TWO_LOGINS: list[dict[str, Any]] = [
    _LOGIN | {"name": "a.json", "auth_index": "a", "status": "error", "unavailable": True},
    _LOGIN | {"name": "b.json", "auth_index": "b", "status": "active"},
]
USAGE = json.dumps({"five_hour": {"utilization": 20, "resets_at": None}})


class _Bench:
    """Proxies with a Claude account each; ``calls`` are the providers' calls, with the page and the second."""

    def __init__(self, folder: Path) -> None:
        self.clock = TurnableClock()
        self.files = FILES
        self.calls: list[tuple[str, str, int]] = []
        self.logins: list[str] = []
        self.gets: list[tuple[str, str]] = []
        self.broken: set[str] = set()
        self.answers = 200
        self._began = self.clock.now()
        self.ledger: Ledger = open_ledger(folder, clock=self.clock)
        self.clients = {name: self._client(name, url) for name, url in URLS.items()}
        self.statuses = [self.status(name) for name in URLS]
        self.asker = QuotaAsker(
            statuses=lambda: self.statuses,
            clients=self.clients,
            ledger=self.ledger,
            shown_names=ShownNames(self.ledger.name_store, Aliases(), PSEUDONYMS.of),
            clock=self.clock,
            fetches=QUOTA_FETCHES.direct(Counter, None),
        )

    def _client(self, name: str, url: str) -> ProxyClient:
        def answer(request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                self.gets.append((name, request.url.path))
            if name in self.broken:
                return httpx.Response(500)
            if request.method == "GET":
                return httpx.Response(200, json=self.files if request.url.path.endswith("auth-files") else {})
            asked = json.loads(request.content)
            page = asked["url"].rpartition("/")[2]
            self.calls.append((name, page, round(self.clock.now() - self._began)))
            self.logins.append(asked["auth_index"])
            return httpx.Response(200, json={"status_code": self.answers, "header": {}, "body": USAGE})

        guard = make_guard(clock=self.clock, url=url)
        return ProxyClient(name=name, url=url, key=KEY, guard=guard, transport=httpx.MockTransport(answer))

    def signal(self, name: str) -> None:
        """The proxy lists what Claude has just reported about its account."""
        now_ms, prefix = self.clock.now_ms(), "Anthropic-Ratelimit-Unified-5h"
        use = {f"{prefix}-Utilization": "0.2", f"{prefix}-Reset": f"{now_ms // 1000 + 3600}"}
        quota = {"signals": use, "observed_at": datetime.fromtimestamp(self.clock.now(), UTC).isoformat()}
        body = msgspec.json.encode({"files": [FILES["files"][0] | {"quota": quota}]})
        self.ledger.take_inventory(name, read_auth_files(body, PSEUDONYMS.of, received_ms=now_ms).accounts)

    def status(self, name: str) -> ProxyStatus:
        accounts = read_auth_files(msgspec.json.encode(self.files), PSEUDONYMS.of, received_ms=0).accounts
        taken = self.ledger.take_inventory(name, accounts)
        return ProxyStatus(name=name, state="ok", source="queue-v0", accounts=tuple(taken))

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds // 5):
            self.asker.ask_next()
            self.clock.advance(5)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[_Bench]:
    bench = _Bench(tmp_path)
    yield bench
    bench.asker.stop()
    bench.asker.close()
    bench.ledger.close()


def test_proxies_in_one_network_take_turns(bench: _Bench) -> None:
    bench.pass_time(3600)

    local = [at for name, _, at in bench.calls if name != "hosted"]
    assert {name for name, _, _ in bench.calls} == set(URLS)
    assert min(later - at for at, later in pairwise(local)) >= 180
    # Nobody in this network makes the hosted one wait.
    assert [name for name, _, at in bench.calls if at < 10] == ["home", "hosted"]


@pytest.mark.parametrize(("renewed", "asks_again"), [("2026-11-24T11:10:00Z", True), ("2026-11-24T10:50:00Z", False)])
def test_an_account_that_was_refused_is_asked_again_after_a_new_login(
    renewed: str, asks_again: bool, bench: _Bench
) -> None:
    bench.clock.jump(datetime(2026, 11, 24, 11, tzinfo=UTC).timestamp() - bench.clock.now())
    bench.statuses, bench.answers = bench.statuses[:1], 401
    bench.pass_time(1200)
    bench.answers = 200
    bench.files = {"files": [FILES["files"][0] | {"last_refresh": renewed}]}
    bench.statuses = [bench.status("home")]
    bench.pass_time(600)

    assert len([page for _, page, _ in bench.calls if page == "usage"]) == (2 if asks_again else 1)


def test_a_proxy_that_is_no_longer_configured_stops_nobody(bench: _Bench) -> None:
    bench.pass_time(15)
    bench.clients.pop("home").close()
    bench.statuses = [status for status in bench.statuses if status.name != "home"]
    bench.calls.clear()
    bench.pass_time(600)
    assert {name for name, _, _ in bench.calls} == URLS.keys() - {"home"}


def test_without_leave_to_ask_only_the_accounts_without_a_reading_are_named(bench: _Bench) -> None:
    for name in list(bench.clients):
        bench.clients.pop(name).close()
    bench.signal("hosted")
    with capture_logs() as logged:
        bench.asker.ask_next()
    assert {name: len(accounts) for name, accounts in bench.asker.unknown.items()} == dict.fromkeys(URLS, 1) | {
        "hosted": 0
    }
    told = [line["proxy"] for line in logged if line["event"] == "quotas_passive"]
    assert sorted(told) == sorted(URLS.keys() - {"hosted"})


@pytest.mark.parametrize("odd", [{"account_type": "api_key"}, {"disabled": True}, {"auth_index": None}])
def test_only_logins_that_the_proxy_can_call_for_are_asked_about(bench: _Bench, odd: dict[str, Any]) -> None:
    bench.files = {"files": [FILES["files"][0] | odd]}
    bench.statuses = [bench.status("home")]
    bench.pass_time(600)
    assert bench.calls == []


def test_a_failing_proxy_is_looked_at_again_every_quarter_of_an_hour(bench: _Bench) -> None:
    bench.broken.add("home")
    bench.pass_time(2800)
    assert bench.gets.count(("home", V0.quota_providers)) == 4


def test_a_failing_proxy_does_not_make_the_others_wait(bench: _Bench) -> None:
    bench.broken.add("home")
    bench.pass_time(15)

    assert [name for name, _, _ in bench.calls] == ["shed", "hosted"]
    bench.broken.clear()
    bench.pass_time(580)
    assert ("home", "usage") not in {call[:2] for call in bench.calls}, "it has its interval all the same"


def test_a_fresh_reading_puts_the_question_off_unless_it_is_from_a_clock_that_was_ahead(bench: _Bench) -> None:
    bench.signal("hosted")
    bench.pass_time(590)
    assert ("hosted", "usage") not in {call[:2] for call in bench.calls}

    bench.clock.jump(8 * 3600)
    bench.signal("hosted")
    bench.clock.jump(-8 * 3600)
    bench.pass_time(10)
    assert ("hosted", "usage") in {call[:2] for call in bench.calls}


def test_a_proxy_in_a_bad_state_is_not_asked(bench: _Bench) -> None:
    states = {"home": "starting"}
    bench.statuses = [replace(status, state=states.get(status.name, "banned")) for status in bench.statuses]
    bench.pass_time(600)

    assert bench.calls == []


def test_no_account_is_asked_about_after_a_stop(bench: _Bench) -> None:
    bench.asker.stop()
    bench.pass_time(600)

    assert bench.calls == []


@pytest.mark.parametrize("order", [1, -1])
def test_an_account_is_asked_about_by_a_login_that_works(bench: _Bench, order: int) -> None:
    bench.files = {"files": TWO_LOGINS[::order]}
    bench.statuses = [bench.status("hosted")]
    assert len({id_ for id_, _ in bench.statuses[0].accounts}) == 1
    bench.pass_time(30)

    assert bench.logins == ["b"]
