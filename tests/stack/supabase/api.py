"""A real Supabase-compatible API in front of a PostgreSQL database, for the ``supabase`` client. A test tool only.

It differs from the hosted service in ways that tests must not rely on: numbers of more than 53 bits lose digits on
their way into tables (send them as text), it does not see tables made after its start, and it limits neither rate nor
size nor time.
"""

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
from supabase import Client, ClientOptions, create_client

from tests.stack import loopback
from tests.stack.forks import die_with_parent
from tests.stack.supabase.postgres import (
    CHECKOUT,
    FOLDER,
    Database,
    start_anyhow,
    wait_until,
)
from tests.stack.supabase.session import SqlError

_TOOLS = CHECKOUT / ".tools" / "supabase"
_MISSING = "This test needs a Supabase server: run make test (or scripts/fetch-supabase)."


class SupabaseApi:
    """A running server. Close it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.secret_key = f"sb_secret_{secrets.token_urlsafe(24)}"
        self.publishable_key = f"sb_publishable_{secrets.token_urlsafe(24)}"
        self._port = loopback.free_port()
        self._process: subprocess.Popen[bytes] | None = None
        if not (_TOOLS / "stamp").exists():
            pytest.fail(_MISSING, pytrace=False)
        self._node = (_TOOLS / "node").read_text().strip()
        database.run((FOLDER / "api.sql").read_text(), user="postgres")
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start, or start again after ``kill`` or ``stop``."""
        start_anyhow(self._start)

    def _start(self) -> None:
        server = self.database.server
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(server.folder),
            "CI": "1",
            "LITE_TELEMETRY": "0",
            "DO_NOT_TRACK": "1",
            "SUPABASE_TEST_PORT": str(self._port),
            "SUPABASE_TEST_DATABASE": f"postgres://authenticator@127.0.0.1:{server.port}/{self.database.name}",
            "SUPABASE_TEST_SECRET_KEY": self.secret_key,
            "SUPABASE_TEST_PUBLISHABLE_KEY": self.publishable_key,
        }
        program = _TOOLS / "node_modules" / "@supabase" / "lite" / "dist" / "cli" / "index.js"
        log = Path(server.folder) / "api.log"
        with log.open("ab") as out:
            # Without --no-admin a request without a key would count as the service's. It ends before
            # optimized compilation would pay off.
            self._process = subprocess.Popen(
                [self._node, "--no-opt", str(program), "start", "--no-admin"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=_TOOLS,
                env=environment,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - the tests start it from no thread
            )
        wait_until(self._answers, self._process, log)
        # Its first real request changes default privileges, which two requests cannot do at once: if an exporter asked
        # at the same time, one of the two would fail.
        wait_until(self._is_ready, self._process, log)

    def _is_ready(self) -> bool:
        answer = self._get("model_pricing?limit=1")
        return answer.status_code in (httpx.codes.OK, httpx.codes.NOT_FOUND)  # NOT_FOUND: not migrated

    def _get(self, what: str) -> httpx.Response:
        headers = {"apikey": self.secret_key}
        return loopback.get(f"{self.url}/rest/v1/{what}", headers=headers)

    def _answers(self) -> bool:
        # This table does not exist; that answer shows that server, key and database work.
        try:
            answer = self._get("is_ready")
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.NOT_FOUND

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait()

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order: requests under way get their answers."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop answering. Requests made meanwhile run after ``thaw``: call ``restart`` before ``clear``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start a new process at the same address."""
        self.kill()
        self.start()

    @contextmanager
    def client(self, key: str | None = None) -> Iterator[Client]:
        """A client as the exporter makes it, with the secret key by default."""
        with loopback.client() as http:
            options = ClientOptions(
                httpx_client=http, postgrest_client_retry=False, auto_refresh_token=False, persist_session=False
            )
            yield create_client(self.url, key or self.secret_key, options)

    def clear(self) -> None:
        """Restore every table to the state after the migrations.

        A request that a test gave up on may still run and lock what this needs.
        """
        with suppress(SqlError):
            self._clear()
            return
        self.restart()
        self._clear()

    def _clear(self) -> None:
        self.database.run(
            "do $$ declare names text; begin"
            " select string_agg(format('%I.%I', schemaname, tablename), ', ') into names"
            " from pg_tables where schemaname = 'public';"
            " execute 'truncate ' || names || ' restart identity cascade'; end $$;"
            " insert into model_pricing (model_pattern, input_price_per_million, output_price_per_million, provider)"
            " values ('_default', 0.15, 0.6, 'default');"
        )
