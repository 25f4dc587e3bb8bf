"""The ledger's file: opening it, the one writer's transactions, and SQLite's errors in plain words.

``synchronous=FULL`` throughout: a popped batch exists nowhere else, and WAL with NORMAL does not sync at commit.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from exporter.errors import (
    LedgerCorruptError,
    LedgerError,
    LedgerFullError,
    LedgerLockedError,
    LedgerReadOnlyError,
    LedgerTooNewError,
)
from exporter.ledger.schema import APPLICATION_ID, migrations
from exporter.ledger.store import checksums
from exporter.sentences import say

FILE_NAME = "ledger.sqlite3"
_BUSY_SECONDS = 5.0
_CACHE_KIB = 2000
"""The cache of each connection. More is no faster; with less, pages of a large transaction are written twice."""
_PRIVATE_DIRECTORY, _PRIVATE_FILE = 0o700, 0o600
"""Who used what is nobody else's business on a shared machine."""
_LARGEST_IDLE_WAL = 16 * 1024 * 1024
_PAGE_BYTES = 2048
"""Page size of a new ledger. A small booking writes a dozen whole pages: half the bytes that 4096 would take."""
_BYTES_PER_CHECKPOINT = 16 * 1024 * 1024


class DataDirectoryLock:
    """At most one exporter per data directory. Held until ``release`` or the end of the process, however it ends."""

    def __init__(self, data_dir: Path) -> None:
        """Take the lock. Raises LedgerLockedError if another process has it, LedgerReadOnlyError if it cannot write."""
        path = data_dir / "exporter.lock"
        try:
            data_dir.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            self._file = path.open("a+", encoding="ascii")
        except OSError as exc:
            raise LedgerReadOnlyError(
                f"The data directory {data_dir} cannot be written ({exc.strerror}). Give the exporter's user write"
                " access, or set EXPORTER_DATA_DIR to a directory that it can write."
            ) from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            self._file.seek(0)
            holder = self._file.read(20).strip() or "unknown"
            self._file.close()
            raise LedgerLockedError(
                f"Another exporter (process {holder}) uses the data directory {data_dir}: stop it first. Only an"
                " exporter of other proxies may run beside it, with an EXPORTER_DATA_DIR of its own."
            ) from exc
        with contextlib.suppress(OSError):  # on a full disk the lock holds without the number
            self._file.truncate(0)
            os.write(self._file.fileno(), f"{os.getpid()}\n".encode())

    def release(self) -> None:
        self._file.close()


def is_in_use(data_dir: Path) -> bool:
    """Whether an exporter is using a data directory."""
    try:
        with (data_dir / "exporter.lock").open(encoding="ascii") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class Database:
    """One SQLite file with one writing connection, shared by threads under a lock."""

    def __init__(self, path: Path, *, alone: bool = True) -> None:
        """Open ``path``, creating or migrating it as needed. If not ``alone``, an exporter may have it open.

        Raises LedgerReadOnlyError, LedgerFullError, LedgerTooNewError, LedgerCorruptError or LedgerLockedError; the
        file then stays as it was.
        """
        self.path = path
        self._alone = alone
        self.lock = threading.RLock()
        """Each transaction holds it, some until memory has followed, so that an older state never comes last."""
        self._reader_lock = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._is_closed = False
        with explained_opening(path):
            path.parent.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            path.touch(mode=_PRIVATE_FILE)  # SQLite gives its other files the same mode
            self._opened = path.stat()
            existed = self._opened.st_size > 0
            if existed and not os.access(path, os.W_OK):
                raise LedgerReadOnlyError(_read_only(path))
            self._connection = self._connect()
            try:
                self._prepare(existed=existed)
            except BaseException:
                self._connection.close()
                raise

    def _connect(self, mode: Literal["rwc", "ro"] = "rwc") -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            connection.execute(f"pragma cache_size = -{_CACHE_KIB}")  # reads the schema
        except BaseException:
            connection.close()
            raise
        connection.create_function("number_of_row", -1, checksums.number_of_row, deterministic=True)
        connection.execute("pragma recursive_triggers = on")  # else "insert or replace" fires no delete trigger
        return connection

    def _prepare(self, *, existed: bool) -> None:
        connection = self._connection
        version = int(connection.execute("pragma user_version").fetchone()[0])
        # Read before anything is written: a file that is not ours must not even get a WAL.
        application = int(connection.execute("pragma application_id").fetchone()[0])
        if application != APPLICATION_ID and connection.execute("select 1 from sqlite_master").fetchone():
            raise LedgerCorruptError(
                f"{self.path} is an SQLite file, but not a ledger of cliproxy-exporter. Move it away, or set"
                " EXPORTER_DATA_DIR to another directory."
            )
        newest = len(migrations())
        if version > newest:
            raise LedgerTooNewError(
                f"The ledger {self.path} was written by a newer version of cliproxy-exporter (schema {version}, this"
                f" version knows {newest}). Install the newer version again, or restore an older ledger."
            )
        if not existed:  # can only be chosen before the first table
            connection.execute(f"pragma page_size = {_PAGE_BYTES}")
            connection.execute("pragma auto_vacuum = incremental")
        connection.execute("pragma journal_mode = wal")
        connection.execute(f"pragma journal_size_limit = {_LARGEST_IDLE_WAL}")
        # A page that several bodies change reaches the file once per checkpoint: rarer checkpoints write a tenth less.
        page_bytes = int(connection.execute("pragma page_size").fetchone()[0])
        connection.execute(f"pragma wal_autocheckpoint = {_BYTES_PER_CHECKPOINT // page_bytes}")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma foreign_keys = off")  # ids come from our own name store; a check per row costs 20 %
        if version < newest:
            # A running exporter of an older version could not work with the new tables.
            with contextlib.ExitStack() as stack:
                if existed and not self._alone:
                    stack.callback(DataDirectoryLock(self.path.parent).release)
                self._migrate()
        with self.transaction():
            checksums.install(connection)

    def _migrate(self) -> None:
        """Run the missing steps, unless another process just has.

        They are one transaction, so after a kill or an error in the middle the file is what it was.
        """
        with self.transaction() as connection:
            version = int(connection.execute("pragma user_version").fetchone()[0])
            for step in migrations()[version:]:
                for statement in _statements(step):
                    connection.execute(statement)
            connection.execute(f"pragma application_id = {APPLICATION_ID}")
            connection.execute(f"pragma user_version = {max(version, len(migrations()))}")

    @contextlib.contextmanager
    def transaction(
        self, *, on_rollback: Callable[[sqlite3.Connection], None] | None = None
    ) -> Iterator[sqlite3.Connection]:
        """The writing connection inside one transaction: committed at the end, rolled back on any exception.

        ``on_rollback`` runs before any other thread can begin a transaction; it may read. Raises LedgerFullError,
        LedgerLockedError and the other errors of the ledger in place of SQLite's.
        """
        with self.lock:
            self._check_place()
            connection = self._connection
            try:
                connection.execute("begin immediate")
                try:
                    yield connection
                    connection.execute("commit")  # last: no later error may pass for a failed commit
                except BaseException:
                    try:
                        if connection.in_transaction:
                            connection.execute("rollback")
                    finally:
                        if on_rollback is not None:
                            on_rollback(connection)
                    raise
            except sqlite3.Error as exc:  # not by _explained, whose own end would come after the commit
                raise _error_for(exc, self.path) from exc

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A separate connection for long queries: it sees one moment of the file, and no writer waits for it.

        It can write only to temporary tables, which are in memory and gone afterwards. No cursor may outlive the block:
        the connection is kept, and its next user would see the moment of the cursor.
        """
        with _explained(self.path):
            with self._reader_lock:
                connection, self._reader = self._reader, None
            if connection is None:  # a new one takes a millisecond to parse the schema
                connection = self._connect("ro")
                connection.execute("pragma temp_store = memory")
            try:
                connection.execute("begin")
                yield connection
                connection.execute("rollback")
                connection.execute("pragma shrink_memory")  # the pages it read; the parsed schema stays
            except BaseException:
                connection.close()
                raise
            with self._reader_lock:
                if is_kept := self._reader is None and not self._is_closed:
                    self._reader = connection
            if not is_kept:
                connection.close()

    def value(self, query: str, *parameters: object) -> Any:
        """The first value that a short query finds, or None. Without a transaction, so no other process has to wait."""
        with self.lock, _explained(self.path):
            self._check_place()
            row = self._connection.execute(query, parameters).fetchone()
        return row and row[0]

    def _check_place(self) -> None:
        """Raise LedgerError if the file has lost its name: SQLite would go on writing to it all the same."""
        with contextlib.suppress(OSError):
            if os.path.samestat(self._opened, self.path.stat()):
                return
        raise LedgerError(
            "The ledger {path} was deleted, moved or replaced while it was in use, so no proxy is read any more. Put it"
            " back, or restart the exporter, which begins a new one where there is none.",
            path=self.path,
        )

    def bytes_on_disk(self) -> int:
        """Size of the file and its write-ahead log in bytes."""
        files = (self.path, self.path.with_name(self.path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        with self._reader_lock:
            self._is_closed = True
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.close()
        with self.lock:
            self._connection.close()  # the last one: a reader could not empty the log


def damaged(path: Path, what: str = say("is damaged or is not a ledger")) -> str:
    return say(
        "The ledger {path} {what}. Nothing was booked and nothing was asked of a proxy: restore a backup, or move the"
        " file away to start with an empty ledger.",
        path=path,
        what=what,
    )


def _read_only(path: Path) -> str:
    return say(
        "The ledger {path} cannot be written. Give the exporter's user write access to the file and its directory, or"
        " set EXPORTER_DATA_DIR to a directory that it can write.",
        path=path,
    )


def _statements(script: str) -> Iterator[str]:
    """Split a migration into statements. ``executescript`` would end the surrounding transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about ``path`` into ours."""
    try:
        yield
    except sqlite3.Error as exc:
        raise _error_for(exc, path) from exc


@contextlib.contextmanager
def explained_opening(path: Path) -> Iterator[None]:
    """Turn errors of SQLite, of the system and of reading garbage in ``path`` into ours."""
    try:
        with _explained(path):
            yield
    except PermissionError as exc:
        raise LedgerReadOnlyError(_read_only(path)) from exc
    except OSError as exc:
        raise LedgerError(f"The ledger {path} cannot be used: {exc.strerror}.") from exc
    except LedgerError as exc:
        # All statements here are ours: if one makes no sense to SQLite, the schema is not ours.
        code = getattr(exc.__cause__, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        if isinstance(exc.__cause__, sqlite3.Error) and code == sqlite3.SQLITE_ERROR:
            raise LedgerCorruptError(damaged(path)) from exc
        raise
    except (ValueError, TypeError, LookupError) as exc:
        raise LedgerCorruptError(damaged(path)) from exc


def _error_for(exc: sqlite3.Error, path: Path) -> LedgerError:
    code = getattr(exc, "sqlite_errorcode", None)
    if code is None and "decode to UTF-8" in str(exc):
        code = sqlite3.SQLITE_CORRUPT  # Python's own error, about a text that no statement stored
    primary = code & 0xFF if code is not None else None
    if primary == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:  # no room for the file beside the log
        return LedgerFullError(
            "The disk of the ledger {path} is full. Free some space before you stop a running exporter: it then goes"
            " on, but a stop loses the records that it holds in memory.",
            path=path,
        )
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return LedgerLockedError(
            "The ledger {path} is locked by another process. Close programs that have it open for writing.", path=path
        )
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return LedgerReadOnlyError(_read_only(path))
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return LedgerCorruptError(damaged(path))
    if primary == sqlite3.SQLITE_IOERR:
        return LedgerError(
            "The disk of the ledger {path} reports an error ({cause}). Check the disk.", path=path, cause=str(exc)
        )
    return LedgerError("The ledger {path} could not do what was asked: {cause}.", path=path, cause=str(exc))
