"""One reading of a provider's quota window, and what the parsers of all providers share. Pure.

No provider documents its windows, so any value may be missing or odd: an unreadable window is left out, never guessed,
and never 0. A window that refuses a request without stating its share is full.
"""

import re
from collections.abc import Callable, Iterable, Mapping

import msgspec

MAX_WINDOWS = 32
MAX_SLUG = 32
HOUR, DAY = 3_600, 86_400
LONGEST_WINDOW = 366 * DAY
LATEST_RESET_MS = 62 * DAY * 1000
SAME_RESET_MS = 120_000
"""Resets stated in seconds from now move a little with each answer."""
ACCOUNT = "account"
"""The window of an account that is refused without saying which of its windows is full."""
UNTOLD = "unknown"
"""A window whose length the provider does not state."""

HIGHEST_RATIO = 1000.0

_NOT_SLUG = re.compile(r"[^a-z0-9.]+")
_ONE_SCOPE = {
    "oi": "fable",
    "overage-included": "fable",
    "iguana-necktie": "fable",
    "base-model-inference": "gpt-reserve",
}
"""Scopes with several names, code names among them."""


class Reading(msgspec.Struct, frozen=True):
    """One window of one credential as its provider reported it. Times are ms since the epoch.

    ``window`` is named after its duration (``5h``, ``7d``, ``month``), never after its position in the answer.
    ``scope`` is empty for the whole account, else a slug such as ``opus``. ``used_ratio`` may exceed 1. ``resets_ms``
    is the announced reset, None where the provider left it out: such a reading cannot expire, so it counts only
    together with an earlier one (``merge``). ``status``: ``allowed``, ``warning``, ``rejected``, or empty for "not
    said". ``inferred``: a value was derived, such as a reset stated in seconds from now; ``ratio_inferred``: the share
    was derived from a refusal. ``source``: ``header``, ``auth_files`` or ``active``. ``used_nano_usd`` and
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
        clock. Only a newer reading ends one that was made after its own reset.
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
    """Where a provider's report comes from: the ``model`` that answered (empty if unknown), when, and the source."""

    model: str
    observed_ms: int
    source: str

    def reading(
        self,
        seconds: int | None,
        scope: str,
        used_ratio: float | None,
        resets_ms: int | None,
        *,
        name: str = "",
        status: str = "",
        inferred: bool = False,
        used_nano_usd: int | None = None,
        limit_nano_usd: int | None = None,
    ) -> Reading:
        """The reading of a window that is ``seconds`` long; ``name`` is for a window without a length, else ``UNTOLD``.

        No share means that the provider refused without stating one: the window is full. An answer to a question lists
        all windows, so an unused one without a reset has not started: its reset moves with the clock.
        """
        if used_ratio == 0 and resets_ms is None and seconds is not None and self.source == "active":
            resets_ms, inferred = self.observed_ms + seconds * 1000, True
        return Reading(
            window=(name or UNTOLD) if seconds is None else window_name(seconds),
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


class QuotaProvider(msgspec.Struct, frozen=True, kw_only=True):
    """How one provider reports its windows.

    ``read_headers`` turns allowed headers into readings; signals of auth-files are the same headers. ``stored`` lists
    the headers that may be stored for it: patterns of names in lower case, each beginning with one of ``prefixes`` and
    without capturing groups, and the test that a value has to pass. ``use_suffix`` ends the names of headers that
    state a share; ``refuses`` says whether headers report a full window even without one. ``in_records``: whether to
    read the headers of usage records, not just the signals. ``counts``: whether use of a model counts in the windows
    of a scope.
    """

    prefixes: tuple[str, ...]
    stored: Mapping[str, Callable[[str], object]]
    use_suffix: str
    read_headers: Callable[[Mapping[str, str], Answer], Iterable[Reading]]
    refuses: Callable[[Mapping[str, str]], bool] = lambda _: False
    in_records: bool = True
    counts: Callable[[str, str], bool] = lambda model, scope: scope in model.lower()


def fullest(readings: Iterable[Reading]) -> dict[tuple[str, str], Reading]:
    """The readings by window and scope; the newer of two wins, of one moment the fuller."""
    found: dict[tuple[str, str], Reading] = {}
    for reading in readings:
        before = found.setdefault((reading.window, reading.scope), reading)
        if (before.observed_ms, before.used_ratio) < (reading.observed_ms, reading.used_ratio):
            found[reading.window, reading.scope] = reading
    return found


def bounded(found: Mapping[tuple[str, str], Reading]) -> list[Reading]:
    """At most ``MAX_WINDOWS``, the whole account's first, so that a flood of scopes cannot push them out."""
    return sorted(found.values(), key=lambda reading: (reading.scope, reading.window_seconds or 0))[:MAX_WINDOWS]


# --- names ------------------------------------------------------------------------------------------------------------


def window_name(seconds: int) -> str:
    """``5h``, ``7d``, ``90m``; 28 to 31 days are a ``month``, because providers use different ones."""
    if 28 * DAY <= seconds <= 31 * DAY:
        return "month"
    for unit, size in (("d", DAY), ("h", HOUR), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def slugged(text: str) -> str:
    """A provider's name as a label value: lower case, digits, dots and hyphens. Empty if that is nothing or too long.

    A long name is not cut: two limits could become one, and the emptier would hide the fuller.
    """
    slug = _NOT_SLUG.sub("-", text[:200].lower()).strip("-.")
    return slug if len(slug) <= MAX_SLUG else ""


def scope_named(text: str) -> str:
    """The scope of a provider's name ``text``; several names may mean one scope."""
    slug = slugged(text)
    return _ONE_SCOPE.get(slug, slug)
