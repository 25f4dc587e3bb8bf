"""Providers' own quota windows, read from the response headers that a usage record carries. Pure.

Three providers send windows: Anthropic to subscription accounts, the Codex backend, and Meta. None of it is documented
by them, so every value may be missing or odd: a window that cannot be read is left out, never guessed, and never 0. One
that refuses a request without telling its share is full.

The ``x-ratelimit-*`` and ``anthropic-ratelimit-{requests,tokens,…}-*`` headers of API keys are left out. They are
buckets that refill within a minute or less: when such a reading is looked at, its window is over. ``retry-after`` is
left out as well: it says when to try again, not how much of anything is used.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from exporter.quotas.header_allowlist import (
    CLAUDE,
    CODEX,
    GROUP,
    MAX_NAME,
    MAX_SLUG,
    META,
    NAMED_SLUG,
    RESERVE,
    STATUS,
    allowed_headers,
    denies,
)
from exporter.quotas.values import MAX_VALUE, instant, number

MAX_WINDOWS = 32

_HOUR = 3_600
_DAY = 86_400
_DAY_MS = _DAY * 1000
_MOST_AHEAD_MS = 300_000
"""By how much a clock may be ahead of ours: until then a reading of such a moment shuts out all others."""
_NEARLY_WHOLE = 180
_LONGEST_WINDOW = 366 * _DAY
_LATEST_RESET_MS = 62 * _DAY_MS
_HIGHEST_RATIO = 1000.0
SAME_RESET_MS = 120_000
"""Resets given in seconds from now move a little with each answer."""
_MAX_MODELS = 256

_CLAUDE_SLUG = re.compile(
    rf"{CLAUDE}(([0-9]{{1,4}})([hd])(_[a-z_]{{1,26}})?|{NAMED_SLUG})-(?:utilization|status)"
).fullmatch
_CODEX_MINUTES = re.compile(rf"((?:{CODEX}(?:({GROUP})-)?|({RESERVE}))(?:primary|secondary))-window-minutes").fullmatch

_NOT_SLUG = re.compile(r"[^a-z0-9.]+")
_CLAIMED = {"five_hour": "5h", "seven_day_overage_included": "7d_oi", "seven_day": "7d"}
_ONE_SCOPE = {"oi": "fable", "iguana-necktie": "fable", "base-model-inference": "gpt-reserve"}
"""Scopes that have several names, by the code names among them."""
ACCOUNT = "account"
"""The window of an account that is refused without a word about which of its windows is full."""


class Reading(msgspec.Struct, frozen=True):
    """One window of one credential as its provider reported it. Times are ms since the epoch.

    ``window`` is named after its duration (``5h``, ``7d``, ``month``), never after its position in the answer.
    ``scope`` is empty for all of the account, else a slug such as ``opus``. ``used_ratio`` may exceed 1.
    ``resets_ms`` is the announced reset, None where the provider left it out: such a reading cannot expire, so it
    counts only together with an earlier one (``merge``). ``status``: ``allowed``, ``warning``, ``rejected`` or empty
    for not said.
    ``inferred``: a value was derived, as a reset that was given in seconds from now; ``ratio_inferred``: the share
    was, from a refusal. ``source``: ``header`` or ``auth_files``.
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

    @property
    def ends_ms(self) -> int | None:
        """When the window ends; None where that is not known.

        A window with nothing used that would end its whole length after the answer has not started: its reset moves
        with the clock. A reading made after its own reset has no other end than a newer reading.
        """
        if self.resets_ms is None or self.observed_ms >= self.resets_ms:
            return None
        whole_ms = (self.window_seconds or 0) * 1000
        if self.used_ratio == 0 and abs(self.resets_ms - self.observed_ms - whole_ms) <= SAME_RESET_MS:
            return None
        return self.resets_ms


def read_headers(
    headers: Mapping[str, str],
    *,
    provider: str,
    model: str,
    started_ms: int,
    ttft_ms: int,
    latency_ms: int,
    received_ms: int,
) -> list[Reading]:
    """The windows in the allowed headers of one record of ``provider``, for which ``model`` answered.

    Of two windows with the same name and scope the fuller one is kept. A window that is not mentioned is "not said".
    Never raises.
    """
    observed_ms = _plausible(_text(headers, "date"), received_ms)
    if observed_ms is None:
        # The request's start is by the proxy's clock, which can be wrong; a moment ahead of us would shut out
        # all readings until then.
        observed_ms = min(started_ms + (ttft_ms or latency_ms), received_ms)
    return _readings(headers, provider, model, observed_ms, "header")


def read_signals(entry: Mapping[str, Any], *, received_ms: int) -> list[Reading]:
    """The windows that newer proxies keep for a credential themselves: an entry of auth-files. Never raises.

    These are the same headers, with the time at which the proxy saw them. Signals without a time are left out: they
    would look new at every poll.
    """
    provider = entry.get("provider") or entry.get("type")
    if not isinstance(provider, str):
        return []
    found: dict[tuple[str, str], Reading] = {}
    for model, block in _blocks(entry):
        signals = block.get("signals")
        if not isinstance(signals, Mapping):
            continue
        allowed = allowed_headers(signals)
        observed_ms = _plausible(block.get("observed_at"), received_ms, oldest_ms=_LATEST_RESET_MS)
        if observed_ms is None:
            observed_ms = _plausible(allowed.get("date"), received_ms, oldest_ms=_LATEST_RESET_MS)
        if observed_ms is None:
            continue
        for reading in _readings(allowed, provider, model, observed_ms, "auth_files"):
            before = found.get((reading.window, reading.scope))
            if before is None or (before.observed_ms, before.used_ratio) < (observed_ms, reading.used_ratio):
                found[reading.window, reading.scope] = reading
    return _bounded(found)


def _blocks(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The model ("" for none) and the block of signals, of the account and of each model."""
    account = entry.get("quota")
    if isinstance(account, Mapping):
        yield "", account
    models = entry.get("model_quotas")
    if isinstance(models, Mapping):
        for model, block in islice(models.items(), _MAX_MODELS):
            if isinstance(model, str) and isinstance(block, Mapping):
                yield model, block


def _plausible(value: object, received_ms: int, *, oldest_ms: int = _DAY_MS) -> int | None:
    """A moment of observation, if it is one: hardly ahead of us, and not older than ``oldest_ms``."""
    moment = instant(value) if isinstance(value, str) and len(value) <= MAX_VALUE else None
    return moment if moment is not None and -oldest_ms <= moment - received_ms <= _MOST_AHEAD_MS else None


def _readings(headers: Mapping[str, str], provider: str, model: str, observed_ms: int, source: str) -> list[Reading]:
    if provider == "claude":
        found = _claude(headers, observed_ms, source)
    elif provider == "codex":
        found = _codex(headers, model, observed_ms, source)
    elif provider == "meta":
        found = _meta(headers, observed_ms, source)
    else:
        return []
    return _bounded(found)


def _bounded(found: dict[tuple[str, str], Reading]) -> list[Reading]:
    """The windows of the whole account first, so that a flood of scopes cannot push them out."""
    return sorted(found.values(), key=lambda reading: (reading.scope, reading.window_seconds or 0))[:MAX_WINDOWS]


def _claude(headers: Mapping[str, str], observed_ms: int, source: str) -> dict[tuple[str, str], Reading]:
    found: dict[tuple[str, str], Reading] = {}
    claimed = _claimed_slug(_text(headers, f"{CLAUDE}representative-claim"))
    for slug, match in {match[1]: match for name in headers if (match := _match(name, _CLAUDE_SLUG))}.items():
        tail = slug if slug == NAMED_SLUG else match[4] or ""
        scope = _scope(tail)
        seconds = int(match[2] or 7) * (_HOUR if match[3] == "h" else _DAY)
        if (tail and not scope) or not 0 < seconds <= _LONGEST_WINDOW:
            continue
        status = STATUS.get(_text(headers, f"{CLAUDE}{slug}-status"), "")
        used_ratio = _ratio(_text(headers, f"{CLAUDE}{slug}-utilization"))
        concluded = used_ratio is None and status == "rejected"
        if used_ratio is None and not concluded:
            continue
        resets_ms = _reset(_text(headers, f"{CLAUDE}{slug}-reset"), observed_ms)
        overall = resets_ms is None and slug == claimed
        if overall:
            # The reset without a slug belongs to the window that decides.
            resets_ms = _reset(_text(headers, f"{CLAUDE}reset"), observed_ms)
        _keep_fuller(
            found,
            Reading(
                window=window_name(seconds),
                scope=scope,
                window_seconds=seconds,
                used_ratio=1.0 if used_ratio is None else used_ratio,
                resets_ms=resets_ms,
                status=status,
                observed_ms=observed_ms,
                inferred=concluded or (overall and resets_ms is not None),
                source=source,
                ratio_inferred=concluded,
            ),
        )
    return found


def _claimed_slug(claim: str) -> str:
    """``seven_day_opus`` → ``7d_opus``."""
    for words, slug in _CLAIMED.items():
        if claim == words or claim.startswith(f"{words}_"):
            return slug + claim[len(words) :]
    return ""


def _codex(headers: Mapping[str, str], model: str, observed_ms: int, source: str) -> dict[tuple[str, str], Reading]:
    ungrouped: dict[tuple[str, str], Reading] = {}
    grouped: dict[tuple[str, str], Reading] = {}
    denied = denies(headers)
    for name in headers:
        match = _match(name, _CODEX_MINUTES)
        if match is None:
            continue
        stem, group = match[1], match[2] or (match[3] and RESERVE[2:-1])
        if group is None:
            scope = _scope_of_model(model)
        else:
            scope = _scope(_text(headers, f"{CODEX}{group}-limit-name")) or _scope(group) or None
        used_ratio = _percent(_text(headers, f"{stem}-used-percent"))
        # That the account is refused is said of its own windows; those with a share keep it.
        concluded = used_ratio is None and denied and group is None
        seconds = _seconds(_text(headers, name))
        if scope is None or seconds is None or (used_ratio is None and not concluded):
            continue
        resets_ms = _reset(_text(headers, f"{stem}-reset-at"), observed_ms)
        relative = resets_ms is None
        if resets_ms is None:
            after = number(_text(headers, f"{stem}-reset-after-seconds"))
            if after is None or after * 1000 > _LATEST_RESET_MS:
                continue
            resets_ms = observed_ms + round(after * 1000)
        _keep_fuller(
            ungrouped if group is None else grouped,
            Reading(
                window=window_name(seconds),
                scope=scope,
                window_seconds=seconds,
                used_ratio=1.0 if used_ratio is None else used_ratio,
                resets_ms=resets_ms,
                status="rejected" if concluded else "",
                observed_ms=observed_ms,
                inferred=relative or concluded,
                source=source,
                ratio_inferred=concluded,
            ),
        )
    if denied and not ungrouped and (scope := _scope_of_model(model)) is not None:
        _keep_fuller(
            ungrouped,
            Reading(
                window=ACCOUNT,
                scope=scope,
                window_seconds=None,
                used_ratio=1.0,
                resets_ms=observed_ms,
                status="rejected",
                observed_ms=observed_ms,
                inferred=True,
                source=source,
                ratio_inferred=True,
            ),
        )
    # A group says itself whose window it is; of the others that is a conclusion from the model.
    return ungrouped | grouped


def _meta(headers: Mapping[str, str], observed_ms: int, source: str) -> dict[tuple[str, str], Reading]:
    found: dict[tuple[str, str], Reading] = {}
    for stem, minutes in (("window", _text(headers, f"{META}window-minutes")), ("weekly", "10080")):
        seconds, used_ratio = _seconds(minutes), _percent(_text(headers, f"{META}{stem}-used-percent"))
        if seconds is None or used_ratio is None:
            continue
        _keep_fuller(
            found,
            Reading(
                window=window_name(seconds),
                scope="",
                window_seconds=seconds,
                used_ratio=used_ratio,
                resets_ms=_reset(_text(headers, f"{META}{stem}-reset-at"), observed_ms),
                status="",
                observed_ms=observed_ms,
                inferred=False,
                source=source,
            ),
        )
    return found


def _scope_of_model(model: str) -> str | None:
    """The scope of the windows without a group, which belong to the limit of the model that answered.

    The Spark model has a limit of its own; without this its 0 % would hide a full main window. None: nobody can tell.
    """
    name = model[:200].rpartition("/")[2].partition("(")[0].strip().lower()
    if not name or name == "unknown":
        return None
    end = name.find("-spark")
    return "" if end < 0 else _scope(name[: end + len("-spark")]) or None


def _match(name: object, pattern: Any) -> re.Match[str] | None:
    match: re.Match[str] | None = pattern(name) if isinstance(name, str) and len(name) <= MAX_NAME else None
    return match


def _keep_fuller(found: dict[tuple[str, str], Reading], reading: Reading) -> None:
    key = (reading.window, reading.scope)
    before = found.get(key)
    if before is None or before.used_ratio < reading.used_ratio:
        found[key] = reading


# --- names and values -------------------------------------------------------------------------------------------------


def window_name(seconds: int) -> str:
    """``5h``, ``7d``, ``90m``; 28 to 31 days are a ``month``, whichever month the provider counts with."""
    if 28 * _DAY <= seconds <= 31 * _DAY:
        return "month"
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _whole_hours(seconds: int) -> int:
    """Codex also calls its windows 299 and 10079 minutes long, which are those of 5 hours and 7 days."""
    hours = round(seconds / _HOUR) * _HOUR
    return hours if hours and abs(seconds - hours) <= _NEARLY_WHOLE else seconds


def slugged(text: str) -> str:
    """A provider's name as a label value: lower case, digits, dots and hyphens. Empty if nothing is left, or too much.

    A long name is not cut: two limits could become one, and the emptier would hide the fuller.
    """
    slug = _NOT_SLUG.sub("-", text[:200].lower()).strip("-.")
    return slug if len(slug) <= MAX_SLUG else ""


def _text(headers: Mapping[str, str], name: str) -> str:
    value: object = headers.get(name, "")
    return value if isinstance(value, str) and len(value) <= MAX_VALUE else ""


def _reset(text: str, observed_ms: int) -> int | None:
    """A reset near enough to be one. It may have passed: some providers go on reporting a window that is over."""
    moment = instant(text) if text else None
    return moment if moment is not None and abs(moment - observed_ms) <= _LATEST_RESET_MS else None


def _scope(text: str) -> str:
    slug = slugged(text)
    return _ONE_SCOPE.get(slug, slug)


def _ratio(text: str) -> float | None:
    value = number(text)
    return value if value is not None and value <= _HIGHEST_RATIO else None


def _percent(text: str) -> float | None:
    """A share from its percents; 10.1 / 100 is 0.10099999999999999, so it is rounded."""
    value = number(text)
    return round(value / 100, 9) if value is not None and value <= _HIGHEST_RATIO * 100 else None


def _seconds(minutes: str) -> int | None:
    """The length of a window that is given in whole minutes."""
    value = number(minutes)
    if value is None or value != round(value):
        return None
    seconds = _whole_hours(round(value) * 60)
    return seconds if 0 < seconds <= _LONGEST_WINDOW else None
