"""An exporter with its limits and its history, whose records a test books and whose time a test turns."""

from pathlib import Path
from typing import Any

from pydantic import SecretStr

from exporter.ledger.labels import Labels
from exporter.opening import open_history, open_ledger, open_limits, open_price_layers, open_remote
from tests.benches.limits import LimitBench
from tests.benches.program import settings_for
from tests.fakes.guarding import TurnableClock
from tests.stack.supabase.api import SupabaseApi

Row = dict[str, Any]

PASS_SECONDS = 30
"""After this time everything that is done now and then is due again, but for what is done once an hour."""


class LimitProject(LimitBench):
    """One exporter on a project, without its threads: ``work`` does what they do in half a minute."""

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
        """``limits`` is the text of the limits file, empty for none. ``settings`` are further ones."""
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
            **self._settings,
        )
        self.ledger = open_ledger(settings, self.clock)
        labels = Labels(self.ledger.dictionary, self.aliases, str)
        self.board = open_limits(settings, self.ledger, labels, self.clock)
        self.prices = open_price_layers(settings, self.ledger, self.clock)
        self._remote = open_remote(settings)
        assert self._remote is not None
        self.history = open_history(
            settings,
            remote=self._remote,
            ledger=self.ledger,
            labels=labels,
            pseudonym=str,
            limits=self.board,
            pricer=self.prices.pricer,
            clock=self.clock,
        )

    def close(self) -> None:
        """End the exporter."""
        assert self._remote is not None
        self._remote.close()
        self.ledger.close()

    def restart(self) -> None:
        self.close()
        self._open()

    def work(self, passes: int = 1) -> None:
        """Let time pass, and do what is due: read the limits, look, write the status."""
        for _ in range(passes):
            self.clock.advance(PASS_SECONDS)
            self.ledger.periods.refresh()
            self.history.work()
            self.board.refresh()

    def insert(self, **columns: Any) -> int:
        """A row of ``rate_limit_configs``, as a user adds it in the SQL editor; its id."""
        given = {"provider": "OpenAI", "tier_name": "Plus"} | columns
        self.api.database.run(
            f"insert into rate_limit_configs ({', '.join(given)}) values ({', '.join(map(literal, given.values()))});"
        )
        id_: int = self.api.database.value("(select max(id) from rate_limit_configs)")
        return id_

    def change(self, id_: int, **columns: Any) -> None:
        """Edit a row there."""
        values = ", ".join(f"{name} = {literal(value)}" for name, value in columns.items())
        self.api.database.run(f"update rate_limit_configs set {values} where id = {id_};")

    def config(self, id_: int) -> Row:
        """The row as it is there."""
        (row,) = self.api.database.rows(f"select * from rate_limit_configs where id = {id_}")
        return row

    @property
    def statuses(self) -> dict[int, Row]:
        """What is in ``rate_limit_status``, by limit."""
        return {row["config_id"]: row for row in self.api.database.rows("select * from rate_limit_status order by 1")}


def literal(value: object) -> str:
    """A value as SQL has it."""
    if value is None:
        return "null"
    if isinstance(value, int):
        return str(value)
    quoted = str(value).replace("'", "''")
    return f"'{quoted}'"
