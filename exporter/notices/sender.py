"""Sends notices to phones and chats through Apprise, which supports a hundred services."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import structlog

from exporter.clock import Clock
from exporter.errors import SettingsError
from exporter.ledger.store.limits import LimitStore
from exporter.limits.board import LimitBoard
from exporter.notices.watch import Kind, LimitWatch

INTERVAL_SECONDS = 10.0
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 30_000, 15 * 60_000
_TYPES = {Kind.WARNING: "warning", Kind.EARLY: "warning", Kind.CRITICAL: "failure", Kind.BACK: "success"}

_log = structlog.get_logger("exporter.notices")


class Services:
    """Where notices go."""

    def __init__(self, urls: Sequence[str]) -> None:
        """Raises SettingsError if Apprise is not installed, or does not know a URL."""
        self._services: dict[str, Any] = {}
        with warnings.catch_warnings():  # its plugins use deprecated features
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                import apprise  # noqa: PLC0415 - an optional part of the installation
            except ImportError:
                raise SettingsError(
                    "EXPORTER_NOTIFY_URLS needs Apprise, which is not installed:"
                    " pip install 'cliproxy-exporter[notify]'"
                ) from None
            # It logs the URLs that it calls, which hold tokens.
            logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
            for number, url in enumerate(urls, 1):
                service = apprise.Apprise.instantiate(url, suppress_exceptions=True)
                if service is None:
                    raise SettingsError(
                        f"EXPORTER_NOTIFY_URLS: Apprise does not know URL number {number}. docs/alerting.md has"
                        " examples."
                    )
                self._services[f"{number} ({service.service_name})"] = service  # its URL holds a token

    @property
    def names(self) -> list[str]:
        return list(self._services)

    def send(self, kind: str, title: str, text: str) -> list[str]:
        """Send a message of Apprise's type ``kind`` to all. Returns the names of services that failed."""
        return [name for name in self._services if not self._took(name, kind, title, text)]

    def _took(self, name: str, kind: str, title: str, text: str) -> bool:
        try:
            return bool(self._services[name].notify(body=text, title=title, notify_type=kind))
        except Exception:  # noqa: BLE001 - one of a hundred plugins must not stop the others
            return False


class Notifier:
    """Sends the notices that are due. ``work`` is for one thread."""

    def __init__(self, *, board: LimitBoard, store: LimitStore, services: Services, clock: Clock) -> None:
        """Raises LedgerError."""
        self._board, self._store, self._services, self._clock = board, store, services, clock
        self._watch = LimitWatch(store.notices())
        self._pause_ms = self._next_ms = 0
        self._stopping = False

    def work(self) -> None:
        """Send and remember the notices that are due. One that no service took is due again, after growing pauses."""
        board, now_ms = self._board.current, self._clock.now_ms()
        if board.at_ms is None or now_ms < self._next_ms <= now_ms + _LONGEST_PAUSE_MS:
            return
        for notice in self._watch.due(board.windows, now_ms):
            if self._stopping:
                return
            failed = self._services.send(_TYPES[notice.kind], notice.title, notice.text)
            if failed:
                _log.error("notice_not_taken", services=", ".join(failed), notice=notice.title)
            if failed == self._services.names:
                self._pause_ms = min(max(_FIRST_PAUSE_MS, 2 * self._pause_ms), _LONGEST_PAUSE_MS)
                self._next_ms = now_ms + self._pause_ms
                return
            self._pause_ms = self._next_ms = 0
            self._watch.sent(notice)
            # Saved after sending: after a crash, people may get a notice twice, but never miss it.
            self._store.save_notice(notice.window, notice.told)
            _log.info("notice_sent", notice=notice.title)

    def stop(self) -> None:
        """Start no further message."""
        self._stopping = True
