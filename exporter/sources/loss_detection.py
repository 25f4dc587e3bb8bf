"""Detects another reader of a proxy's queue, and estimates how many records it took. It compares two counts. Pure.

The proxy counts the attempts on its credentials, and each attempt should leave a record. Some leave none
(``count_tokens``, streams that break in certain ways), so a shortfall alone proves nothing. Another reader constantly
takes records of every credential, while calls without a record belong to some clients and come in bursts. So the
comparison counts *bundles* of attempts that came up short rather than missing records, and one credential that misses
nothing clears all others. docs/architecture.md explains how the numbers below were chosen, and what they cannot detect.
"""

from collections.abc import Iterable
from itertools import takewhile
from typing import Literal

import msgspec

from exporter import formats
from exporter.sentences import say

TOLERANCE = 0.25
"""The largest share of attempts without a record that is normal without another reader."""
BUNDLE_ATTEMPTS = 10
WINDOW_BUNDLES = 24
SHORT_BUNDLES = 17
"""This many short bundles among the last ``WINDOW_BUNDLES`` make a suspicion."""
HEALING_BUNDLES = 12
HEALING_SHORT = 1
"""At most this many short bundles among the last ``HEALING_BUNDLES`` end it."""
WELL_ATTEMPTS = 40
WELL_SHARE = TOLERANCE / 2
"""A credential with this many attempts in the window that misses less than this share clears all credentials."""
SILENT_LOOKS = 4
SILENT_ATTEMPTS = 20
"""This many comparisons in a row with new attempts, this many in all, and no record at all make a suspicion."""
HEALING_ATTEMPTS = 10
MISSING_AFTER_LOSS = 5
"""If records were certainly in danger, this many missing ones are enough to count them."""
_CREDENTIALS_KEPT = 8


class Counts(msgspec.Struct, frozen=True):
    """Two counts at one moment. None of the numbers ever falls.

    ``received`` is the number of records that stand for an attempt. ``credentials`` holds the proxy's attempts and our
    booked records by credential id. ``restarts`` is the number of noticed restarts of the proxy.
    """

    received: int
    restarts: int
    credentials: dict[int, tuple[int, int]]


class Bundle(msgspec.Struct):
    """Attempts of one or more comparisons: at least ``BUNDLE_ATTEMPTS`` once it is closed."""

    attempts: int = 0
    records: int = 0
    in_estimate: bool = msgspec.field(default=False, name="counted")
    """Whether the estimate includes its missing records."""
    credentials: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)

    @property
    def missing(self) -> int:
        return max(0, self.attempts - self.records)

    @property
    def short(self) -> bool:
        return self.missing >= TOLERANCE * self.attempts

    def take(self, attempts: int, records: int, credentials: dict[int, tuple[int, int]]) -> None:
        self.attempts += attempts
        self.records += records
        for id_, step in credentials.items():
            known = self.credentials.get(id_, (0, 0))
            self.credentials[id_] = (known[0] + step[0], known[1] + step[1])


class LossDetector(msgspec.Struct):
    """The state from one comparison to the next. The ledger stores it each time, so that a restart changes nothing."""

    last: Counts
    part: Bundle = msgspec.field(default_factory=Bundle)
    bundles: list[Bundle] = msgspec.field(default_factory=list)
    carry: int = 0
    """Records beyond the attempts of the previous bundle: the proxy counts their attempts a moment later."""
    silent_looks: int = 0
    silent_attempts: int = 0
    healing: int = 0
    suspicion: Literal["", "silence", "share"] = ""

    @property
    def share(self) -> float:
        """The share of the attempts of the last bundles whose records arrived."""
        attempts = sum(bundle.attempts for bundle in self.bundles)
        missing = sum(bundle.missing for bundle in self.bundles)
        return 1.0 if not attempts else 1 - missing / attempts

    def sentence(self, where: str) -> str:
        """The suspicion about the proxy that sentences call ``where``, and what to do."""
        arrives = say("only {share} of their records arrive", share=formats.share(self.share))
        return say(
            "{where} counts attempts on its credentials, but {arrives}. Does another program read its usage queue: a"
            " dashboard that subscribes to it, a script that polls it, or a second exporter? A queue has one"
            " consumer: stop the other one. What it took is missing here.",
            where=where,
            arrives=say("none of their records arrives") if self.suspicion == "silence" else arrives,
        )


def compare(
    detector: LossDetector | None, counts: Counts, *, may_have_lost: bool, publishing: bool
) -> tuple[LossDetector, int]:
    """Compare the counts again: the new state, and how many more records are probably missing.

    ``counts`` are the proxy's attempts, and our records after emptying its queue. ``may_have_lost``: records may have
    been lost on the way, or have expired, since the previous comparison. ``publishing`` is false while the proxy
    records nothing, which is no loss. The old ``detector`` may change and must not be used again.
    """
    if detector is None or not publishing:
        return LossDetector(last=counts), 0
    last, detector.last = detector.last, counts
    restarted = counts.restarts != last.restarts  # the proxy counts from 0 again, and its queue is gone
    steps = _steps(last, counts)
    attempts = sum(step[0] for step in steps.values())
    records = max(0, counts.received - last.received)
    if restarted or may_have_lost or records:
        detector.silent_looks = detector.silent_attempts = 0
    elif attempts:
        detector.silent_looks += 1
        detector.silent_attempts += attempts
    if restarted:
        return detector, 0
    if may_have_lost:
        missing = attempts - records
        return detector, missing if missing >= max(MISSING_AFTER_LOSS, TOLERANCE * attempts) else 0
    detector.part.take(attempts, records, steps)
    if detector.part.attempts >= BUNDLE_ATTEMPTS:
        _close(detector)
    if detector.suspicion and _healed(detector, attempts, records):
        return LossDetector(last=counts), 0
    return detector, _judge(detector)


def _steps(last: Counts, counts: Counts) -> dict[int, tuple[int, int]]:
    """The growth of each credential's counts. A new credential is skipped: nobody knows how long it has counted."""
    steps: dict[int, tuple[int, int]] = {}
    for id_, (attempts, records) in counts.credentials.items():
        if (before := last.credentials.get(id_)) is not None and before != (attempts, records):
            steps[id_] = (max(0, attempts - before[0]), max(0, records - before[1]))
    return steps


def _close(detector: LossDetector) -> None:
    part = detector.part
    surplus = max(0, part.records - part.attempts)
    part.records += detector.carry
    detector.carry = surplus
    if len(part.credentials) > _CREDENTIALS_KEPT:
        busiest = sorted(part.credentials.items(), key=lambda item: -item[1][0])
        part.credentials = dict(busiest[:_CREDENTIALS_KEPT])
    detector.bundles = [*detector.bundles, part][-WINDOW_BUNDLES:]
    detector.part = Bundle()


def _judge(detector: LossDetector) -> int:
    """Suspect another reader if there is reason to; returns how many records it took from the bundles in question."""
    if sum(bundle.short for bundle in detector.bundles) >= SHORT_BUNDLES and not _somebody_is_well(detector.bundles):
        if detector.suspicion != "share":
            detector.suspicion = "share"
            return _count(detector.bundles)
    elif (
        not detector.suspicion and detector.silent_looks >= SILENT_LOOKS and detector.silent_attempts >= SILENT_ATTEMPTS
    ):
        detector.suspicion = "silence"
        return _count(takewhile(lambda bundle: not bundle.records, reversed(detector.bundles)))
    return _count(detector.bundles[-1:]) if detector.suspicion else 0


def _count(bundles: Iterable[Bundle]) -> int:
    missing = 0
    for bundle in bundles:
        if bundle.short and not bundle.in_estimate:
            bundle.in_estimate = True
            missing += bundle.missing
    return missing


def _somebody_is_well(bundles: list[Bundle]) -> bool:
    """Whether nearly all records of a busy credential arrived."""
    whole = Bundle()
    for bundle in bundles:
        whole.take(0, 0, bundle.credentials)
    return any(
        attempts >= WELL_ATTEMPTS and attempts - records < WELL_SHARE * attempts
        for attempts, records in whole.credentials.values()
    )


def _healed(detector: LossDetector, attempts: int, records: int) -> bool:
    if detector.suspicion == "silence":
        if attempts or records:
            detector.healing = detector.healing + attempts if records >= (1 - TOLERANCE) * attempts else 0
        return detector.healing >= HEALING_ATTEMPTS
    recent = detector.bundles[-HEALING_BUNDLES:]
    return sum(bundle.short for bundle in recent) <= HEALING_SHORT
