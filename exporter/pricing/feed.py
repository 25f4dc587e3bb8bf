"""Prices of models newer than this version, from llm-prices.com, once a day.

They only fill gaps (see ``Pricer.price_of``), so no reviewed price can change behind anybody's back. A failure is
harmless: earlier prices stay in use, even across a restart. A changed price holds from the moment when the feed first
showed it.
"""

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from typing import Protocol
from urllib.parse import urlsplit

import httpx
import structlog

from exporter.clock import Clock
from exporter.errors import LedgerError, PriceFeedError
from exporter.pricing.feed_format import Feed, FeedPrice, StoredFeed, read_feed
from exporter.pricing.lookup import PriceList, catalogue_ways
from exporter.pricing.price import Price
from exporter.sentences import joined, say

_DAY_SECONDS = 86_400.0
_RETRY_SECONDS = 3_600.0
_WAIT_SECONDS = 5.0
_WHOLE_SECONDS = 30.0
_LARGEST_BODY = 2 * 1024 * 1024
"""The real list is about 20 KB."""
_MOST_REDIRECTS = 3

_log = structlog.get_logger("exporter.pricing")


class FeedStore(Protocol):
    """Keeps prices across restarts."""

    def load(self) -> StoredFeed: ...

    def save(self, new: Iterable[FeedPrice], *, fetched_ms: int) -> None: ...


class PriceFeed:
    """The feed's ``prices``. Thread-safe; one thread calls ``refresh``.

    ``stored`` is what the ledger keeps. ``problem`` is a sentence for the operator if the last attempt failed,
    else empty.
    """

    def __init__(self, *, url: str, store: FeedStore, clock: Clock) -> None:
        """Load the stored prices. Raises LedgerError."""
        self._url = url
        self._store = store
        self._clock = clock
        self._stopped = threading.Event()
        self.problem = ""
        self._keep(store.load())

    def interval_seconds(self) -> float:
        """Time until the next attempt: a day, or an hour after a failure."""
        return _RETRY_SECONDS if self.problem else _DAY_SECONDS

    def refresh(self) -> None:
        """Fetch the list and adopt new prices. Never raises PriceFeedError or LedgerError: see ``problem``."""
        had_failed = bool(self.problem)
        try:
            feed = read_feed(self._fetch())
            new = self._changes(feed)
            self._store.save(new, fetched_ms=self._clock.now_ms())
            self._keep(self._store.load())
        except PriceFeedError as exc:
            kept = say("Prices that were fetched before stay in use.") if self.stored.prices else None
            self.problem = joined(str(exc), kept)
        except LedgerError as exc:
            self.problem = joined(say("The price feed was read, but its prices could not be kept:"), str(exc))
        else:
            if new:
                _log.info("prices_fetched", models=self._models, new=len(new))
            self.problem = ""
        if self.problem and not had_failed:
            _log.warning("price_feed_state", state="failed", message=self.problem)
        elif had_failed and not self.problem:
            message = f"The price feed has prices of {self._models} models."
            _log.info("price_feed_state", state="ok", message=message)

    def stop(self) -> None:
        """Give up a fetch in progress."""
        self._stopped.set()

    def _keep(self, stored: StoredFeed) -> None:
        rows: defaultdict[str, defaultdict[str, _FeedRow]] = defaultdict(lambda: defaultdict(_FeedRow))
        for price in stored.prices:
            rows[price.section][price.model].append(price)
        self.prices = PriceList(rows, ways=catalogue_ways)
        self.stored = stored
        self._models = sum(map(len, rows.values()))

    def _changes(self, feed: Feed) -> list[FeedPrice]:
        last = {(price.section, price.model): price.tariff for price in self.stored.prices}
        now_ms = self._clock.now_ms()
        return [
            FeedPrice(*key, since_ms=now_ms if key in last else 0, tariff=tariff)
            for key, tariff in feed.items()
            if last.get(key) != tariff
        ]

    # --- the fetch ---------------------------------------------------------------------------------------------------

    def _fetch(self) -> bytes:
        deadline = self._clock.monotonic() + _WHOLE_SECONDS
        try:
            with httpx.Client(timeout=_WAIT_SECONDS) as client:
                request = client.build_request("GET", self._url, headers={"Accept": "application/json"})
                for _ in range(_MOST_REDIRECTS + 1):
                    with closing(client.send(request, stream=True)) as response:
                        if response.next_request is None:
                            return self._body(response, deadline)
                        request = response.next_request
                        if request.url.scheme != "https":
                            raise PriceFeedError(
                                "The price feed {host} redirects to an address without https.", host=response.url.host
                            )
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            # These errors' texts may hold the URL, and the URL a password.
            raise PriceFeedError(
                "The price feed {host} gave no complete answer ({kind}).",
                host=_host(self._url),
                kind=type(exc).__name__,
            ) from exc
        raise PriceFeedError("The price feed {host} redirects too often.", host=_host(self._url))

    def _body(self, response: httpx.Response, deadline: float) -> bytes:
        if response.status_code != httpx.codes.OK:
            raise PriceFeedError(
                "The price feed {host} answered with status {status}.",
                host=response.url.host,
                status=response.status_code,
            )
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _LARGEST_BODY:
                raise PriceFeedError("The price feed answered with more than {most} bytes.", most=_LARGEST_BODY)
            if self._stopped.is_set():
                raise PriceFeedError("The price feed was not read to its end, because the exporter is stopping.")
            if self._clock.monotonic() > deadline:
                raise PriceFeedError(
                    "The price feed took more than {seconds:.0f} seconds to answer.", seconds=_WHOLE_SECONDS
                )
        return bytes(body)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "the configured address"


class _FeedRow(list[FeedPrice]):
    """One model of the feed: its prices, in the order in which they were first seen. See ``Row``."""

    def cell(self, at_ms: int) -> int:
        return max(0, bisect_right(self, at_ms, key=lambda price: price.since_ms) - 1)

    def at(self, at_ms: int) -> Price:
        price = self[self.cell(at_ms)]
        return Price(origin=f"llm-prices.com {price.section}/{price.model}", tariff=price.tariff)
