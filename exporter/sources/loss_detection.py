"""Does somebody else read a proxy's queue? And how many records did we miss? A comparison of two counts. Pure.

The proxy counts the attempts on its credentials, and each attempt should leave a record. Some leave none
(``count_tokens``, streams that break in certain ways), so a shortfall alone proves nothing. What tells a rival reader
from them: it takes of everything and all the time, while calls without a record belong to some clients and come in
bursts. So the comparison counts *bundles* of attempts that came up short, not missing records, and no credential may be
well. docs/proxies.md says how the numbers below were chosen, and what they cannot see.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

TOLERANCE = 0.25
"""The share of attempts without a record that is believed of honest traffic."""
BUNDLE_ATTEMPTS = 10
WINDOW_BUNDLES = 24
SHORT_BUNDLES = 17
"""So many short bundles of the last ``WINDOW_BUNDLES`` make a suspicion."""
HEALING_BUNDLES = 12
HEALING_SHORT = 1
"""At most so many short ones among the last ``HEALING_BUNDLES`` end it."""
WELL_ATTEMPTS = 40
WELL_SHARE = TOLERANCE / 2
"""A credential with so many attempts in the window that misses less than this share clears everybody."""
SILENT_LOOKS = 4
SILENT_ATTEMPTS = 20
"""So many looks in a row with new attempts, and this number of them, without a single record make a suspicion."""
HEALING_ATTEMPTS = 10
TORN_RECORDS = 5
"""Where records were certainly in danger, fewer missing ones are believed."""
_CREDENTIALS_KEPT = 8


class Counts(msgspec.Struct, frozen=True):
    """Two counts at one moment. None of the numbers ever falls.

    ``received`` is the number of records that stand for an attempt. ``credentials`` holds, by id, the proxy's attempts
    and our booked records of each. ``restarts`` is the number of restarts of the proxy that were noticed.
    """

    received: int
    restarts: int
    credentials: dict[int, tuple[int, int]]


class Bundle(msgspec.Struct):
    """Attempts of one or more looks, at least ``BUNDLE_ATTEMPTS`` when it is closed."""

    attempts: int = 0
    records: int = 0
    counted: bool = False
    """Whether what is missing in it is in the estimate."""
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


class Watch(msgspec.Struct):
    """What is remembered from look to look. It is stored with every look, so that a restart changes nothing."""

    last: Counts
    part: Bundle = msgspec.field(default_factory=Bundle)
    bundles: list[Bundle] = msgspec.field(default_factory=list)
    carry: int = 0
    """Records beyond the attempts of the bundle before: their attempts are counted a moment later."""
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


def look(watch: Watch | None, counts: Counts, *, torn: bool, publishing: bool) -> tuple[Watch, int]:
    """Compare anew: what to remember, and how many more records are believed to be missing.

    ``counts`` are the proxy's attempts, and our records once its queue was emptied after that. ``torn``: since the look
    before, records may have been lost on the way or have expired. ``publishing`` is false while the proxy records
    nothing, which is no loss. ``watch`` may be changed and must not be used any more.
    """
    if watch is None or not publishing:
        return Watch(last=counts), 0
    last, watch.last = watch.last, counts
    if counts.restarts != last.restarts:
        # The counts began anew, and what was in the queue is gone with what was counted of it.
        watch.silent_looks = watch.silent_attempts = 0
        return watch, 0
    steps = _steps(last, counts)
    attempts = sum(step[0] for step in steps.values())
    records = max(0, counts.received - last.received)
    if torn:
        watch.silent_looks = watch.silent_attempts = 0
        missing = attempts - records
        return watch, missing if missing >= max(TORN_RECORDS, TOLERANCE * attempts) else 0
    if records:
        watch.silent_looks = watch.silent_attempts = 0
    elif attempts:
        watch.silent_looks += 1
        watch.silent_attempts += attempts
    watch.part.take(attempts, records, steps)
    if watch.part.attempts >= BUNDLE_ATTEMPTS:
        _close(watch)
    if watch.suspicion and _healed(watch, attempts, records):
        return Watch(last=counts), 0
    return watch, _judge(watch)


def _steps(last: Counts, counts: Counts) -> dict[int, tuple[int, int]]:
    """What is new of each credential. One that was not there before has counted for who knows how long."""
    steps: dict[int, tuple[int, int]] = {}
    for id_, (attempts, records) in counts.credentials.items():
        if (before := last.credentials.get(id_)) is not None and before != (attempts, records):
            steps[id_] = (max(0, attempts - before[0]), max(0, records - before[1]))
    return steps


def _close(watch: Watch) -> None:
    part = watch.part
    surplus = max(0, part.records - part.attempts)
    part.records += watch.carry
    watch.carry = surplus
    if len(part.credentials) > _CREDENTIALS_KEPT:
        busiest = sorted(part.credentials.items(), key=lambda item: -item[1][0])
        part.credentials = dict(busiest[:_CREDENTIALS_KEPT])
    watch.bundles = [*watch.bundles, part][-WINDOW_BUNDLES:]
    watch.part = Bundle()


def _judge(watch: Watch) -> int:
    """Suspect if there is reason to; returns what is missing in the bundles that this condemns."""
    if sum(bundle.short for bundle in watch.bundles) >= SHORT_BUNDLES and not _somebody_is_well(watch.bundles):
        if watch.suspicion != "share":
            watch.suspicion = "share"
            return _count(watch.bundles)
    elif not watch.suspicion and watch.silent_looks >= SILENT_LOOKS and watch.silent_attempts >= SILENT_ATTEMPTS:
        watch.suspicion = "silence"
        return _count(_silent_end(watch.bundles))
    return _count(watch.bundles[-1:]) if watch.suspicion else 0


def _silent_end(bundles: list[Bundle]) -> Iterable[Bundle]:
    for bundle in reversed(bundles):
        if bundle.records:
            return
        yield bundle


def _count(bundles: Iterable[Bundle]) -> int:
    missing = 0
    for bundle in bundles:
        if bundle.short and not bundle.counted:
            bundle.counted = True
            missing += bundle.missing
    return missing


def _somebody_is_well(bundles: list[Bundle]) -> bool:
    """Whether there is a credential that was much used and whose records all but all arrived."""
    whole = Bundle()
    for bundle in bundles:
        whole.take(0, 0, bundle.credentials)
    return any(
        attempts >= WELL_ATTEMPTS and attempts - records < WELL_SHARE * attempts
        for attempts, records in whole.credentials.values()
    )


def _healed(watch: Watch, attempts: int, records: int) -> bool:
    if watch.suspicion == "silence":
        if attempts or records:
            watch.healing = watch.healing + attempts if records >= (1 - TOLERANCE) * attempts else 0
        return watch.healing >= HEALING_ATTEMPTS
    recent = watch.bundles[-HEALING_BUNDLES:]
    return sum(bundle.short for bundle in recent) <= HEALING_SHORT
