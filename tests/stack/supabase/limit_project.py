"""An exporter with its limits and its history; the test books its records and turns its clock."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from exporter.normalize.pseudonyms import Pseudonym
from exporter.wiring import Parts
from tests.benches.limits import LimitBench
from tests.benches.program import settings_for
from tests.fakes.guarding import TurnableClock
from tests.stack.supabase.api import SupabaseApi

Row = dict[str, Any]

PASS_SECONDS = 30
"""After this time all periodic work is due again, except the hourly work."""


class _Parts(Parts):
    """Parts that keep the names of clients and credentials."""

    @property
    def pseudonym(self) -> Pseudonym:
        return str


class LimitProject(LimitBench):
    """One exporter on a project, without its threads: ``work`` does their work of half a minute."""

    def __init__(
        self,
        folder: Path,
        api: SupabaseApi,
        limits: str = "",
        *,
        clock: TurnableClock,
        proxy: str = "p",
        **settings: Any,
    ) -> None:
        """``limits`` is the text of the limits file, empty for none. ``settings`` are further settings."""
        self._proxy = proxy
        folder.mkdir(exist_ok=True)
        self.api = api
        self._settings = settings
        super().__init__(folder, limits, clock=clock)

    def _open(self) -> None:
        settings = settings_for(
            self._folder,
            proxy_url="http://127.0.0.1:9",
            key="never asked",
            name=self._proxy,
            supabase_url=self.api.url,
            supabase_secret_key=SecretStr(self.api.secret_key),
            **({"exporter_limits_file": self.file} if self.file.exists() else {}),
            aliases=self.aliases,
            **self._settings,
        )
        parts = _Parts(settings, self.clock)
        self.ledger, self.board, self.prices = parts.ledger, parts.limits, parts.prices
        assert parts.remote is not None
        assert parts.history is not None
        self._remote, self.history = parts.remote, parts.history

    def close(self) -> None:
        """End the exporter."""
        self._remote.close()
        self.ledger.close()

    def restart(self) -> None:
        self.close()
        self._open()

    def work(self, passes: int = 1) -> None:
        """Let time pass, and do what is due: read the limits, evaluate them, write the status."""
        for _ in range(passes):
            self.clock.advance(PASS_SECONDS)
            self.ledger.periods.refresh()
            self.history.work()
            self.board.refresh()

    def insert(self, **columns: Any) -> int:
        """Add a row to ``rate_limit_configs``, as a user does in the SQL editor; return its id."""
        given = {"provider": "OpenAI", "tier_name": "Plus"} | columns
        self.api.database.run(
            f"insert into rate_limit_configs ({', '.join(given)}) values ({', '.join(map(literal, given.values()))});"
        )
        id_: int = self.api.database.value("(select max(id) from rate_limit_configs)")
        return id_

    def change(self, id_: int, **columns: Any) -> None:
        """Edit a row of ``rate_limit_configs``."""
        values = ", ".join(f"{name} = {literal(value)}" for name, value in columns.items())
        self.api.database.run(f"update rate_limit_configs set {values} where id = {id_};")

    def config(self, id_: int) -> Row:
        """A row of ``rate_limit_configs``."""
        (row,) = self.api.database.rows(f"select * from rate_limit_configs where id = {id_}")
        return row

    @property
    def statuses(self) -> dict[int, Row]:
        """The content of ``rate_limit_status``, by limit."""
        return {row["config_id"]: row for row in self.api.database.rows("select * from rate_limit_status order by 1")}


def literal(value: object) -> str:
    """A value as an SQL literal."""
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value)
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'"
