"""Which notices about limits are due: those of the alert rules, each once per window. Pure.

A notice is due when a window's level rises, and a *back* notice once the window has been below its warning threshold
for a while, or a new window has begun. "Runs out early" uses the numbers of ``prometheus/rules/alerts.yml``.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from exporter import formats
from exporter.ledger.store.limits import Told
from exporter.limits.windows import PROVIDER, SHARE, LimitWindow

_EARLY_PACE, _EARLY_ELAPSED, _EARLY_USED = 1.2, 0.1, 0.25
_EARLY_FOR_MS = 15 * 60_000
_BACK_FOR_MS = 3 * 60_000
_SAME_RESET_MS = 10 * 60_000
"""Providers report the reset of one window a little differently each time."""


class Kind(StrEnum):
    """The kind of a notice."""

    WARNING = "warning"
    CRITICAL = "critical"
    EARLY = "early"
    BACK = "back"


_LEVELS: dict[str, int] = {"": 0, Kind.WARNING: 1, Kind.CRITICAL: 2}


@dataclass(frozen=True, slots=True)
class Notice:
    """A message, and what to remember of the window once it has been sent."""

    kind: Kind
    title: str
    text: str
    window: tuple[str, ...]
    told: Told


class LimitWatch:
    """Compares windows with the notices that were sent: ``told``, by a window's labels, as the ledger keeps it."""

    def __init__(self, told: Mapping[tuple[str, ...], Told]) -> None:
        self.told = dict(told)
        self._since: dict[tuple[tuple[str, ...], Kind], int] = {}

    def due(self, windows: Iterable[LimitWindow], now_ms: int) -> list[Notice]:
        """The notices due for these windows. One that could not be sent is due again the next time.

        A window that is not among them is unknown, which is no news.
        """
        return [
            Notice(kind, title_of(kind, window), text_of(kind, window, now_ms), window.labels, told)
            for window in windows
            for kind, told in self._news(window, now_ms)
        ]

    def sent(self, notice: Notice) -> None:
        """Remember that the notice was sent."""
        self.told[notice.window] = notice.told

    def _news(self, window: LimitWindow, now_ms: int) -> Iterator[tuple[Kind, Told]]:
        told = self.told.get(window.labels, Told())
        level, known = window.level, told.level
        if told.reset_ms and window.reset_ms and window.reset_ms > told.reset_ms + _SAME_RESET_MS:
            told, known = told._replace(early=False), ""  # another window has begun
        if _LEVELS[level] > _LEVELS[known]:
            told = Told(level, told.early, window.reset_ms)
            yield Kind(level), told
        elif told.level and self._lasts(window, Kind.BACK, not level, _BACK_FOR_MS, now_ms):
            yield Kind.BACK, Told()
        early = not level and not told.early and _runs_out_early(window, now_ms)
        if self._lasts(window, Kind.EARLY, early, _EARLY_FOR_MS, now_ms):
            yield Kind.EARLY, Told(told.level, True, window.reset_ms)

    def _lasts(self, window: LimitWindow, kind: Kind, holds: bool, for_ms: int, now_ms: int) -> bool:
        key = (window.labels, kind)
        if not holds:
            self._since.pop(key, None)
            return False
        return now_ms - self._since.setdefault(key, now_ms) >= for_ms


def _runs_out_early(window: LimitWindow, now_ms: int) -> bool:
    elapsed, pace = window.elapsed_share(now_ms) or 0.0, window.pace(now_ms) or 0.0
    return pace > _EARLY_PACE and elapsed >= _EARLY_ELAPSED and _EARLY_USED <= window.used_ratio < 1


# --- sentences --------------------------------------------------------------------------------------------------------


def title_of(kind: Kind, window: LimitWindow) -> str:
    """The summary of the alert rule."""
    scope = f" for {window.scope}" if window.scope else ""
    if window.kind == PROVIDER:
        what = f"{window.credential or window.provider}: {window.limit} limit{scope}"
        if kind is Kind.BACK:
            return f"{what} is available again"
        return f"{what} runs out before it resets" if kind is Kind.EARLY else f"{what} {_used(window)} used"
    what = f"{window.limit}{f' of {window.credential}' if window.credential else ''}{scope}"
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
    else:
        said.append(f"No reset: use that is older than {window.window} no longer counts.")
    if window.inferred:
        said.append("The provider refuses requests without telling a share.")
    pace, exhausted_ms = window.pace(now_ms), window.exhausted_ms(now_ms)
    if pace is not None and kind is not Kind.BACK:
        used_up = ""
        if exhausted_ms is not None and window.used_ratio < 1:
            used_up = f": as it goes, used up in {formats.until((exhausted_ms - now_ms) / 1000)}"
        said.append(f"Pace {pace:.2f}{used_up}.")
    whose = {"Proxy": window.proxy, "Provider": window.provider, "Account": window.credential, "Only": window.scope}
    said += [f"{name} {value}." for name, value in whose.items() if value]
    return " ".join(said)


def _used(window: LimitWindow) -> str:
    return f"{window.used_ratio:.1%}".replace(".0%", "%")


def _amount(budget: float, unit: str) -> str:
    return f"{budget:,.2f}".removesuffix(".00") if unit == "usd" else formats.short(round(budget))


def _unit(window: LimitWindow) -> str:
    return "USD" if window.unit == "usd" else "share" if window.unit == SHARE else window.unit
