"""The history as a whole: the order of work, retries, and the state.

One thread does all of it, and nothing waits for it: booking, limits and metrics need only the ledger. After a failure
the thread pauses, longer with each further failure, and starts again from the ledger.
"""

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from exporter.errors import HistoryDataError, HistoryError, HistoryMisconfiguredError, LedgerError
from exporter.history.claims import claim, owner_of
from exporter.history.predecessor.takeover import take_over
from exporter.history.preflight import check_schema
from exporter.history.restore import Restore
from exporter.history.sender import Ends, Sender
from exporter.history.state import REASONS, HistoryStatus
from exporter.ledger.schema import CLAIMED, RESTORED
from exporter.sentences import counted, joined, say

INTERVAL_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 300.0
_LONGEST_PAUSE_OF_SETUP_SECONDS = 60.0
_MEASURED_EVERY_SECONDS = 30.0

_OUTCOMES = (
    (HistoryMisconfiguredError, "misconfigured", say("The ledger keeps the records until then.")),
    (HistoryDataError, "misconfigured", say("The exporter tries again.")),
    (HistoryError, "away", say("The exporter tries again; the ledger keeps the records until then.")),
)
"""By kind of error: the state, and the end of its sentence."""

_ENDS_PASS = frozenset({"unreachable", "too_many_requests", "key_refused", "wrong_address"})
"""Reasons that concern the whole project, so that nothing else can succeed. Others may concern one proxy's rows."""
_PUT_OFF_SECONDS = 60.0
"""How long a proxy that failed is left out of a pass that goes on with the backlog of others."""

_log = structlog.get_logger("exporter.history")


@dataclass(frozen=True, slots=True)
class Task:
    """Other periodic work with Supabase.

    ``run`` gets the owner's id and the claimed names, and returns True if there is more to do. It may raise
    HistoryError and LedgerError. ``needs_claim`` skips it while no name is claimed, ``when_complete`` while records
    wait.
    """

    every_seconds: float
    run: "Callable[[str, Sequence[str]], bool | None]"
    needs_claim: bool = True
    when_complete: bool = False


class History:
    """Keeps ``status`` up to date. ``work`` is for one thread, the rest for any."""

    def __init__(
        self,
        ends: Ends,
        *,
        retention_ms: int,
        signs: Mapping[str, str],
        tasks: Sequence[Task] = (),
    ) -> None:
        """``retention_ms`` is how far back a new ledger takes over records.

        ``signs`` are those of the proxies in the settings: see ``proxy_signs``. For other proxies in the ledger, only
        the backlog is sent, and their names are given back.
        """
        self.status = HistoryStatus(since_ms=ends.clock.now_ms(), errors=dict.fromkeys(REASONS, 0))
        self._ends = ends
        self._remote, self._ledger, self._clock = ends.remote, ends.ledger, ends.clock
        self._retention_ms = retention_ms
        self._signs = signs
        self._tasks = tasks
        self._task_due: dict[Task, float] = {}
        self._owner = owner_of(ends.ledger)
        self._stopping = threading.Event()
        self._knows_schema = False
        self._problem: HistoryError | None = None
        self._senders: dict[str, Sender] = {}
        self._given_back: set[str] = set()
        self._failures = 0
        self._logged = self.status.state
        self._due = 0.0
        self._measured: float | None = None

    def work(self) -> None:
        """Do what is due. Never raises HistoryError or LedgerError: see ``status``."""
        try:
            self._measure()
            if self._clock.monotonic() >= self._due:
                self._work()
        except LedgerError as exc:
            self._failed(exc, state="ledger", sentence=joined(say("The history cannot read the ledger."), str(exc)))
        except HistoryError as exc:
            self._count(exc)
            state, advice = next((state, advice) for kind, state, advice in _OUTCOMES if isinstance(exc, kind))
            state = "name_taken" if exc.reason == "name_taken" else state
            self._failed(exc, state=state, sentence=joined(str(exc), advice))
        except Exception as exc:  # noqa: BLE001 - a fault here, or an answer of an unforeseen shape
            if self.status.state != "internal_error":
                _log.exception("history_fault")
            sentence = say("The exporter failed ({kind}); see the log. It tries again.", kind=type(exc).__name__)
            self._failed(exc, state="internal_error", sentence=sentence)

    def stop(self) -> None:
        """Start no new work."""
        self._stopping.set()

    def ask(self) -> None:
        """Skip the rest of a pause: try again at the next run."""
        self._due = 0.0

    # --- one pass -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        if not self._knows_schema:
            check_schema(self._remote)
            self._knows_schema = True
        self._problem = None
        self._run_free_tasks()  # before the rest, which may take long
        self._claim_all()
        more = True
        put_off_until: dict[str, float] = {}
        while more and not self._stopping.is_set():
            more = False
            for proxy, sender in list(self._senders.items()):
                if self._clock.monotonic() < put_off_until.get(proxy, 0.0):
                    continue
                try:
                    more |= self._send(proxy, sender)
                except HistoryError as exc:
                    self._put_off(exc)
                    put_off_until[proxy] = self._clock.monotonic() + _PUT_OFF_SECONDS
                    if exc.reason in _ENDS_PASS or put_off_until.keys() >= self._senders.keys():
                        raise
                self._measure()
            self._run_tasks([task for task in self._tasks if not task.when_complete])
            if more:
                waiting = counted(
                    "{number} record is waiting to be written to Supabase.",
                    "{number} records are waiting to be written to Supabase.",
                    self.status.waiting,
                )
                self._enter("catching_up", waiting)
        if self._stopping.is_set():
            return
        if self._problem is None:
            self._run_tasks(self._tasks)
        if self._problem is not None:
            raise self._problem
        self._failures = 0
        self._measure(anyway=True)
        self.status = replace(self.status, last_success_ms=self._clock.now_ms())
        self._enter("ok", say("All records are in Supabase."))

    def _send(self, proxy: str, sender: Sender) -> bool:
        """Send a batch of one proxy. Returns whether more waits."""
        try:
            more = sender.send()
        except HistoryMisconfiguredError as exc:
            if exc.reason != "name_taken":
                raise
            del self._senders[proxy]
            if proxy in self._signs:
                self._put_off(exc)  # the next pass claims it again, or reports why not
                return False
            self._settle(proxy)
            return proxy in self._senders
        except HistoryDataError as exc:
            self._put_off(exc)
            return False
        self._failures = 0  # a slow server gets small batches, but no long pauses as well
        if not more and proxy not in self._signs:
            self._give_back(proxy, sender.name)
            del self._senders[proxy]
        return more

    def _claim_all(self) -> None:
        """Claim the proxies that are not claimed yet. A problem with one does not affect the others."""
        for proxy in list(self._ledger.name_store.proxies):
            if proxy in self._senders or self._stopping.is_set():
                continue
            try:
                if proxy in self._signs:
                    self._claim(proxy)
                else:
                    self._settle(proxy)
            except HistoryError as exc:
                self._put_off(exc)
                if exc.reason in _ENDS_PASS:
                    return

    def _settle(self, proxy: str) -> None:
        """Write the backlog of a proxy that was removed from the settings, then give its name back.

        If another exporter already has the name, the backlog is written under a unique name.
        """
        if not self._ledger.backlog.size(proxy):
            if proxy not in self._given_back:
                self._give_back(proxy, proxy)
            return
        try:
            self._claim(proxy)
        except HistoryMisconfiguredError as exc:
            if exc.reason != "name_taken":
                raise
            name = f"{proxy}-{self._owner[:8]}"
            claim(self._remote, self._ledger, name, sign=None)
            self._senders[proxy] = Sender(self._ends, proxy, name, self._owner)
            _log.warning(
                "history_name_changed",
                proxy=proxy,
                name=name,
                meaning="the proxy is no longer in the settings and another exporter has its name, so the waiting"
                " records are written under this one",
            )

    def _give_back(self, proxy: str, name: str) -> None:
        """Give back the ``name`` that a proxy has in the project."""
        self._remote.call("exporter_release", p_proxy=name, p_owner=self._owner)
        self._given_back.add(name)
        self._ledger.snapshots.forget(proxy)  # another exporter may book what it counts from now on

    def _claim(self, proxy: str) -> None:
        backlog = self._ledger.backlog
        lacks_some = self._lacks_some(proxy)
        deleted_before = claim(self._remote, self._ledger, proxy, sign=self._signs.get(proxy))
        self._recognize_project()
        if backlog.stage(proxy) != RESTORED or lacks_some:
            backlog.enter_stage(proxy, CLAIMED)
            restore = Restore(self._ends, proxy)
            for sentence in restore.steps(retention_ms=self._retention_ms, deleted_before=deleted_before):
                if self._stopping.is_set():
                    return
                self._enter("restoring", sentence)
                self._run_free_tasks()  # restoring may take long
        take_over(self._remote, self._ledger.name_store, self._ends.pseudonym, proxy=proxy, owner=self._owner)
        self._senders[proxy] = Sender(self._ends, proxy, proxy, self._owner)
        _log.info("history_claimed", proxy=proxy)

    def _lacks_some(self, proxy: str) -> bool:
        """Whether another exporter has, or had, the name, so that this ledger lacks what that one booked.

        If the claim will succeed, the ledger notes this first: afterwards the name looks as if it had never left. A
        ledger that remembers counts without details lacks nothing: they rise by what the other exporter booked.
        """
        held = self._remote.first("exporter_proxies", "owner,given_back", newest="name", where={"name": proxy})
        if held is None or held["owner"] == self._owner or self._ledger.snapshots.last(proxy).had_no_details:
            return False
        backlog = self._ledger.backlog
        if held["given_back"] and proxy in self._signs and backlog.stage(proxy) == RESTORED:
            backlog.enter_stage(proxy, CLAIMED)
        return True

    def _recognize_project(self) -> None:
        """Start over if the project is another one, or was emptied: it lacks what was sent before."""
        project = self._remote.first("exporter_project", "switched_at", newest="id", where={})
        if project is not None and self._ledger.backlog.enter_project(str(project["switched_at"])):
            self._senders.clear()
            self._given_back.clear()
            _log.warning("history_project_changed", meaning="all records in the ledger are sent to it")

    def _run_free_tasks(self) -> None:
        self._run_tasks([task for task in self._tasks if not task.needs_claim])

    def _run_tasks(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            if self._clock.monotonic() < self._task_due.get(task, 0.0) or (task.needs_claim and not self._senders):
                continue
            self._task_due[task] = self._clock.monotonic() + task.every_seconds
            try:
                while task.run(self._owner, [sender.name for sender in self._senders.values()]):
                    if self._stopping.is_set():
                        return
            except HistoryError as exc:
                self._put_off(exc)
                if exc.reason == "name_taken":
                    self._senders.clear()  # the next pass claims them again, or reports why not

    def _put_off(self, exc: HistoryError) -> None:
        """Note a problem, and continue with what it does not affect. The last problem is the outcome of the pass."""
        if self._problem is not None:
            self._count(self._problem)
        self._problem = exc

    # --- the state ------------------------------------------------------------------------------------------------

    def _measure(self, *, anyway: bool = False) -> None:
        """Count what waits, but not after each batch: counting a large backlog takes a while."""
        now = self._clock.monotonic()
        anyway |= not self.status.is_well  # then there is no other work, and people watch the number
        if not anyway and self._measured is not None and now - self._measured < _MEASURED_EVERY_SECONDS:
            return
        backlog = self._ledger.backlog
        waiting = sum(backlog.size(proxy) for proxy in list(self._ledger.name_store.proxies))
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
        # So that the exporters of a project do not all return at once.
        self._due = self._clock.monotonic() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._enter(state, sentence)
        _log.debug("history_failed", error=str(exc), failures=self._failures)

    def _enter(self, state: str, sentence: str) -> None:
        before = self.status
        changed = before.state != state
        since_ms = self._clock.now_ms() if changed else before.since_ms
        self.status = replace(before, state=state, sentence=sentence, since_ms=since_ms)
        # A backlog that is soon sent is nothing special. But if its state is in the log, its end must be, too.
        if state != self._logged and (state, self._logged) != ("catching_up", "ok"):
            self._logged = state
            log = _log.info if self.status.is_well else _log.warning
            log("history_state", state=state, message=sentence)
