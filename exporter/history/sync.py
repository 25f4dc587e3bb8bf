"""The history as a whole: what is done in which order, when it is tried again, and how it is doing.

One thread does all of it and nobody waits for it: booking, limits and metrics only ever read the ledger. What failed is
done again from the ledger, after a pause that grows with the number of failures.
"""

import random
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo

import structlog

from exporter.clock import Clock
from exporter.errors import HistoryAwayError, HistoryDataError, HistoryError, HistoryMisconfiguredError, LedgerError
from exporter.history.claims import claim, lease_owner_of
from exporter.history.client import Remote, expect_number
from exporter.history.predecessor.takeover import take_over
from exporter.history.recovery.checkpoint import Checkpoints, sign_of_key
from exporter.history.recovery.restore import Restore
from exporter.history.sender import Sender
from exporter.history.state import REASONS, HistoryStatus
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import CLAIMED, NEVER_CLAIMED
from exporter.normalize.pseudonyms import Pseudonym
from exporter.sentences import joined, say

SCHEMA_VERSION = 1
"""The version of the functions in supabase/migrations/ that this exporter calls."""

INTERVAL_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 300.0
_LONGEST_PAUSE_OF_SETUP_SECONDS = 60.0
_MEASURED_EVERY_SECONDS = 30.0

_log = structlog.get_logger("exporter.history")


@dataclass(frozen=True, slots=True)
class Task:
    """Something else that is done with Supabase now and then. ``run`` may raise HistoryError and LedgerError.

    It is given the owner's id and the claimed names. ``needs_claim``: it is left out while there are none.
    ``when_complete``: it is left out while records wait.
    """

    every_seconds: float
    run: "Callable[[str, Sequence[str]], None]"
    needs_claim: bool = True
    when_complete: bool = False


def check_schema(remote: Remote) -> int:
    """The version of the functions in the project. Raises HistoryError, also if it is too old."""
    version = expect_number(remote.call("exporter_schema_version"))
    if version < SCHEMA_VERSION:
        raise HistoryMisconfiguredError(
            "The project's tables are those of an older version ({version}; this one needs {needed}). Apply the files"
            " in supabase/migrations/ again: docs/supabase.md.",
            version=version,
            needed=SCHEMA_VERSION,
            reason="not_migrated",
        )
    return version


class History:
    """Keeps ``status`` up to date. ``work`` is for one thread; the rest may be used by any."""

    def __init__(
        self,
        *,
        remote: Remote,
        ledger: Ledger,
        labels: Labels,
        pseudonym: Pseudonym,
        clock: Clock,
        zone: tzinfo,
        retention_ms: int,
        polled: Collection[str],
        sign_of: Callable[[str], str],
        tasks: Sequence[Task] = (),
    ) -> None:
        """``retention_ms`` is how far back records are taken over into a new ledger.

        ``polled`` are the proxies of the settings. Of others in the ledger only what waits is sent, and their names are
        given back. ``sign_of`` gives the sign of one of them: see ``exporter.history.claims``.
        """
        self.status = HistoryStatus(since_ms=int(clock.now() * 1000), errors=dict.fromkeys(REASONS, 0))
        self._remote = remote
        self._ledger = ledger
        self._labels = labels
        self._pseudonym = pseudonym
        self._clock = clock
        self._zone = zone
        self._retention_ms = retention_ms
        self._polled = polled
        self._sign_of = sign_of
        self._tasks = tasks
        self._task_due: dict[Task, float] = {}
        self._lease_owner = lease_owner_of(ledger)
        self._owner = self._lease_owner.owner
        self._stopping = threading.Event()
        self._knows_schema = False
        self._problem: HistoryError | None = None
        self._senders: dict[str, Sender] = {}
        self._given_back: set[str] = set()
        self._failures = 0
        self._due = 0.0
        self._measured: float | None = None

    def work(self) -> None:
        """Do what is to be done, if it is time. Never raises HistoryError or LedgerError: see ``status``."""
        try:
            self._measure()
            if self._clock.monotonic() >= self._due:
                self._work()
        except LedgerError as exc:
            self._failed(
                exc, state="ledger", sentence=joined(say("The ledger cannot be read for the history."), str(exc))
            )
        except HistoryError as exc:
            self._count(exc)
            state = "away" if isinstance(exc, HistoryAwayError) else "misconfigured"
            self._failed(exc, state="name_taken" if exc.reason == "name_taken" else state, sentence=self._advice(exc))
        except Exception as exc:  # noqa: BLE001 - a fault here, or an answer of a shape that nobody foresaw
            if self.status.state != "internal_error":
                _log.exception("history_fault")
            sentence = say(
                "The exporter has a fault ({kind}), the log shows it. It is tried again.", kind=type(exc).__name__
            )
            self._failed(exc, state="internal_error", sentence=sentence)

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()

    def ask(self) -> None:
        """Try again at the next opportunity, whatever went wrong before."""
        self._due = 0.0

    # --- one pass -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        self._check_schema()
        self._problem = None
        self._run_free_tasks()  # however long the rest takes
        self._claim_all()
        more = True
        while more and not self._stopping.is_set():
            more = False
            for proxy, sender in list(self._senders.items()):
                more |= self._send(proxy, sender)
                self._measure()
            self._run_tasks([task for task in self._tasks if not task.when_complete])
            if more:
                self._enter(
                    "catching_up", say("{number} records wait to be written to Supabase.", number=self.status.waiting)
                )
        if self._stopping.is_set():
            return
        if self._problem is not None:
            raise self._problem
        self._run_tasks(self._tasks)
        if self._problem is not None:
            raise self._problem
        self._failures = 0
        self._measure(anyway=True)
        self.status = replace(self.status, last_success_ms=int(self._clock.now() * 1000))
        self._enter("ok", say("All records are in Supabase."))

    def _check_schema(self) -> None:
        if self._knows_schema:
            return
        check_schema(self._remote)
        self._knows_schema = True

    def _send(self, proxy: str, sender: Sender) -> bool:
        """Send a batch of one proxy; whether more of it waits."""
        try:
            more = sender.send()
        except HistoryMisconfiguredError as exc:
            if exc.reason != "name_taken":
                raise
            del self._senders[proxy]
            if proxy in self._polled:
                self._put_off(exc)  # claimed anew at the next pass, or told
                return False
            self._settle(proxy)
            return proxy in self._senders
        except HistoryDataError as exc:
            self._put_off(exc)
            return False
        self._failures = 0  # a slow server gets small batches, and no long pauses too
        if not more and proxy not in self._polled:
            self._give_back(sender.name)
            del self._senders[proxy]
        return more

    def _claim_all(self) -> None:
        """Claim the proxies that are not claimed yet. What is wrong with one does not concern the others."""
        for proxy in list(self._ledger.dictionary.proxies):
            if proxy in self._senders or self._stopping.is_set():
                continue
            try:
                if proxy in self._polled:
                    self._claim(proxy)
                else:
                    self._settle(proxy)
            except HistoryError as exc:
                self._put_off(exc)
                if isinstance(exc, HistoryAwayError):
                    return

    def _settle(self, proxy: str) -> None:
        """Taken out of the settings: what waits is still written, and then another exporter may have the name.

        If one has it already, what waits is written under a name that nobody else can have.
        """
        if not self._ledger.backlog.size(proxy):
            if proxy not in self._given_back:
                self._give_back(proxy)
            return
        try:
            self._claim(proxy)
        except HistoryMisconfiguredError as exc:
            if exc.reason != "name_taken":
                raise
            name = f"{proxy}-{self._owner[:8]}"
            claim(self._remote, name, self._lease_owner, sign=None, is_first=False)
            self._senders[proxy] = self._sender(proxy, name)
            _log.warning(
                "history_name_changed",
                proxy=proxy,
                name=name,
                meaning="the proxy is not in the settings any more and another exporter has its name, so what waits is"
                " written under this one",
            )

    def _give_back(self, name: str) -> None:
        self._remote.call("exporter_release", p_proxy=name, p_owner=self._owner)
        self._given_back.add(name)

    def _claim(self, proxy: str) -> None:
        backlog = self._ledger.backlog
        deleted_before = claim(
            self._remote,
            proxy,
            self._lease_owner,
            sign=self._sign_of(proxy) if proxy in self._polled else None,
            is_first=backlog.stage(proxy) == NEVER_CLAIMED,
        )
        self._recognize_project()
        if backlog.stage(proxy) == NEVER_CLAIMED:
            backlog.enter_stage(proxy, CLAIMED)
        if backlog.stage(proxy) == CLAIMED:
            now_ms = int(self._clock.now() * 1000)
            restore = Restore(
                self._remote, self._ledger, self._labels, self._pseudonym, proxy, stopping=self._stopping.is_set
            )
            is_complete = restore.run(
                since_ms=now_ms - self._retention_ms,
                deleted_before=deleted_before,
                now_ms=now_ms,
                tell=self._tell_restoring,
            )
            if not is_complete:
                return
        take_over(self._remote, self._ledger.dictionary, self._pseudonym, proxy=proxy, owner=self._owner)
        self._senders[proxy] = self._sender(proxy, proxy)
        _log.info("history_claimed", proxy=proxy)

    def _sender(self, proxy: str, name: str) -> Sender:
        return Sender(
            proxy,
            name,
            self._owner,
            remote=self._remote,
            ledger=self._ledger,
            labels=self._labels,
            checkpoints=Checkpoints(sign_of_key(self._pseudonym)),
            clock=self._clock,
            zone=self._zone,
        )

    def _tell_restoring(self, sentence: str) -> None:
        self._enter("restoring", sentence)
        self._run_free_tasks()  # it may take long

    def _recognize_project(self) -> None:
        """Begin anew where the project is another one, or was emptied: what was sent before is not there."""
        project = self._remote.first("exporter_project", "switched_at", newest="id", where={})
        if project is not None and self._ledger.backlog.enter_project(str(project["switched_at"])):
            self._senders.clear()
            self._given_back.clear()
            _log.warning("history_project_changed", meaning="all records of the ledger are sent to it")

    def _run_free_tasks(self) -> None:
        self._run_tasks([task for task in self._tasks if not task.needs_claim])

    def _run_tasks(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            if self._clock.monotonic() < self._task_due.get(task, 0.0) or (task.needs_claim and not self._senders):
                continue
            self._task_due[task] = self._clock.monotonic() + task.every_seconds
            try:
                task.run(self._owner, [sender.name for sender in self._senders.values()])
            except HistoryError as exc:
                self._put_off(exc)
                if exc.reason == "name_taken":
                    self._senders.clear()  # claimed anew at the next pass, or told

    def _put_off(self, exc: HistoryError) -> None:
        """Go on with what it does not concern. At the end of the pass one of the problems is its outcome."""
        if self._problem is not None:
            self._count(self._problem)
        self._problem = exc

    # --- how it is doing ------------------------------------------------------------------------------------------

    def _measure(self, *, anyway: bool = False) -> None:
        """Count what waits: not at each batch, because a large backlog takes a while to count."""
        now = self._clock.monotonic()
        anyway |= not self.status.is_well  # then nothing else is done, and everybody looks at it
        if not anyway and self._measured is not None and now - self._measured < _MEASURED_EVERY_SECONDS:
            return
        backlog = self._ledger.backlog
        waiting = sum(backlog.size(proxy) for proxy in list(self._ledger.dictionary.proxies))
        self.status = replace(self.status, waiting=waiting, refused=backlog.refused())
        self._measured = now

    def _count(self, exc: HistoryError) -> None:
        errors = self.status.errors
        self.status = replace(self.status, errors={**errors, exc.reason: errors[exc.reason] + 1})

    def _failed(self, exc: Exception, *, state: str, sentence: str) -> None:
        if self._stopping.is_set():
            return
        self._failures += 1
        self._knows_schema &= state != "misconfigured"
        longest = _LONGEST_PAUSE_SECONDS if state == "away" else _LONGEST_PAUSE_OF_SETUP_SECONDS
        pause = min(longest, _FIRST_PAUSE_SECONDS * 2 ** min(self._failures - 1, 10))
        # Not all exporters of a project at once, when it is back.
        self._due = self._clock.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._enter(state, sentence)
        _log.debug("history_failed", error=str(exc), failures=self._failures)

    def _advice(self, exc: HistoryError) -> str:
        if isinstance(exc, HistoryMisconfiguredError):
            return joined(str(exc), say("Records are kept in the ledger until then."))
        if isinstance(exc, HistoryDataError):
            return joined(str(exc), say("It is tried again."))
        return joined(str(exc), say("It is tried again; records are kept in the ledger until then."))

    def _enter(self, state: str, sentence: str) -> None:
        before = self.status
        changed = before.state != state
        since_ms = int(self._clock.now() * 1000) if changed else before.since_ms
        self.status = replace(before, state=state, sentence=sentence, since_ms=since_ms)
        if changed and {state, before.state} != {"ok", "catching_up"}:
            log = _log.info if self.status.is_well else _log.warning
            log("history_state", state=state, message=sentence)
