"""The web application over a ledger, called without a socket."""

import threading
from collections.abc import Mapping
from datetime import UTC
from functools import cache
from pathlib import Path
from typing import Any, cast

from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from exporter.clock import Clock
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.limits.board import LimitBoard
from exporter.limits.limit_file import LimitSet
from exporter.metrics.exposition import Exposition
from exporter.pricing.pricer import open_prices
from exporter.settings.proxies import Aliases
from exporter.settings.watched import WatchedFile
from exporter.sources.proxy_status import ProxyStatus
from exporter.usage.question import Questions
from exporter.web.access import Access
from exporter.web.overview import Overview
from exporter.web.site import Site, make_app
from exporter.web.status_page import StatusPage
from tests.fakes.guarding import TurnableClock


class _CurrentSite(threading.local):
    """The site of the request in progress. Applications share it: making one takes longer than most requests."""

    def __init__(self, *, is_demo: bool, language: str) -> None:
        self.site: Site | None = None
        self.is_demo = is_demo
        self.language = language

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site, name)


class _Client(FlaskClient):
    def __init__(self, *args: Any, current: _CurrentSite, site: Site, **options: Any) -> None:
        super().__init__(*args, **options)
        self._current, self._site = current, site
        current.site = site  # for whoever calls the application without the client

    def open(self, *args: Any, **options: Any) -> Any:
        self._current.site = self._site
        return super().open(*args, **options)


@cache
def _application(*, is_demo: bool, language: str) -> tuple[Flask, _CurrentSite]:
    current = _CurrentSite(is_demo=is_demo, language=language)
    app = make_app(cast(Site, current))
    app.test_client_class = _Client
    return app, current


class WebBench:
    """Makes clients of applications with different rules over the same parts."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger = ledger
        self.statuses: list[ProxyStatus] = []
        self.triggered = threading.Event()
        self.reload_problems: list[str] = []
        self.limits_file: WatchedFile[LimitSet] | None = None
        self.unasked: dict[str, tuple[str, ...]] = {}
        self.limits = LimitBoard(ledger=ledger, shown_names=ShownNames(ledger.name_store, Aliases(), str), clock=clock)
        self._clock = clock

    @classmethod
    def at(cls, folder: Path) -> "WebBench":
        """A bench over an empty ledger in ``folder``."""
        clock = TurnableClock()
        return cls(Ledger(folder / "ledger.sqlite3", clock=clock, zone=UTC), clock)

    def client(
        self,
        *,
        token: str | None = None,
        allowed_hosts: tuple[str, ...] = (),
        users: Mapping[str, str] | None = None,
        is_demo: bool = False,
        language: str = "auto",
    ) -> FlaskClient:
        shown_names = ShownNames(self.ledger.name_store, Aliases(), str)
        prices = open_prices(file=None, feed_url=None, store=self.ledger.price_feed, clock=self._clock)
        self.limits = LimitBoard(
            ledger=self.ledger,
            shown_names=shown_names,
            clock=self._clock,
            file=self.limits_file,
            statuses=lambda: self.statuses,
        )
        exposition = Exposition(
            ledger=self.ledger,
            shown_names=shown_names,
            statuses=lambda: self.statuses,
            prices=prices,
            limits=self.limits,
            clock=self._clock,
            registry=CollectorRegistry(auto_describe=False),
        )
        page = StatusPage(
            overview=Overview(ledger=self.ledger, shown_names=shown_names, clock=self._clock, zone=UTC),
            statuses=lambda: self.statuses,
            prices=prices,
            limits=self.limits,
            unasked=lambda: self.unasked,
        )
        site = Site(
            scrape=exposition.scrape,
            page=page,
            questions=Questions(ledger=self.ledger, shown_names=shown_names, clock=self._clock, zone=UTC),
            trigger=self.triggered.set,
            reload=lambda: self.reload_problems,
            proxies=["home", "office"],
            access=Access(token=token, allowed_hosts=allowed_hosts, users=users or {}),
            is_demo=is_demo,
            language=language,
        )
        app, current = _application(is_demo=is_demo, language=language)
        return app.test_client(current=current, site=site)
