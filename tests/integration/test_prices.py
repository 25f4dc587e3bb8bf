"""Prices that change while the whole program runs: an edited file, a list on the web, one that never answers."""

import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.app import Exporter
from exporter.settings.model import Settings
from exporter.simulator.world import MANAGEMENT_KEY
from tests.benches.program import metrics_of, running, settings_for
from tests.fakes.steered.proxy import SteeredProxy
from tests.fakes.steered.server import SteeredServer
from tests.stack.waiting import wait_until

TOKENS = 1_000


@pytest.fixture
def proxy() -> SteeredProxy:
    return SteeredProxy(key=MANAGEMENT_KEY)


@pytest.fixture
def server(proxy: SteeredProxy) -> Iterator[SteeredServer]:
    with SteeredServer(proxy) as server:
        yield server


def used(model: str) -> dict[str, Any]:
    """One request with a thousand tokens of input, as it is in the queue."""
    return {
        "timestamp": (datetime.now(UTC) - timedelta(seconds=1)).isoformat(),
        "provider": "codex",
        "model": model,
        "alias": model,
        "api_key": "planted-client-key",
        "auth_type": "apikey",
        "auth_index": "0123456789abcdef",
        "tokens": {"input_tokens": TOKENS, "output_tokens": 0, "total_tokens": TOKENS},
    }


def costs(exporter: Exporter, model: str) -> list[tuple[str, Decimal]]:
    """The exported basis and cost of a model, in USD."""
    return [
        (sample.labels["basis"], Decimal(str(sample.value)))
        for family in text_string_to_metric_families(metrics_of(exporter))
        for sample in family.samples
        if sample.name == "cliproxy_cost_usd_total" and sample.labels["model"] == model
    ]


def usd(*prices: str) -> Decimal:
    """The sum of one request at each of these prices per million tokens."""
    return sum((Decimal(price) * TOKENS / 1_000_000 for price in prices), Decimal(0))


def settings(tmp_path: Path, server: SteeredServer, **more: Any) -> Settings:
    return settings_for(tmp_path / "data", proxy_url=server.url, key=MANAGEMENT_KEY, **more)


def test_an_edit_of_the_price_file_prices_later_requests_and_changes_no_booked_cost(
    tmp_path: Path, proxy: SteeredProxy, server: SteeredServer
) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text("prices:\n  - {model: house, input: 1, output: 1}\n")
    with running(settings(tmp_path, server, exporter_prices_file=path)) as exporter:
        user = exporter.parts.prices.user
        assert user is not None
        expected = Decimal(0)
        for price in ("1", "4"):
            path.write_text(f"prices:\n  - {{model: house, input: {price}, output: 1}}\n")
            wait_until(lambda: exporter.parts.prices.current("codex", "house", at_ms=0)["input"], Decimal(price).__eq__)
            proxy.enqueue([used("house")])
            exporter.trigger()
            expected += usd(price)
            assert wait_until(lambda: costs(exporter, "house"), [("exact", expected)].__eq__)

        path.write_text("prices:\n  - {model: house, input: dear}\n")
        wait_until(lambda: user.problem)
        proxy.enqueue([used("house")])
        exporter.trigger()
        wait_until(lambda: costs(exporter, "house"), [("exact", expected + usd("4"))].__eq__)


def test_a_new_model_gets_its_price_from_the_list_on_the_web_once_it_is_there(
    tmp_path: Path, proxy: SteeredProxy, server: SteeredServer
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            row = {"id": "gpt-99", "vendor": "openai", "name": "GPT-99", "input": 3, "output": 9}
            body = json.dumps({"prices": [row]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{site.server_port}/"
        on = settings(tmp_path, server, exporter_prices_refresh=True, exporter_prices_url=url)
        with running(on) as exporter:
            feed = exporter.parts.prices.feed
            assert feed is not None
            wait_until(lambda: feed.stored.fetched_ms is not None)
            assert "\ncliproxy_exporter_price_feed_last_success_timestamp_seconds 1" in metrics_of(exporter)
        site.shutdown()
        thread.join()

    with running(on) as exporter:  # a start without that server
        proxy.enqueue([used("gpt-99")])
        exporter.trigger()
        wait_until(lambda: costs(exporter, "gpt-99"), [("exact", usd("3"))].__eq__)


def test_a_list_that_never_answers_delays_neither_polls_nor_the_stop(
    tmp_path: Path, proxy: SteeredProxy, server: SteeredServer
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        on = settings(tmp_path, server, exporter_prices_refresh=True, exporter_prices_url=url)
        with running(on) as exporter:
            feed = exporter.parts.prices.feed
            assert feed is not None
            connection, _ = silent.accept()
            proxy.enqueue([used("gpt-99")])
            exporter.trigger()
            wait_until(lambda: costs(exporter, "gpt-99"), [("default", usd("0.15"))].__eq__)
            assert feed.stored.fetched_ms is None
        connection.close()
