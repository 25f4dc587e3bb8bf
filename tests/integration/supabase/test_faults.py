"""Whatever goes wrong on the way to Supabase, in the end it has what the ledger has: every record, once.

Calls fail in all ways that a network and a gateway know. The API and PostgreSQL are killed and frozen, and the exporter
is killed, over and over, while requests continue. ``-s`` shows what happened. ``TEST_FAULTS`` is the number of faults,
400 by default.
"""

import os
import random
import time
from pathlib import Path
from signal import SIGINT, SIGQUIT

import pytest

from exporter.simulator.world import MANAGEMENT_KEY
from tests.fakes.demo import in_use
from tests.fakes.steered.proxy import SteeredProxy
from tests.stack.restless import Restless
from tests.stack.running import flow_in
from tests.stack.supabase.api import SupabaseApi
from tests.stack.supabase.comparison import assert_equal, waiting
from tests.stack.supabase.gate import FAULTS, Gate
from tests.stack.supabase.postgres import NEWEST, Database, Postgres
from tests.stack.waiting import wait_until

_FAULTS = int(os.environ.get("TEST_FAULTS", "400"))
_RECORDS = 10
_PAUSE_SECONDS = 0.1


class _Backend:
    """An API with its own PostgreSQL server, for the faults."""

    def __init__(self) -> None:
        self.postgres = Postgres(NEWEST)
        self.postgres.copy("own", of="project")
        self.database = Database(self.postgres, "own")
        self.database.migrate()
        self.api = SupabaseApi(self.database)
        self.met = dict.fromkeys(("api_killed", "api_frozen", "postgres_killed", "postgres_stopped"), 0)

    def mistreat(self, chance: random.Random) -> None:
        what = chance.choices(list(self.met), weights=[4, 4, 1, 1])[0]
        self.met[what] += 1
        if what == "api_frozen":
            self.api.freeze()
            time.sleep(0.1)
            self.api.thaw()
            return
        if what.startswith("postgres"):
            self.postgres.stop(SIGQUIT if what == "postgres_killed" else SIGINT)
            time.sleep(0.05)
            self.postgres.start()
        self.api.restart()

    def close(self) -> None:
        self.api.kill()
        self.postgres.close()


@pytest.mark.timeout(600)
def test_after_hundreds_of_faults_supabase_has_what_the_ledger_has(tmp_path: Path) -> None:
    chance, kills = random.Random(7), 0
    proxy, backend = SteeredProxy(key=MANAGEMENT_KEY, retention_seconds=3600), _Backend()

    def fault(path: str) -> str:
        # The few calls of a start fail less often: otherwise hardly any exporter would live to send a record.
        often = 0.9 if "exporter_book" in path else 0.2
        return chance.choice(FAULTS) if chance.random() < often else ""

    try:
        with (
            in_use(proxy, seed=5, records=_RECORDS, pause_seconds=_PAUSE_SECONDS) as url,
            Gate(lambda: backend.api.url, late_seconds=0.05) as gate,
        ):
            gate.fault = fault
            restless = Restless(
                url, tmp_path / "data", supabase_url=gate.url, supabase_secret_key=backend.api.secret_key
            )
            started = time.monotonic()
            try:
                while gate.met.total() - gate.met[""] + kills + sum(backend.met.values()) < _FAULTS:
                    restless.start()
                    time.sleep(chance.uniform(0.1, 6.0))
                    if chance.random() < 0.5:
                        backend.mistreat(chance)
                        time.sleep(chance.uniform(0.0, 0.5))
                    restless.kill()
                    kills += 1
                lasted = time.monotonic() - started
                gate.fault = lambda _path: ""
                proxy.publishing = False
                restless.start()
                wait_until(lambda: not proxy.counts().queued and not flow_in(tmp_path / "data").pending)
                wait_until(lambda: waiting(tmp_path / "data") == 0)
                restless.kill()
            finally:
                restless.end()
        number = assert_equal(tmp_path / "data", backend.database)
        print(f"\n{number} records, {kills} kills, {backend.met}, {dict(gate.met)} in {lasted:.0f} s")
        assert number > _FAULTS
        assert all(gate.met[name] for name in FAULTS)
    finally:
        backend.close()
