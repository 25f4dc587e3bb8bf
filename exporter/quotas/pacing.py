"""When to ask a provider again without getting anybody banned. Pure.

Providers limit such calls by account and by address, and refuse for hours whoever asks too often. So each question
waits for its interval, and all accounts of one provider behind one address take turns in a *lane*. The account waits as
long as its provider demands; its lane waits, too, but for an hour at most.
"""

from random import Random

import msgspec

from exporter.quotas.base import NEXT_WAY, Question, Refusal, Report

OK = "ok"
RESULTS = (OK, *Refusal)
"""Every outcome of a question."""
RESTS_ACCOUNT = frozenset({Refusal.UNAUTHORIZED, Refusal.RATE_LIMITED})
"""After these, all other questions about the account wait, too."""

_REFUSALS_OF_LOGIN = frozenset({Refusal.UNAUTHORIZED, Refusal.FORBIDDEN})
_HOUR = 3_600
_JITTER = 0.2
_MARGIN_SECONDS = 5
_REFUSED_SECONDS = 4 * _HOUR
_NOT_THERE_SECONDS = 24 * _HOUR
_LONGEST_RETRY_AFTER = 7 * 24 * _HOUR
"""A longer one is the provider's mistake: its windows are not much longer."""
_LONGEST_DOUBLED = 24 * _HOUR
_LONGEST_AFTER_FAULT = _HOUR
_LONGEST_LANE_PAUSE = _HOUR
_SET_BACK_MS = 60_000
_MOST_DOUBLINGS = 10


class LastAsked(msgspec.Struct, frozen=True):
    """The state of a question about an account. Times are ms since the epoch, 0 for never.

    ``asked_ms`` is the last call, ``next_ms`` the earliest moment of the next, ``lane_ms`` the same for the whole
    lane, ``way`` the next way to ask. ``result`` is one of ``RESULTS``, empty before the first answer; ``failures``
    counts failures in a row.
    """

    asked_ms: int = 0
    next_ms: int = 0
    lane_ms: int = 0
    way: int = 0
    result: str = ""
    failures: int = 0

    def at(self, now_ms: int) -> "LastAsked":
        """The state after somebody set the clock back: a call in the future counts as made now."""
        ahead_ms = self.asked_ms - now_ms
        if ahead_ms <= _SET_BACK_MS:
            return self
        return msgspec.structs.replace(
            self, asked_ms=now_ms, next_ms=self.next_ms - ahead_ms, lane_ms=self.lane_ms - ahead_ms
        )

    def due_ms(self, question: Question, *, renewed_ms: int, now_ms: int) -> int:
        """The earliest moment of the next call: a login that was renewed after its refusal need not rest."""
        is_new = self.result in _REFUSALS_OF_LOGIN and self.asked_ms < renewed_ms <= now_ms
        return min(self.next_ms, self.asked_ms + question.every_seconds * 1000) if is_new else self.next_ms

    def begun(self, question: Question, *, now_ms: int) -> "LastAsked":
        """The state to store before a call: one that a crash cuts off counts, too, so that no other follows at once."""
        return msgspec.structs.replace(
            self,
            asked_ms=now_ms,
            next_ms=now_ms + question.every_seconds * 1000,
            lane_ms=now_ms + question.gap_seconds * 1000,
        )

    def ended(self, question: Question, report: Report, *, now_ms: int, seed: object) -> "LastAsked":
        """The state after the answer to the call that was ``begun``.

        ``seed`` decides how much later than necessary the next call is, so that accounts do not stay in step.
        """
        refusal = report.refusal
        failures = 0 if refusal is None else self.failures + 1
        way = self.way
        wait, lane = float(question.every_seconds), float(question.gap_seconds)
        doubled = 2 ** min(max(failures - 1, 0), _MOST_DOUBLINGS)
        stated = min(report.retry_after_s or 0, _LONGEST_RETRY_AFTER)
        if refusal in NEXT_WAY and way + 1 < len(question.ways):
            way, failures, wait = way + 1, self.failures, lane
        elif refusal is Refusal.RATE_LIMITED:
            stated = stated or min(_HOUR * doubled, _LONGEST_DOUBLED)
        elif refusal in _REFUSALS_OF_LOGIN:
            wait = _REFUSED_SECONDS
        elif refusal in (Refusal.NOT_FOUND, Refusal.OUTDATED):
            way, wait = 0, _NOT_THERE_SECONDS
        elif refusal in (Refusal.UNAVAILABLE, Refusal.UNREADABLE):
            way, wait = 0, max(wait, min(wait * doubled, _LONGEST_AFTER_FAULT))
        elif refusal in (Refusal.UNSUPPORTED, Refusal.NO_PROJECT):
            way, lane = 0, 0  # no provider was called; the proxy's own quota API, where there is one, comes first
        if stated:
            stated += _MARGIN_SECONDS
            wait, lane = max(wait, stated), max(lane, min(stated, _LONGEST_LANE_PAUSE))
        wait *= 1 + _JITTER * Random(f"{seed} {self.asked_ms}").random()  # noqa: S311 no secret
        return LastAsked(
            asked_ms=self.asked_ms,
            next_ms=now_ms + round(wait * 1000),
            lane_ms=now_ms + round(lane * 1000),
            way=way,
            result=OK if refusal is None else refusal.value,
            failures=failures,
        )
