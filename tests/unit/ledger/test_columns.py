"""A column is listed once: everything that writes, shows, sends and restores entries follows the list."""

import json
import re
from pathlib import Path

from exporter.ledger.columns import ENTRY
from exporter.ledger.history.checkpoint import ExportedSnapshots
from tests.benches.booking import GOOD, intake_of, open_ledger, take
from tests.benches.trip import trip

_ROOT = Path(__file__).parents[3]
_COLUMN = '"latency_ms", '
_ENTRIES = """
for ledger in (first, second):
    with ledger.reading() as connection:
        print(connection.execute("select auth_index, latency_ms, nano_usd from entry").fetchall(), row["auth_index"])
"""


def test_new_column_with_a_field_of_a_record_needs_only_the_list_and_a_migration(tmp_path: Path) -> None:
    added = "alter table entry add column auth_index text not null default '';\n"
    booked, restored = trip(tmp_path, _ENTRIES, "columns.py", (_COLUMN, f'"auth_index", {_COLUMN}'), added)
    assert booked.startswith(f"[('{GOOD['auth_index']}', {GOOD['latency_ms']}, ")
    assert restored == booked


def test_restored_entry_equals_the_sent_one(tmp_path: Path) -> None:
    first, second = open_ledger(tmp_path), open_ledger(tmp_path / "second")
    take(intake_of(first), [GOOD, GOOD | {"latency_ms": 7}])
    second.register("p")
    progress = second.restoring("p").begin(
        since_ms=0, newest_ms=None, deleted_before_ms=None, snapshots=ExportedSnapshots(), marks={}
    )
    rows = [json.loads(sent) for _, sent in first.backlog.read("p", limit=10).entries]
    second.restoring("p").add_records(rows, progress)

    kept = ", ".join(name for name in ENTRY if name not in ("id", "series", "price", "live"))
    statement = f"select {kept}, p.price from entry e join price p on p.id = e.price order by fingerprint"
    with first.reading() as one, second.reading() as other:
        assert one.execute(statement).fetchall() == other.execute(statement).fetchall() != []


def test_functions_of_the_history_take_and_give_every_column(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD])
    ((_, sent),) = ledger.backlog.read("p", limit=1).entries
    row = json.loads(sent)
    script = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((_ROOT / "supabase/migrations").glob("*.sql"))
    )
    taken = re.findall(r"from jsonb_to_recordset\(records\) as r \(([^)]+)\)", script)[-1]
    given = re.findall(r"function public\.exporter_records\([^)]+\) returns table \(([^)]+)\)", script)[-1]
    for columns in (taken, given):
        assert {column.split()[0] for column in columns.split(",")} == row.keys()
    assert row.keys() >= set(ENTRY) - {"id", "series", "counted"}


def test_list_has_every_column_of_the_table(tmp_path: Path) -> None:
    with open_ledger(tmp_path).reading() as connection:
        assert {name for (name,) in connection.execute("select name from pragma_table_info('entry')")} == {*ENTRY}
