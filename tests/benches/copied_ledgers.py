"""Makes new ledgers as copies of one, because migrating a ledger takes longer than most tests of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from exporter.ledger import database, schema
from exporter.ledger.database import FILE_NAME, Database

_ANOTHER = "update installation set salt = randomblob(32), made_ms = 1000 * cast(strftime('%s', 'now') as integer)"
"""The values that distinguish one ledger from another."""


@contextmanager
def copied_ledgers(folder: Path) -> Iterator[None]:
    """Within the ``with`` block, each new file of a ``Database`` in this process is a copy of one made in ``folder``.

    A file with tables is migrated as usual, and so is every file in a test that changes the migration steps.
    """
    Database(folder / FILE_NAME).close()
    original = sqlite3.connect(":memory:", check_same_thread=False)
    with closing(sqlite3.connect(folder / FILE_NAME)) as made:
        made.backup(original)
    migrate = Database._migrate

    def copy_or_migrate(new: Database) -> None:
        if new.value("select 1 from sqlite_master") or vars(database)["migrations"] is not schema.migrations:
            migrate(new)
            return
        original.backup(new._connection)
        with new.transaction() as connection:
            connection.execute(_ANOTHER)

    with closing(original), pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "_migrate", copy_or_migrate)
        yield
