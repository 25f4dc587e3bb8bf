"""Notices about limits to phones and chats, each once per window. Apprise sends them.

A notice is due when a window's level rises, and a *back* notice once the window has been below its warning threshold
for a while, or a new window has begun. Numbers and times are those of ``prometheus/rules/alerts.yml``.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

import structlog

from exporter import formats
from exporter.errors import SettingsError
from exporter.ledger.store.limits import Told
from exporter.limits.board import LimitBoard
from exporter.limits.model import PROVIDER, LimitWindow, Unit

INTERVAL_SECONDS = 10.0
EARLY_PACE, EARLY_ELAPSED, EARLY_USED = 1.2, 0.1, 0.4
EARLY_FOR_MS = 5 * 60_000
BACK_FOR_MS = 3 * 60_000
_FIRST_PAUSE_MS, _LONGEST_PAUSE_MS = 30_000, 15 * 60_000
_SAME_RESET_MS = 10 * 60_000
"""Providers report the reset of one window a little differently each time."""

_log = structlog.get_logger("exporter.notices")


class Kind(StrEnum):
    WARNING = "warning"
    CRITICAL = "critical"
    EARLY = "early"
    BACK = "back"


_TYPES = {Kind.WARNING: "warning", Kind.EARLY: "warning", Kind.CRITICAL: "failure", Kind.BACK: "success"}
_LEVELS: dict[str, int] = {"": 0, Kind.WARNING: 1, Kind.CRITICAL: 2}


class LimitWatch:
    """Compares windows with the notices that were sent: ``told``, by a window's labels. Whoever sends adds to it."""

    def __init__(self, told: Mapping[tuple[str, ...], Told]) -> None:
        self._told = told
        self._since: dict[tuple[tuple[str, ...], Kind], int] = {}

    def due(self, window: LimitWindow, now_ms: int) -> Iterator[tuple[Kind, Told]]:
        """The notices due for a window, each with what to remember once it has been sent.

        One that could not be sent is due again the next time.
        """
        told = self._told.get(window.labels, Told())
        level, known = window.level, told.level
        if told.reset_ms and window.reset_ms and window.reset_ms > told.reset_ms + _SAME_RESET_MS:
            told, known = told._replace(early=False), ""  # another window has begun
        # Some providers alternate between two windows: the earlier one is no news after the later one.
        reset_ms = max(told.reset_ms or 0, window.reset_ms or 0) or None
        is_back = self._lasts(window, Kind.BACK, bool(told.level) and not level, BACK_FOR_MS, now_ms)
        if _LEVELS[level] > _LEVELS[known]:
            told = Told(level, told.early, reset_ms)
            yield Kind(level), told
        elif is_back:
            yield Kind.BACK, Told()
        early = not level and not told.early and _runs_out_early(window, now_ms)
        if self._lasts(window, Kind.EARLY, early, EARLY_FOR_MS, now_ms):
            yield Kind.EARLY, Told(early=True, reset_ms=reset_ms)

    def _lasts(self, window: LimitWindow, kind: Kind, holds: bool, for_ms: int, now_ms: int) -> bool:
        key = (window.labels, kind)
        if not holds:
            self._since.pop(key, None)
            return False
        self._since[key] = min(self._since.get(key, now_ms), now_ms)  # somebody may set the clock back
        return now_ms - self._since[key] >= for_ms


def _runs_out_early(window: LimitWindow, now_ms: int) -> bool:
    elapsed, pace = window.elapsed_share(now_ms) or 0.0, window.pace(now_ms) or 0.0
    return pace > EARLY_PACE and elapsed >= EARLY_ELAPSED and EARLY_USED <= window.used_ratio < 1


# --- sentences --------------------------------------------------------------------------------------------------------


def title_of(kind: Kind, window: LimitWindow) -> str:
    """The summary of the alert rule, with the limit's name in place of its id."""
    scope = f" for {window.scope}" if window.scope else ""
    if window.kind == PROVIDER:
        what = f"{window.credential or window.provider}: {window.limit} limit{scope}"
        if kind is Kind.BACK:
            return f"{what} is available again"
        return f"{what} runs out before it resets" if kind is Kind.EARLY else f"{what} {_used(window)} used"
    what = f"{window.name or window.limit}{f' of {window.credential}' if window.credential else ''}{scope}"
    if kind is Kind.BACK:
        return f"{what}: {_unit(window)} are available again"
    if kind is Kind.EARLY:
        return f"{what}: {_unit(window)} run out before it resets"
    return f"{what}: {_used(window)} of its {_unit(window)} used"


def text_of(kind: Kind, window: LimitWindow, now_ms: int) -> str:
    """The description of the alert rule."""
    budget = f" of {_amount(window.budget, window.unit)} {_unit(window)}" if window.budget else ""
    threshold = ""
    if kind in (Kind.WARNING, Kind.CRITICAL):
        threshold = f" ({kind} from {getattr(window.thresholds, kind):.0%} on)"
    said = [f"{_used(window)} used{budget}{threshold}."]
    if window.reset_ms is not None:
        said.append(f"Resets in {formats.until((window.reset_ms - now_ms) / 1000)}.")
    elif window.kind == PROVIDER:
        said.append("It is not known when it resets.")
    elif window.start_ms is not None:  # else a session that has ended
        said.append(f"No reset: use that is older than {window.window} no longer counts.")
    if window.inferred:
        said.append("The provider refuses requests and does not say what share is used.")
    pace, exhausted_ms = window.pace(now_ms), window.exhausted_ms(now_ms)
    if pace is not None and kind is not Kind.BACK:
        used_up = ""
        if exhausted_ms is not None:
            used_up = f": at this rate, used up in {formats.until((exhausted_ms - now_ms) / 1000)}"
        said.append(f"Pace {pace:.2f}{used_up}.")
    whose = {"Proxy": window.proxy, "Provider": window.provider, "Account": window.credential, "Only": window.scope}
    said += [f"{name} {value}." for name, value in whose.items() if value]
    return " ".join(said)


def _used(window: LimitWindow) -> str:
    return f"{window.used_ratio:.1%}".replace(".0%", "%")


def _amount(budget: float, unit: str) -> str:
    return f"{budget:,.2f}".removesuffix(".00") if unit == Unit.USD else formats.short(round(budget))


def _unit(window: LimitWindow) -> str:
    return "USD" if window.unit == Unit.USD else window.unit


# --- sending ----------------------------------------------------------------------------------------------------------


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
            for library in ("apprise", "urllib3"):  # they log the URLs that they call, which hold tokens
                logging.getLogger(library).setLevel(logging.CRITICAL + 1)
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
        failed = []
        for name, service in self._services.items():
            try:
                took = service.notify(body=text, title=title, notify_type=kind)
            except Exception:  # noqa: BLE001 - one of a hundred plugins must not stop the others
                took = False
            if not took:
                failed.append(name)
        return failed


class Notifier:
    """Sends the notices that are due, and none any more once it is ``stopping``. ``work`` is for one thread."""

    def __init__(self, board: LimitBoard, services: Services, *, stopping: Callable[[], bool]) -> None:
        """Raises LedgerError."""
        self._board, self._services, self._stopping = board, services, stopping
        self._told = board.ledger.limits.notices()
        self._watch = LimitWatch(self._told)
        self._pause_ms = self._next_ms = 0

    def work(self) -> None:
        """Send and remember the notices that are due. One that no service took is due again, after growing pauses."""
        board, now_ms = self._board.current, self._board.clock.now_ms()
        if now_ms < self._next_ms <= now_ms + _LONGEST_PAUSE_MS:
            return
        news = [(window, kind, told) for window in board.windows for kind, told in self._watch.due(window, now_ms)]
        for window, kind, told in news:
            if self._stopping():
                return
            title = title_of(kind, window)
            failed = self._services.send(_TYPES[kind], title, text_of(kind, window, now_ms))
            if failed:
                _log.error("notice_not_taken", services=", ".join(failed), notice=title)
            if failed == self._services.names:
                self._pause_ms = min(max(_FIRST_PAUSE_MS, 2 * self._pause_ms), _LONGEST_PAUSE_MS)
                self._next_ms = now_ms + self._pause_ms
                return
            self._pause_ms = self._next_ms = 0
            self._told[window.labels] = told
            # Saved after sending: after a crash, people may get a notice twice, but never miss it.
            self._board.ledger.limits.save_notice(window.labels, told)
            _log.info("notice_sent", notice=title)
