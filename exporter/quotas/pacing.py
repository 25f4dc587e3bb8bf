"""When an account's provider may be asked for its windows, so that nobody gets banned for it. Pure.

Providers limit such calls by account and by the address that they come from, and the penalty for asking too often
lasts for hours. So each account waits for its interval, and all accounts of one provider behind one address take turns
in a *lane*. What a provider asks for is obeyed by the account, and by its lane as long as that is short.
"""

from collections.abc import Iterable
from random import Random

import msgspec

RESULTS = ("ok", "rate_limited", "refused", "unsupported", "bad_answer", "server_error", "unreachable", "gone")
"""What can come of a question.

``refused``: the provider's 401, 402 or 403. ``unsupported``: the proxy has no such call, or the provider no such page.
``bad_answer``: something else than windows, such as a web page. ``server_error``: the provider's 5xx or another odd
status. ``unreachable``: no answer, neither from the provider nor from the proxy. ``gone``: the proxy does not list the
account any more, so nothing was sent.
"""

MINUTE, HOUR = 60, 3_600
_JITTER = 0.2
_MARGIN_SECONDS = 5
_REFUSED_SECONDS = 4 * HOUR
_UNSUPPORTED_SECONDS = 24 * HOUR
_LONGEST_RETRY_AFTER = 7 * 24 * HOUR
_LONGEST_DOUBLED = 24 * HOUR
_LONGEST_AFTER_FAULT = HOUR
_LONGEST_LANE_PAUSE = HOUR
_SET_BACK_MS = 60_000


class Pace(msgspec.Struct, frozen=True):
    """Seconds between two calls about one account, and between two calls of its lane."""

    account: int
    lane: int


_USUAL = Pace(account=15 * MINUTE, lane=MINUTE)
_PACES = {"claude": Pace(account=10 * MINUTE, lane=3 * MINUTE), "codex": Pace(account=10 * MINUTE, lane=MINUTE)}


def pace_of(provider: str) -> Pace:
    """The pace at which a provider is asked."""
    return _PACES.get(provider, _USUAL)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a question: an account's windows, or something else about it. Times are ms, 0 for never.

    ``asked_ms`` is the last call, ``next_ms`` the first moment at which the next may follow, ``lane_ms`` the same for
    the whole lane. ``result`` is one of ``RESULTS``, empty before the first answer; ``failures`` counts those in a row
    that were no success.
    """

    asked_ms: int = 0
    next_ms: int = 0
    lane_ms: int = 0
    result: str = ""
    failures: int = 0

    def at(self, now_ms: int) -> "Asked":
        """The same after somebody set the clock back: a moment that lies ahead counts as now."""
        ahead_ms = self.asked_ms - now_ms
        if ahead_ms <= _SET_BACK_MS:
            return self
        return msgspec.structs.replace(
            self, asked_ms=now_ms, next_ms=self.next_ms - ahead_ms, lane_ms=self.lane_ms - ahead_ms
        )


def begun(before: Asked, pace: Pace, *, now_ms: int) -> Asked:
    """What is stored before the call: a crash in it counts as a call, and must not lead to another one at once."""
    return msgspec.structs.replace(
        before, asked_ms=now_ms, next_ms=now_ms + pace.account * 1000, lane_ms=now_ms + pace.lane * 1000
    )


def ended(
    before: Asked, pace: Pace, result: str, *, now_ms: int, retry_after: float | None = None, seed: str = ""
) -> Asked:
    """What follows from the ``result`` of the call.

    ``retry_after`` is the wait in seconds that the provider stated, None or 0 if it stated none. ``seed`` decides on
    the part of the interval by which the next call is later, so that accounts do not stay in step.
    """
    failures = 0 if result == "ok" else before.failures + 1
    doubled = 2 ** min(failures - 1, 20)
    lane = float(pace.lane)
    if result == "rate_limited":
        if retry_after:
            wait = min(retry_after, _LONGEST_RETRY_AFTER) + _MARGIN_SECONDS
        else:
            wait = min(HOUR * doubled, _LONGEST_DOUBLED)
        lane = max(lane, min(wait, _LONGEST_LANE_PAUSE))
        wait = max(wait, pace.account)
    elif result == "refused":
        wait = _REFUSED_SECONDS
    elif result == "unsupported":
        wait = _UNSUPPORTED_SECONDS
    elif result in ("ok", "gone"):
        wait = pace.account
    else:
        wait = max(pace.account, min(pace.account * doubled, _LONGEST_AFTER_FAULT))
    wait *= 1 + _JITTER * Random(f"{seed}/{before.asked_ms}").random()  # noqa: S311 no secret
    return Asked(
        asked_ms=before.asked_ms,
        next_ms=now_ms + round(wait * 1000),
        lane_ms=now_ms + round(lane * 1000),
        result=result,
        failures=failures,
    )


def lane_free_ms(questions: Iterable[Asked]) -> int:
    """From when on one of these questions, which share a lane, may be asked."""
    return max((asked.lane_ms for asked in questions), default=0)
