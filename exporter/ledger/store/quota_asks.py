"""What providers were asked, and what they said besides windows.

Both are in memory and on disk, so that after a restart no provider is asked sooner than it wants.
"""

from collections.abc import Mapping

import msgspec

from exporter.ledger.database import Database
from exporter.ledger.statements import insert, listed
from exporter.ledger.views.quotas import Quotas
from exporter.quotas.base import AccountState, Report
from exporter.quotas.pacing import LastAsked
from exporter.quotas.values import OTHER

QuestionKey = tuple[int, int]
"""A credential, and the number of one of its provider's questions."""

_KEY = ("credential", "question")
_COLUMNS = (*_KEY, *LastAsked.__struct_fields__)
_SAVE = insert("quota_ask", _COLUMNS, replace=True)
_SAVE_TOLD = insert("quota_account", ("credential", "told"), replace=True)


class QuotaAsks:
    """Stores questions and answers: ``asked`` is every question's last time, ``told`` the answers by credential.

    ``outlook`` is in memory only: by credential, the question about its windows, and when it is due with all others
    considered. All three are replaced, never changed.
    """

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas
        self.outlook: Mapping[int, LastAsked] = {}
        with database.transaction() as connection:
            told = connection.execute("select credential, told from quota_account").fetchall()
            asked = connection.execute(f"select {listed(_COLUMNS)} from quota_ask").fetchall()
        self.told: Mapping[int, AccountState] = {
            id_: msgspec.json.decode(text, type=AccountState) for id_, text in told
        }
        self.asked: Mapping[QuestionKey, LastAsked] = {(row[0], row[1]): LastAsked(*row[2:]) for row in asked}

    def state_of(self, credential: int) -> AccountState:
        """What an account's provider has reported, as long as the exporter asks it."""
        told = None if self._quotas.is_unasked(credential) else self.told.get(credential)
        return told or AccountState()

    def plan_of(self, credential: int, listed: str) -> str:
        """An account's plan: as its provider says, else as the proxy lists it; empty if nobody knows."""
        told = self.state_of(credential).plan
        return told if told not in ("", OTHER) else listed or told

    def follow_clock(self, now_ms: int) -> None:
        """If somebody has set the clock back, date calls and readings from the future back. Raises LedgerError."""
        self.asked = {key: last.at(now_ms) for key, last in self.asked.items()}
        self._quotas.follow_clock(now_ms)

    def save(self, key: QuestionKey, last: LastAsked) -> None:
        """Store when a question was asked. Raises LedgerError."""
        with self._database.transaction() as connection:
            connection.execute(_SAVE, (*key, *msgspec.structs.astuple(last)))
        self.asked = {**self.asked, key: last}

    def take(self, credential: int, asked: Mapping[QuestionKey, LastAsked], report: Report, *, now_ms: int) -> None:
        """Store what was asked about ``credential``, and the answer. Raises LedgerError.

        A refusal says nothing, so it changes no window.
        """
        before = self.told.get(credential, AccountState())
        told = before.after(report, now_ms=now_ms)
        with self._database.lock:
            with self._database.transaction() as connection:
                connection.executemany(_SAVE, [(*key, *msgspec.structs.astuple(last)) for key, last in asked.items()])
                readings = [(credential, reading) for reading in report.readings]
                quotas = self._quotas.note(connection, readings, now_ms=now_ms)
                self._quotas.forget_caps(connection, credential, report.readings)
                if told != before:
                    connection.execute(_SAVE_TOLD, (credential, msgspec.json.encode(told).decode()))
            self._quotas.take_over(quotas)
        self.told = {**self.told, credential: told}
        self.asked = {**self.asked, **asked}
