"""The status page of the running program says in a sentence what is wrong, without calling anybody again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.app import Exporter
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import running, settings_for
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack import loopback
from tests.stack.waiting import wait_until


def _page(exporter: Exporter) -> str:
    answer = loopback.get(exporter.web.url)
    assert answer.status_code == 200
    return answer.text


def _set(**values: object) -> Callable[[SteeredProxy], None]:
    def change(proxy: SteeredProxy) -> None:
        for name, value in values.items():
            setattr(proxy, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "version", "key", "state", "advice"),
    [
        pytest.param(_set(), "v7.2.140", MANAGEMENT_KEY, "ok", "is read from its usage queue", id="fine"),
        pytest.param(_set(), "v7.2.140", "planted-wrong", "key refused", "a new key is tried", id="wrong key"),
        pytest.param(
            _set(publishing=False), "v7.2.140", MANAGEMENT_KEY, "publishing off", "usage-statistics-enabled", id="off"
        ),
        pytest.param(_set(management=False), "v7.2.140", MANAGEMENT_KEY, "management off", "secret-key", id="no API"),
        pytest.param(_set(), "v6.9.49", MANAGEMENT_KEY, "ok", "is read from its usage snapshot", id="snapshots"),
        pytest.param(_set(), "v6.10.5", MANAGEMENT_KEY, "resp only", "Upgrade it", id="too old"),
    ],
)
def test_the_page_shows_the_state_of_a_proxy_and_what_to_do(
    *, tmp_path: Path, change: Callable[[SteeredProxy], None], version: str, key: str, state: str, advice: str
) -> None:
    proxy = SteeredProxy(key=MANAGEMENT_KEY, version=version)
    change(proxy)
    with (
        SteeredServer(proxy) as server,
        running(settings_for(tmp_path, proxy_url=server.url, key=key), only_triggered=True) as exporter,
    ):
        wait_until(lambda: _page(exporter), lambda page: f">{state}</span>" in page and advice in page)
        asked = proxy.requests.total()
        for _ in range(3):
            assert key not in _page(exporter)
        assert proxy.requests.total() == asked, "a view asks no proxy"


def test_a_proxy_that_is_away_is_shown_as_unreachable(tmp_path: Path) -> None:
    with running(settings_for(tmp_path, proxy_url="http://127.0.0.1:9", key=MANAGEMENT_KEY)) as exporter:
        page = wait_until(lambda: _page(exporter), lambda page: ">unreachable</span>" in page)
        assert "http://127.0.0.1:9" in page
