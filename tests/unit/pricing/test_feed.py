"""The daily list, fetched from a real HTTP server and kept in a real ledger."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.store.price_feed import read_price_feed
from exporter.pricing.feed import PriceFeed
from exporter.pricing.feed_format import FeedPrice
from exporter.pricing.lookup import PriceList
from exporter.pricing.price import Price, Tariff, Tier
from exporter.pricing.pricer import Pricer
from tests.benches.books import TurnedClock

DAY_MS = 86_400_000


class Site:
    """A web server that answers every request as the test has set."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.body = b""
        self.asked: list[str] = []
        self.in_the_middle: Callable[[], None] = lambda: None
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                self.send_response(site.status)
                for name, value in {"Content-Length": str(len(site.body)), **site.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                middle = len(site.body) // 2
                self.wfile.write(site.body[:middle])
                self.wfile.flush()
                site.in_the_middle()
                with suppress(ConnectionError):  # the client may have given up
                    self.wfile.write(site.body[middle:])

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/prices.json"

    def lists(self, **prices: float) -> None:
        """Set the list to these models of OpenAI, each with its input price."""
        rows = [
            {"id": name.replace("_", "-"), "vendor": "openai", "name": name, "input": price, "output": 2 * price}
            for name, price in prices.items()
        ]
        self.status, self.headers = 200, {}
        self.body = json.dumps({"prices": rows}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: TurnedClock) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / FILE_NAME, clock=clock, zone=UTC)
    yield ledger
    ledger.close()


@pytest.fixture
def open_feed(site: Site, ledger: Ledger, clock: TurnedClock) -> Callable[[], PriceFeed]:
    """A feed right after a start."""

    def open_it(url: str = "") -> PriceFeed:
        return PriceFeed(url=url or site.url, store=ledger.price_feed, clock=clock)

    return open_it


@pytest.fixture
def feed(open_feed: Callable[[], PriceFeed]) -> PriceFeed:
    return open_feed()


def found(feed: PriceFeed, clock: TurnedClock, model: str, *, days: int = 0) -> Price | None:
    return feed.prices.find("codex", model, at_ms=int(clock.now() * 1000) + days * DAY_MS)


def input_of(feed: PriceFeed, clock: TurnedClock, model: str, *, days: int = 0) -> int | None:
    price = found(feed, clock, model, days=days)
    return None if price is None else price.tariff.input


def test_a_new_model_gets_its_price_at_the_first_fetch(site: Site, feed: PriceFeed, clock: TurnedClock) -> None:
    site.lists(gpt_99=1.25)
    assert found(feed, clock, "gpt-99") is None
    assert (feed.stored.fetched_ms, feed.problem) == (None, "")
    feed.refresh()
    price = found(feed, clock, "gpt-99-2026-11-20(high)")
    assert price is not None
    assert (price.origin, price.matched_by) == ("llm-prices.com openai/gpt-99", "suffix")
    assert (price.tariff.input, price.tariff.output) == (1_250_000, 2_500_000)
    assert (feed.stored.fetched_ms, feed.problem) == (clock.now_ms(), "")
    assert site.asked == ["/prices.json"]


def test_models_of_the_catalogue_never_get_their_price_from_the_feed(
    site: Site, feed: PriceFeed, catalogue: PriceList, clock: TurnedClock
) -> None:
    site.lists(gpt_99=1.25, gpt_5=99, o3=99)
    feed.refresh()
    pricer, now_ms = Pricer(catalogue, feed=feed), clock.now_ms()
    assert pricer.price_of("codex", "gpt-99", at_ms=now_ms).origin == "llm-prices.com openai/gpt-99"
    assert "llm-prices.com" not in pricer.price_of("codex", "gpt-5", at_ms=now_ms).origin
    assert "llm-prices.com" not in pricer.price_of("codex", "gpt-5-2025-08-07", at_ms=now_ms).origin
    for days in (0, 1_000, 3_000):  # not even for a time at which it has no price there
        assert "llm-prices.com" not in pricer.price_of("codex", "o3", at_ms=now_ms - days * DAY_MS).origin


@pytest.mark.parametrize("model", ["gpt-9", "gpt-99-mini", "gpt-990", "gpt"])
def test_look_alikes_get_no_price(site: Site, feed: PriceFeed, clock: TurnedClock, model: str) -> None:
    site.lists(gpt_99=1.25)
    feed.refresh()
    assert found(feed, clock, model) is None


def test_prices_survive_a_restart_without_network(
    site: Site, feed: PriceFeed, open_feed: Callable[[], PriceFeed], clock: TurnedClock
) -> None:
    site.lists(gpt_99=1.25)
    feed.refresh()
    fetched_ms = feed.stored.fetched_ms
    site.status = 503
    again = open_feed()
    assert input_of(again, clock, "gpt-99") == 1_250_000
    again.refresh()
    assert input_of(again, clock, "gpt-99") == 1_250_000
    assert again.problem.endswith("answered with status 503. Prices that were fetched before stay in use.")
    assert again.stored.fetched_ms == fetched_ms


def test_a_changed_price_applies_from_when_the_change_was_seen(
    site: Site, feed: PriceFeed, open_feed: Callable[[], PriceFeed], clock: TurnedClock
) -> None:
    site.lists(gpt_99=1, gpt_98=5)
    feed.refresh()
    clock.at += DAY_MS / 1000
    site.lists(gpt_99=3, gpt_98=5)
    feed.refresh()
    changed_ms = int(clock.now() * 1000)
    for each in (feed, open_feed()):
        before, since = (each.prices.find("codex", "gpt-99", at_ms=at_ms) for at_ms in (changed_ms - 1, changed_ms))
        assert before is not None
        assert since is not None
        assert (before.tariff.input, since.tariff.input) == (1_000_000, 3_000_000)
        assert input_of(each, clock, "gpt-99", days=-1_000) == 1_000_000
        assert input_of(each, clock, "gpt-98") == 5_000_000


def test_a_model_that_is_no_longer_listed_keeps_its_price(site: Site, feed: PriceFeed, clock: TurnedClock) -> None:
    site.lists(gpt_99=1, gpt_98=5)
    feed.refresh()
    site.lists(gpt_98=5)
    feed.refresh()
    assert input_of(feed, clock, "gpt-99") == 1_000_000


def test_an_unchanged_list_is_kept_once(site: Site, feed: PriceFeed, ledger: Ledger, clock: TurnedClock) -> None:
    site.lists(gpt_99=1)
    with capture_logs() as events:
        for _ in range(3):
            feed.refresh()
            clock.at += DAY_MS / 1000
    assert len(ledger.price_feed.load().prices) == 1
    assert [event["event"] for event in events] == ["prices_fetched"]


def test_a_ledger_that_fails_is_a_problem_of_the_feed(site: Site, feed: PriceFeed, ledger: Ledger) -> None:
    site.lists(gpt_99=1)
    ledger.close()
    feed.refresh()
    assert feed.problem.startswith("The price feed was read, but its prices could not be kept: ")
    assert feed.interval_seconds() == 3_600


def _answers(**what: Any) -> Callable[[Site], None]:
    def prepare(site: Site) -> None:
        vars(site).update(what)

    return prepare


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        pytest.param(_answers(status=500), "answered with status 500", id="a server error"),
        pytest.param(_answers(status=404), "answered with status 404", id="gone"),
        pytest.param(_answers(status=204, body=b""), "answered with status 204", id="no content"),
        pytest.param(_answers(body=b"<html>Log in to the hotel's network</html>"), "not a price list", id="a page"),
        pytest.param(_answers(body=b'{"prices": [{"id": "gpt-'), "not a price list", id="cut off"),
        pytest.param(_answers(headers={"Content-Length": "999999"}), "no complete answer", id="broken off"),
        pytest.param(_answers(body=b" " * 2_097_153), "more than 2097152 bytes", id="too large"),
        pytest.param(
            _answers(body=b"x" * 99, headers={"Content-Encoding": "gzip"}),
            "no complete answer",
            id="compressed and damaged",
        ),
        pytest.param(
            _answers(body=b'{"prices": [{"id": "gpt-99", "vendor": "openai", "input": -1, "output": 1}]}'),
            "an impossible price for gpt-99",
            id="a price below zero",
        ),
        pytest.param(
            _answers(status=302, headers={"Location": "http://127.0.0.1:1/x"}), "without https", id="redirected to http"
        ),
        pytest.param(
            _answers(status=302, headers={"Location": "/other"}), "without https", id="redirected to its own plain http"
        ),
        pytest.param(
            _answers(status=302, headers={"Location": "file:///etc/passwd"}), "without https", id="redirected to a file"
        ),
        pytest.param(
            _answers(status=302, headers={"Location": "https://127.0.0.1:1/x"}),
            "127.0.0.1 gave no complete answer (ConnectError)",
            id="redirected to https, which is followed",
        ),
        pytest.param(_answers(status=304), "answered with status 304", id="a redirect to nowhere"),
    ],
)
def test_a_failure_is_harmless_and_visible(
    site: Site, feed: PriceFeed, clock: TurnedClock, break_it: Callable[[Site], None], says: str
) -> None:
    site.lists(gpt_99=1)
    feed.refresh()
    break_it(site)
    with capture_logs() as events:
        feed.refresh()
        feed.refresh()
    assert says in feed.problem
    assert input_of(feed, clock, "gpt-99") == 1_000_000
    assert [(event["event"], event["log_level"]) for event in events] == [("price_feed_state", "warning")]

    site.lists(gpt_99=2)
    with capture_logs() as events:
        feed.refresh()
    assert input_of(feed, clock, "gpt-99") == 2_000_000
    assert [event["event"] for event in events] == ["prices_fetched", "price_feed_state"]


def test_a_missing_server_is_a_failure_that_does_not_name_the_whole_address(
    open_feed: Callable[[str], PriceFeed],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    feed = open_feed(f"http://127.0.0.1:{port}/with-a-token-in-it")
    feed.refresh()
    assert feed.problem == "The price feed 127.0.0.1 gave no complete answer (ConnectError).", "and nothing is kept"


def test_a_failed_fetch_is_repeated_sooner(site: Site, feed: PriceFeed) -> None:
    site.lists(gpt_99=1)
    feed.refresh()
    daily = feed.interval_seconds()
    site.status = 500
    feed.refresh()
    assert (daily, feed.interval_seconds()) == (86_400, 3_600)


def test_the_feed_gives_up_on_a_server_that_trickles(site: Site, feed: PriceFeed, clock: TurnedClock) -> None:
    def half_a_minute() -> None:
        clock.at += 31

    site.lists(gpt_99=1)
    site.in_the_middle = half_a_minute
    feed.refresh()
    assert "took more than 30 seconds" in feed.problem


def test_a_stop_ends_a_fetch_in_progress(site: Site, feed: PriceFeed) -> None:
    site.lists(gpt_99=1)
    feed.stop()
    feed.refresh()
    assert "exporter is stopping" in feed.problem


def test_a_price_survives_being_stored(ledger: Ledger) -> None:
    long = Tier(above_tokens=200_000, input=4, output=12, cache_read=None, cache_write=None)
    tariff = Tariff(input=2, output=6, cache_read=1, cache_write=None, tiers=(long,))
    price = FeedPrice(section="openai", model="gpt-99", since_ms=0, tariff=tariff)
    ledger.price_feed.save([price], fetched_ms=1)
    assert ledger.price_feed.load().prices == (price,)


def test_another_process_can_read_the_stored_list(
    site: Site, feed: PriceFeed, ledger: Ledger, tmp_path: Path, clock: TurnedClock
) -> None:
    site.lists(gpt_99=1)
    feed.refresh()
    stored = read_price_feed(tmp_path / FILE_NAME)
    assert stored == ledger.price_feed.load()
    assert stored.fetched_ms == int(clock.now() * 1000)
    assert read_price_feed(tmp_path / "none").prices == ()
