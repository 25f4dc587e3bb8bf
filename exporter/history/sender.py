"""Sends a proxy's backlog in the order of booking, and with it shown names, the checkpoint, and windows.

A batch is sent until it is confirmed, and then the cursor moves. The database recognizes a record that is sent twice
because the confirmation was lost. A record that it refuses is found by halving the batch, and set aside.
"""

import gc
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from exporter.clock import Clock
from exporter.errors import HistoryAwayError, HistoryDataError, HistoryMisconfiguredError
from exporter.history.supabase_client import PAGE_ROWS, Remote, Row, expect
from exporter.ledger.history.backlog import Outgoing, SentEntry
from exporter.ledger.history.checkpoint import OF_CLIENTS, ProxyState, changed, checkpoint
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.normalize.pseudonyms import Pseudonym, sign_of_key
from exporter.sentences import joined, say

_FEWEST_ROWS = 50
_SUSPICIOUS = 8
"""After this many refusals in a row, samples from the rest of the batch are tried."""
_HEARTBEAT_SECONDS = 240.0
_OF_READING = ("scope", "window_seconds", "used_ratio", "resets_ms", "status", "observed_ms", "source", "inferred")
"""What the history has of a reading. The rest, such as the money spent under a cap, stays in the ledger."""

_log = structlog.get_logger("exporter.history")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The two ends that the history joins, the ledger and the project, and what it needs for that."""

    remote: Remote
    ledger: Ledger
    shown_names: ShownNames
    pseudonym: Pseudonym
    clock: Clock


class _AllRefusedError(HistoryMisconfiguredError):
    """The database refuses all records, whatever their content."""


class Sender:
    """Sends the backlog of one proxy. For one thread."""

    def __init__(self, ends: Ends, proxy: str, name: str, owner: str) -> None:
        """``proxy`` is its name in the ledger, ``name`` the claimed name in the project."""
        self.name = name
        self._proxy = proxy
        self._owner = owner
        self._remote, self._ledger, self._clock = ends.remote, ends.ledger, ends.clock
        self._shown_names = ends.shown_names
        self._key_sign = sign_of_key(ends.pseudonym)
        self._sent_state: ProxyState | None = None
        self._sent_names: dict[tuple[str, str], str] = {}
        self._sent_quotas: dict[tuple[str, str, str], Row] = {}
        self._most_rows = PAGE_ROWS
        self._called: float | None = None
        self._tried_refused = False
        self._refusal: HistoryDataError | None = None
        self._too_late = 0
        self._frozen = 0

    def send(self) -> bool:
        """Send one batch. Returns whether more waits. Raises HistoryError and LedgerError.

        After a HistoryDataError, everything but the checkpoint is written.
        """
        self._refusal = None
        outgoing = self._ledger.backlog.read(self._proxy, limit=self._most_rows)
        state = outgoing.state
        news = checkpoint(state, self._sent_state, key_sign=self._key_sign)
        named = changed(names_to_send(self._ledger, self._shown_names, self._proxy), self._sent_names)
        names = [{"kind": kind, "label": name, "shown": shown} for (kind, name), shown in named.items()]
        # Without a heartbeat, another exporter could take over the claim.
        quiet = self._called is None or self._clock.monotonic() - self._called >= _HEARTBEAT_SECONDS
        if outgoing.entries or names or news is not None or quiet:
            self._book(outgoing, names, news)
        self._sent_names |= named
        if state is None:
            return True
        if self._refusal is None:
            self._sent_state = state
        self._log_left_out()
        self._send_quotas()
        if not self._tried_refused:
            self._tried_refused = True
            self._try_refused()
        if self._refusal is not None:
            raise self._refusal
        return False

    def _book(self, outgoing: Outgoing, names: list[Row], news: Row | None) -> None:
        refused: dict[int, str] = {}
        try:
            self._send_rows(outgoing.entries, p_labels=names, p_checkpoint=news)
        except HistoryDataError:
            refused = self._halved(outgoing.entries)
            self._send_apart(names, news)
        except HistoryAwayError:
            self._most_rows = max(_FEWEST_ROWS, self._most_rows // 2)  # too many for a slow server
            raise
        else:
            self._most_rows = min(PAGE_ROWS, self._most_rows + _FEWEST_ROWS)
        self._ledger.backlog.sent(self._proxy, outgoing.until, refused=refused, now_ms=self._clock.now_ms())
        if refused:
            _log.warning(
                "history_records_set_aside",
                proxy=self._proxy,
                records=len(refused),
                meaning="the database refuses them; they stay in the ledger and are tried again at the next start",
                reason=next(iter(refused.values())),
            )

    def _halved(self, entries: Sequence[SentEntry]) -> dict[int, str]:
        """Send the entries in ever smaller halves. Returns the refused ones by id, each with the reason.

        Raises _AllRefusedError if the database seems to accept none: then their content is not the cause.
        """
        refused: dict[int, str] = {}
        taken = False
        waiting = [entries] if entries else []
        while waiting:
            part = waiting.pop()
            try:
                self._send_rows(part)
                taken = True
            except HistoryDataError as exc:
                if len(part) > 1:
                    waiting += [part[len(part) // 2 :], part[: len(part) // 2]]  # the earlier half goes first
                    continue
                refused[part[0][0]] = str(exc)
                if len(refused) == _SUSPICIOUS and not taken:
                    # Begin at the far end of the batch. Sending a record again adds nothing.
                    taken = any(not self._halved(later[-1:]) for later in waiting)
                    if not taken:
                        raise _AllRefusedError(
                            f"{exc} Every record is refused: is there a constraint or trigger that is not the"
                            " exporter's?",
                            reason=exc.reason,
                        ) from exc
        return refused

    def _send_rows(self, entries: Sequence[SentEntry], **more: object) -> None:
        rows = f"[{','.join(row for _, row in entries)}]"
        answer = expect(dict, self._call("exporter_book", p_rows=rows, **more))
        gc.collect(0)  # the client's request refers to itself, and a megabyte of rows would stay with each
        self._too_late += answer["refused"]
        self._frozen += answer["frozen"]

    def _send_apart(self, names: list[Row], news: Row | None) -> None:
        if names or news is None:  # either call is a heartbeat
            self._call_leniently("exporter_book", p_rows="[]", p_labels=names)
        if news is not None:
            try:
                self._call("exporter_save_checkpoint", p_checkpoint=news)
            except HistoryDataError as exc:
                what = say(
                    "This concerns the state of proxy {proxy!r}, from which a lost ledger is restored; its records are"
                    " written.",
                    proxy=self._proxy,
                )
                self._refusal = HistoryDataError(joined(str(exc), what), reason=exc.reason)

    def _send_quotas(self) -> None:
        """Send those windows of the proxy's providers that have changed."""
        name_store = self._ledger.name_store
        now: dict[tuple[str, str, str], Row] = {}
        for (id_, window, scope), quota in self._ledger.quotas.current().items():
            credential = name_store.credentials[id_]
            if credential.proxy == name_store.proxies[self._proxy]:
                now[credential.long_name, window, scope] = {
                    **{name: getattr(quota.reading, name) for name in _OF_READING},
                    **{"credential": credential.long_name, "quota": window, "early_resets": quota.early_resets},
                }
        if quotas := changed(now, self._sent_quotas):
            self._call_leniently("exporter_save_quotas", p_rows=list(quotas.values()))
            self._sent_quotas |= quotas

    def _call_leniently(self, function: str, **parameters: object) -> None:
        """Send something other than records. A refusal is logged, and must not hold up the records."""
        try:
            self._call(function, **parameters)
        except HistoryDataError as exc:
            _log.warning("history_refused", proxy=self._proxy, call=function, message=str(exc))

    def _try_refused(self) -> None:
        """Try the set-aside records once after a start: a newer version or schema may get them accepted."""
        last = -(2**63)
        while entries := self._ledger.backlog.set_aside(self._proxy, after=last, limit=PAGE_ROWS):
            last = entries[-1][0]
            try:
                still = self._halved(entries)
            except _AllRefusedError:
                continue  # the database accepts other records
            self._ledger.backlog.accepted([id_ for id_, _ in entries if id_ not in still])

    def _log_left_out(self) -> None:
        """Log the records of days that are closed in Supabase, once for the whole backlog."""
        if self._too_late:
            _log.warning(
                "history_records_too_late",
                proxy=self._proxy,
                records=self._too_late,
                meaning="the records of their days have been deleted from Supabase, so they are not written there",
            )
        if self._frozen:
            _log.info(
                "history_days_frozen",
                proxy=self._proxy,
                records=self._frozen,
                meaning="they are written, but the rows of their days in daily_stats no longer change",
            )
        self._too_late = self._frozen = 0

    def _call(self, function: str, **parameters: object) -> object:
        answer = self._remote.call(function, p_proxy=self.name, p_owner=self._owner, **parameters)
        self._called = self._clock.monotonic()
        return answer


def names_to_send(ledger: Ledger, shown_names: ShownNames, proxy: str) -> dict[tuple[str, str], str]:
    """How the clients and credentials of a proxy are shown, by kind and masked name; credentials by their long one."""
    id_of_proxy = (ledger.name_store.proxies[proxy],)
    with ledger.reading() as connection:  # the name store may hold names that are not committed, and drop them
        clients = connection.execute(f"select id, label {OF_CLIENTS}", id_of_proxy).fetchall()
        credentials = connection.execute("select id, label from credential where proxy = ?", id_of_proxy).fetchall()
    shown = {("client", name): shown_names.client(id_) for id_, name in clients}
    return shown | {("credential", name): shown_names.credential(id_) for id_, name in credentials}
