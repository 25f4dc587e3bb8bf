"""An unusable ledger says so and stays unchanged."""

import hashlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest

from exporter.errors import (
    LedgerCorruptError,
    LedgerError,
    LedgerFullError,
    LedgerLockedError,
    LedgerReadOnlyError,
    LedgerTooNewError,
)
from exporter.ledger import database
from exporter.ledger.database import FILE_NAME, DataDirectoryLock
from exporter.ledger.schema import migrations
from exporter.ledger.store.restarts import RestartDetector, record_observation
from exporter.simulator.world import CREDENTIALS
from tests.benches.booking import GOOD, check_sums, flow_of, intake_of, know_credentials, open_ledger, take
from tests.fakes.full_disk import FullDisk


def _used(folder: Path) -> Path:
    ledger = open_ledger(folder)
    take(intake_of(ledger), [GOOD | {"request_id": f"{n:08x}"} for n in range(500)])
    ledger.close()
    return folder / FILE_NAME


def _newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"pragma user_version = {len(migrations()) + 1}")


def _foreign(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("create table bookmarks (url text)")


def _no_database(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04 this is something else entirely" * 100)


def _damaged(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for start in range(4096, len(content), 4096):
        content[start : start + 1024] = os.urandom(1024)
    file.write_bytes(content)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        pytest.param(_newer, LedgerTooNewError, "newer version", id="written by a newer version"),
        pytest.param(_foreign, LedgerCorruptError, "not a ledger", id="another program's database"),
        pytest.param(_no_database, LedgerCorruptError, "not a ledger", id="no database"),
        pytest.param(_damaged, LedgerCorruptError, "damaged", id="damaged pages"),
        pytest.param(_cut, LedgerCorruptError, "damaged", id="cut off"),
    ],
)
def test_a_file_that_is_not_a_usable_ledger_stays_unchanged(
    tmp_path: Path, spoil: Callable[[Path], None], error: type[LedgerError], words: str
) -> None:
    file = _used(tmp_path)
    spoil(file)
    before = hashlib.sha256(file.read_bytes()).digest()
    with pytest.raises(error, match=words) as raised:
        open_ledger(tmp_path)
    assert str(file) in str(raised.value)
    assert hashlib.sha256(file.read_bytes()).digest() == before


def test_files_are_private(tmp_path: Path) -> None:
    file = _used(tmp_path / "data")
    ledger = open_ledger(tmp_path / "data")
    take(intake_of(ledger), [GOOD])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    assert modes == {file.name + end: 0o600 for end in ("", "-shm", "-wal")}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


_AS_NOBODY = """
import os, sys
from pathlib import Path
from tests.benches.booking import open_ledger
from exporter.ledger.database import DataDirectoryLock
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    DataDirectoryLock(Path(sys.argv[1])) if sys.argv[2] == "lock" else open_ledger(Path(sys.argv[1]))
except Exception as exc:
    print(type(exc).__name__, exc)
"""


@pytest.mark.parametrize("step", ["lock", "open"])
def test_a_read_only_data_directory_says_so(tmp_path: Path, step: str) -> None:
    _used(tmp_path)
    for path in (tmp_path, *tmp_path.iterdir()):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in (tmp_path.parent, tmp_path.parent.parent):  # pytest's own, private: the other user must get here
        parent.chmod(0o755)
    said = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, tmp_path, step], capture_output=True, text=True, check=False
    )
    assert said.stdout.startswith(LedgerReadOnlyError.__name__), said
    assert "cannot be written" in said.stdout
    assert "EXPORTER_DATA_DIR" in said.stdout
    tmp_path.chmod(0o755)


_LOCK_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from exporter.ledger.database import DataDirectoryLock
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # no file may grow
lock = DataDirectoryLock(Path(sys.argv[1]))
lock.release()
"""


def test_a_full_disk_does_not_keep_the_lock_from_being_taken(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", _LOCK_ON_A_FULL_DISK, tmp_path], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE])
def test_a_full_disk_is_reported_whichever_file_has_no_room(tmp_path: Path, code: int) -> None:
    ledger = open_ledger(tmp_path)
    ledger._database._connection = FullDisk(  # type: ignore[assignment]
        ledger._database._connection, 0, lasting=False, code=code
    )
    with pytest.raises(LedgerFullError, match="is full"):
        ledger.register("q")


def test_a_second_exporter_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    lock = DataDirectoryLock(tmp_path)
    code = (
        "import sys; from pathlib import Path; from exporter.ledger.database import DataDirectoryLock\n"
        "try: DataDirectoryLock(Path(sys.argv[1])); print('took it')\n"
        "except Exception as exc: print(type(exc).__name__, exc)"
    )

    def second() -> str:
        return subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout

    assert second().startswith(LedgerLockedError.__name__)
    assert f"process {os.getpid()}" in second()
    lock.release()
    assert second() == "took it\n", "the lock ends with its holder"


def test_the_ledger_waits_for_another_programs_write_lock_and_then_explains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.1)
    ledger = open_ledger(tmp_path)
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("begin immediate")
    with pytest.raises(LedgerLockedError, match="locked by another process"):
        take(intake_of(ledger), [GOOD])
    other.rollback()
    other.close()
    check_sums(ledger)


# --- migrations ---------------------------------------------------------------------------------------------------


def test_opening_twice_changes_nothing(tmp_path: Path) -> None:
    _used(tmp_path)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        before = connection.execute("select sql from sqlite_master order by name").fetchall()
    open_ledger(tmp_path).close()
    again = open_ledger(tmp_path)
    with again.reading() as connection:
        assert connection.execute("select sql from sqlite_master order by name").fetchall() == before
    assert flow_of(again).booked == 500


def test_no_two_ledgers_are_the_same_to_a_history(tmp_path: Path) -> None:
    first, second = open_ledger(tmp_path / "first"), open_ledger(tmp_path / "second")
    assert first.salt != second.salt
    first.close()
    second.close()


def _take_back(file: Path, version: int) -> None:
    """Take a ledger back to an older schema version; so far, later steps have only added something."""
    with closing(sqlite3.connect(file)) as connection, connection:
        for (trigger,) in connection.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            connection.execute(f"drop trigger {trigger}")
        for step in reversed(migrations()[version:]):
            for index in re.findall(r"create index (\w+)", step):
                connection.execute(f"drop index {index}")
            for table in re.findall(r"create table (\w+)", step):
                if f"drop table {table};" in step:
                    _take_back_wider(connection, table)
                else:
                    connection.execute(f"drop table {table}")
            for table, column in re.findall(r"alter table (\w+) add column (\w+)", step):
                connection.execute(f"alter table {table} drop column {column}")
        connection.execute(f"pragma user_version = {version}")


def _take_back_wider(connection: sqlite3.Connection, table: str) -> None:
    """Give a table that a step has made anew the columns that it had at first."""
    first = next(
        found for step in migrations() if (found := re.search(rf"create table {table} \(.*?\n\);", step, re.S))
    )
    connection.execute(f"create temp table kept as select * from {table}")
    connection.execute(f"drop table {table}")
    connection.execute(first[0])
    columns = ", ".join(name for (name,) in connection.execute("select name from pragma_table_info(?)", (table,)))
    connection.execute(f"insert into {table} select {columns} from temp.kept")
    connection.execute("drop table temp.kept")


def test_every_older_schema_is_migrated_with_its_rows(tmp_path: Path) -> None:
    used = _used(tmp_path)
    for version in range(1, len(migrations()) + 1):
        folder = tmp_path / str(version)
        folder.mkdir()
        file = Path(shutil.copy(used, folder))
        _take_back(file, version)
        ledger = open_ledger(folder)
        take(intake_of(ledger), [GOOD])
        assert flow_of(ledger).booked == 501
        check_sums(ledger)
        ledger.close()
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("pragma user_version").fetchone() == (len(migrations()),)


def test_a_restart_right_after_the_upgrade_counts_once_whichever_detector_sees_it(tmp_path: Path) -> None:
    file = _used(tmp_path)
    _take_back(file, 7)  # before there were detectors
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("update proxy set last_success_ms = 1, restarts = 3")
    ledger = open_ledger(tmp_path)
    with ledger._database.transaction() as connection:
        for detector in get_args(RestartDetector):
            record_observation(connection, 1, detector, restarted=True)
        assert connection.execute("select restarts from proxy").fetchall() == [(4,)]
    ledger.close()


def test_a_migration_that_breaks_off_is_undone_and_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _used(tmp_path)
    broken = (*migrations(), "create table extra (a integer); insert into no_such_table values (1)")
    monkeypatch.setattr(database, "migrations", lambda: broken)
    with pytest.raises(LedgerError):
        open_ledger(tmp_path)
    monkeypatch.undo()
    connection = sqlite3.connect(file)
    assert connection.execute("select count(*) from sqlite_master where name = 'extra'").fetchone() == (0,)
    connection.close()
    assert flow_of(open_ledger(tmp_path)).booked == 500


def test_the_two_names_of_one_window_are_one_after_the_upgrade(tmp_path: Path) -> None:
    file = _used(tmp_path)
    step = next(number for number, text in enumerate(migrations()) if "quota_detail" in text)
    _take_back(file, step)
    with closing(sqlite3.connect(file)) as connection, connection:
        (credential,) = connection.execute("select min(id) from credential").fetchone()
        connection.executemany(
            "insert into quota_window values (?, '7d', ?, 604800, 0.5, 9e12, '', 1, 'header', 0, 3)",
            [(credential, "oi"), (credential, "opus")],
        )
    ledger = open_ledger(tmp_path)
    windows = ledger.quotas.current()
    ledger.close()
    assert {scope: quota.early_resets for (_, _, scope), quota in windows.items()} == {"fable": 3, "opus": 3}
    assert not any(quota.reading.ratio_inferred for quota in windows.values())


def test_a_command_does_not_migrate_a_ledger_that_an_older_exporter_uses(tmp_path: Path) -> None:
    file = _used(tmp_path)
    _take_back(file, len(migrations()) - 1)
    running = DataDirectoryLock(tmp_path)
    with pytest.raises(LedgerLockedError, match="stop it first"):
        open_ledger(tmp_path)
    running.release()
    assert flow_of(open_ledger(tmp_path)).booked == 500


def test_a_poll_of_five_records_writes_little(tmp_path: Path) -> None:
    """Many users run the exporter all day on an SD card, which lives longer if less is written."""
    ledger = open_ledger(tmp_path)
    know_credentials(ledger)
    intake, polls = intake_of(ledger), 20

    def poll(number: int) -> None:
        of_record = [{"request_id": f"{number}-{n}", "client": f"sk-{n}"} for n in range(5)]
        take(intake, [GOOD | {"auth_index": CREDENTIALS[0].auth_index} | each for each in of_record])

    for number in range(polls):
        poll(number)
    log = tmp_path / f"{FILE_NAME}-wal"
    before = log.stat().st_size
    for number in range(polls, 2 * polls):
        poll(number)
    assert (log.stat().st_size - before) / polls < 30_000
    ledger.close()


def test_each_read_sees_the_present_and_nothing_of_the_read_before(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for booked in range(2):
        with ledger.reading() as connection:
            connection.execute("create temp table chosen as select series from entry")
            take(intake_of(ledger), [GOOD | {"request_id": f"{booked:08x}"}])
            assert connection.execute("select count(*) from entry").fetchone() == (booked,)
    with ledger.reading() as connection, ledger.reading() as other:
        assert connection is not other
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            other.execute("delete from entry")
    ledger.close()
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


def test_a_page_that_reads_while_the_exporter_stops_still_gets_an_answer(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD])
    with ledger.reading():
        pass
    ledger.close()
    with ledger.reading() as connection:
        assert connection.execute("select count(*) from entry").fetchone() == (1,)


def test_each_new_ledger_is_a_separate_installation(tmp_path: Path) -> None:
    """The history distinguishes exporters by the salt, and finds a successor by its age."""
    begun_ms = int(time.time()) * 1000
    one, another = open_ledger(tmp_path / "one"), open_ledger(tmp_path / "another")

    assert one.salt != another.salt
    assert all(begun_ms <= (ledger.backlog.made_ms() or 0) <= time.time() * 1000 for ledger in (one, another))
    one.close()
    another.close()
