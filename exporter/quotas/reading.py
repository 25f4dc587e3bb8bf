"""One reading of a provider's quota window, and which of several readings holds. Pure.

No provider documents its windows, so any value may be missing or odd: an unreadable window is left out, never guessed,
and never 0. A window that refuses a request without stating its share is full.

Readings come late, out of order and from several sources; a credential's window must not depend on that. So the moment
of observation decides, not the moment of arrival. A window is (credential, window, scope): the caller looks up its
known reading.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from exporter.quotas.values import (
    HIGHEST_RATIO,
    LATEST_RESET_MS,
    MAX_ENTRIES,
    UNTOLD,
    amount,
    camel_case,
    mapping,
    moment,
    quotient,
    text,
    window_name,
)

MAX_WINDOWS = 32
SAME_RESET_MS = 120_000
"""Resets stated in seconds from now move a little with each answer."""
ACCOUNT = "account"
"""The window of an account that is refused without saying which of its windows is full."""
OVERAGE = "overage"
"""The status of a full window beyond which requests still pass, and are paid as extra usage."""
_SAME_MOMENT_MS = 5_000
"""Sources that differ by less saw the same state. The header came with the answer itself, so it wins."""
_REAL_FALL = 0.01 + 1e-9
"""Some sources round to whole percents, so a fall of one point proves nothing."""


class Reading(msgspec.Struct, frozen=True):
    """One window of one credential as its provider reported it. Times are ms since the epoch.

    ``window`` is named after its duration (``5h``, ``7d``, ``month``), never after its position in the answer.
    ``scope`` is empty for the whole account, else a slug such as ``opus``. ``used_ratio`` may exceed 1. ``resets_ms``
    is the announced reset, None where the provider left it out: such a reading cannot expire, so it counts only
    together with an earlier one (``merge``). ``status``: ``allowed``, ``warning``, ``rejected``, ``OVERAGE``, or empty
    for "not said". ``inferred``: a value was derived, such as a reset stated in seconds from now; ``ratio_inferred``:
    the share was derived from a refusal. ``source``: ``header``, ``auth_files`` or ``active``. ``used_nano_usd`` and
    ``limit_nano_usd``: spent amount and maximum of a cap on money, for example on extra usage.
    """

    window: str
    scope: str
    window_seconds: int | None
    used_ratio: float
    resets_ms: int | None
    status: str
    observed_ms: int
    inferred: bool
    source: str
    ratio_inferred: bool = False
    used_nano_usd: int | None = None
    limit_nano_usd: int | None = None

    @property
    def ends_ms(self) -> int | None:
        """When the window ends; None if unknown.

        An unused window that would end its whole length after the answer has not started: its reset moves with the
        clock. Only a newer reading ends a window that was read after its announced reset.
        """
        if self.resets_ms is None or self.observed_ms >= self.resets_ms:
            return None
        whole_ms = (self.window_seconds or 0) * 1000
        if self.used_ratio == 0 and abs(self.resets_ms - self.observed_ms - whole_ms) <= SAME_RESET_MS:
            return None
        return self.resets_ms

    @property
    def starts_ms(self) -> int | None:
        """When the window began; None if unknown."""
        if self.ends_ms is None or self.window_seconds is None:
            return None
        return self.ends_ms - self.window_seconds * 1000


class Answer(msgspec.Struct, frozen=True):
    """What a provider has stated: a JSON object or headers, when, from which source, and the ``model`` that answered.

    ``model`` is empty if unknown. A method reads the value of a name in snake_case, or of the same name in camelCase.
    """

    stated: Mapping[str, Any]
    observed_ms: int
    source: str = "active"
    model: str = ""

    def get(self, name: str) -> Any:
        """The value itself; None without one."""
        value = self.stated.get(name)
        return self.stated.get(camel_case(name)) if value is None else value

    def text(self, name: str) -> str:
        return text(self.get(name))

    def amount(self, name: str) -> float | None:
        return amount(self.get(name))

    def share(self, name: str) -> float | None:
        """A share of 1 from a fraction, or from text such as ``95%``; it may exceed 1."""
        value = self.get(name)
        if isinstance(value, str) and value.strip().endswith("%"):
            return self.percent(name)
        fraction = amount(value)
        return fraction if fraction is not None and fraction <= HIGHEST_RATIO else None

    def percent(self, name: str) -> float | None:
        """A share of 1 from percents, or from text with or without a percent sign."""
        value = self.get(name)
        return quotient(amount(value.strip().removesuffix("%") if isinstance(value, str) else value), 100)

    def part(self, *path: str) -> "Answer":
        """The object below these names; an empty one in place of anything else."""
        found = self
        for name in path:
            found = found.of(found.get(name))
        return found

    def each(self, name: str) -> Iterator["Answer"]:
        """The objects in the list of this name."""
        found = self.get(name)
        for value in islice(found, MAX_ENTRIES) if isinstance(found, list) else ():
            if isinstance(value, Mapping):
                yield self.of(value)

    def entries(self) -> Iterator[tuple[str, "Answer"]]:
        """The objects in this one, by key."""
        for key, value in islice(self.stated.items(), MAX_ENTRIES):
            if isinstance(value, Mapping):
                yield key, self.of(value)

    def of(self, value: object) -> "Answer":
        """Another object of the same answer."""
        return Answer(mapping(value), self.observed_ms, self.source, self.model)

    def reading(
        self,
        seconds: int | None,
        scope: str,
        used_ratio: float | None,
        at: object = None,
        after: object = None,
        *,
        name: str = UNTOLD,
        status: str = "",
        inferred: bool = False,
        money: tuple[int | None, int | None] = (None, None),
    ) -> Reading:
        """The reading of a window that is ``seconds`` long; ``name`` is for a window without a length.

        ``at`` and ``after`` are the reset as the provider states it: as a moment, or in seconds after the answer.
        ``money`` is the spent amount and the cap, in nano-USD. No share means that the provider refused without
        stating one: the window is full. An answer to a question lists all windows, so an unused one without a reset has
        not started: its reset moves with the clock.
        """
        resets_ms = moment(at, self.observed_ms)
        if resets_ms is None:
            wait = amount(after)
            if wait is None or wait * 1000 > LATEST_RESET_MS:
                wait = seconds if used_ratio == 0 and self.source == "active" else None
            if wait is not None:
                resets_ms, inferred = self.observed_ms + round(wait * 1000), True
        used_nano_usd, limit_nano_usd = money
        return Reading(
            window=name if seconds is None else window_name(seconds),
            scope=scope,
            window_seconds=seconds,
            used_ratio=1.0 if used_ratio is None else used_ratio,
            resets_ms=resets_ms,
            status=status,
            observed_ms=self.observed_ms,
            inferred=inferred or used_ratio is None,
            source=self.source,
            ratio_inferred=used_ratio is None,
            used_nano_usd=used_nano_usd,
            limit_nano_usd=limit_nano_usd,
        )


def fullest(readings: Iterable[Reading]) -> list[Reading]:
    """One reading for each window and scope: of two the newer, of two from one moment the fuller.

    At most ``MAX_WINDOWS``, the whole account's first, so that a flood of scopes cannot push them out.
    """
    found: dict[tuple[str, str], Reading] = {}
    for reading in readings:
        before = found.setdefault((reading.window, reading.scope), reading)
        if (before.observed_ms, before.used_ratio) < (reading.observed_ms, reading.used_ratio):
            found[reading.window, reading.scope] = reading
    return sorted(found.values(), key=lambda reading: (reading.scope, reading.window_seconds or 0))[:MAX_WINDOWS]


# --- which of several holds -------------------------------------------------------------------------------------------


def merge(known: Reading | None, new: Reading) -> Reading | None:
    """Which of two readings of one window holds; None: there is still none.

    A reading without a reset takes over that of the known reading while the latter is current; otherwise it is
    dropped, because it could never expire. A cap on money stays: providers state no reset for it, and pages show its
    age.
    """
    if known is not None and not _supersedes(new, known):
        return known
    if new.resets_ms is None and new.limit_nano_usd is None:
        if known is None or known.resets_ms is None or not is_current(known, new.observed_ms):
            return known
        return msgspec.structs.replace(new, resets_ms=known.resets_ms, inferred=True)
    return new


def is_current(reading: Reading, now_ms: int) -> bool:
    """Whether the window still runs. Use in the next one is unknown until a reading states it."""
    return reading.ends_ms is None or reading.ends_ms > now_ms


def is_another_answer(known: Reading, new: Reading) -> bool:
    """Whether a newer reading comes from a later answer, rather than from the same one by another source."""
    return new.observed_ms - known.observed_ms > (0 if new.source == known.source else _SAME_MOMENT_MS)


def stays_low(before: float, reset_before_ms: int, low: Reading, new: Reading) -> bool:
    """Whether ``new`` confirms the fall from the share ``before`` to ``low``, ahead of the reset announced then.

    Some providers alternate between two states: the next reading takes such a fall back.
    """
    fell = before - new.used_ratio > _REAL_FALL
    return fell and (new.observed_ms < reset_before_ms or _same_reset(low, new))


def _supersedes(new: Reading, known: Reading) -> bool:
    apart = new.observed_ms - known.observed_ms
    if abs(apart) <= _SAME_MOMENT_MS and new.source != known.source and "header" in (new.source, known.source):
        return new.source == "header"
    if apart:
        return apart > 0
    # ``Date`` has whole seconds: of the answers within one second, the last is the fullest of the latest window.
    if new.resets_ms is not None and known.resets_ms is not None:
        later = new.resets_ms - known.resets_ms
        if abs(later) > SAME_RESET_MS:
            return later > 0
    return new.used_ratio >= known.used_ratio


def reset_early(known: Reading, new: Reading) -> bool:
    """Whether the provider seems to have given quota back before the announced reset. It did if ``stays_low``."""
    if known.resets_ms is None or new.resets_ms is None or known.used_ratio - new.used_ratio <= _REAL_FALL:
        return False
    same_period = _same_reset(known, new)
    # A new period that starts within the jitter of the old one's end is the ordinary reset.
    return new.observed_ms < known.resets_ms - (0 if same_period else SAME_RESET_MS)


def _same_reset(one: Reading, other: Reading) -> bool:
    if one.resets_ms is None or other.resets_ms is None:
        return False
    return abs(one.resets_ms - other.resets_ms) <= SAME_RESET_MS
