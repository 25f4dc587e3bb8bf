"""Whether a new reading of a provider's window replaces the known one. Pure.

Readings come late, out of order and from several sources; a credential's window must not depend on that. So the
moment of observation decides, not the moment of arrival. A window is (credential, window, scope): the caller looks up
its known reading.
"""

import msgspec

from exporter.quotas.reading import SAME_RESET_MS, Reading

_SAME_MOMENT_MS = 5_000
"""Sources that differ by less saw the same state. The header came with the answer itself, so it wins."""
_REAL_FALL = 0.01 + 1e-9
"""Some sources round to whole percents, so a fall of one point proves nothing."""


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
    from_headers = (new.source == "header", known.source == "header")
    if abs(apart) <= _SAME_MOMENT_MS and from_headers[0] != from_headers[1]:
        return from_headers[0]
    if apart:
        return apart > 0
    # ``Date`` has whole seconds: among answers within one, the last is the fullest of the latest window.
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
