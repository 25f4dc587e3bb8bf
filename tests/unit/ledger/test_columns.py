"""A column or label is listed once: everything that writes, shows, sends and restores entries follows the list."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from exporter.ledger.columns import ENTRY
from exporter.ledger.sync.checkpoint import ExportedSnapshots
from tests.benches.booking import GOOD, intake_of, open_ledger, take

_ROOT = Path(__file__).parents[3]
_COLUMN = '"latency_ms", '
_LABEL = "    model: Text\n"
_TRIP = """
import json, sys
from pathlib import Path
from exporter.commands.export import write_csv
from exporter.imports.own_csv import Names, read_own_csv
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.sync.checkpoint import ExportedSnapshots
from exporter.metrics.usage import LedgerText
from exporter.settings.proxies import Aliases
from tests.benches.booking import GOOD, PSEUDONYMS, intake_of, open_ledger, take

first, second = (open_ledger(Path(sys.argv[1]) / name) for name in ("first", "second"))
take(intake_of(first), [GOOD | {"service_tier": "priority"}])
((_, sent),) = first.backlog.read("p", limit=10).entries
row = json.loads(sent)
second.register("p")
progress = second.restoring("p").begin(
    since_ms=0, newest_ms=None, deleted_before_ms=None, snapshots=ExportedSnapshots(), marks={}
)
second.restoring("p").add_records([row], progress)
"""
_ENTRIES = """
for ledger in (first, second):
    with ledger.reading() as connection:
        print(connection.execute("select auth_index, latency_ms, nano_usd from entry").fetchall(), row["auth_index"])
"""
_LABELS = """
names = [ShownNames(ledger.name_store, Aliases(), PSEUDONYMS.of) for ledger in (first, second)]
for shown_names in names:
    print(shown_names.series(1).service_tier)
text, _ = LedgerText(first, names[0]).render(openmetrics=False, for_prometheus=False)
print([line for line in text.splitlines() if line.startswith("cliproxy_requests_total{")])
path = Path(sys.argv[1]) / "export.csv"
with first.reading() as connection, path.open("w", newline="") as file:
    write_csv(connection, names[0], (0, 2**62), file)
print([record.service_tier for record, _ in read_own_csv(path, "p", Names(first, names[0], "p", PSEUDONYMS.of))])
"""


def test_new_column_with_a_field_of_a_record_needs_only_the_list_and_a_migration(tmp_path: Path) -> None:
    added = "alter table entry add column auth_index text not null default '';\n"
    booked, restored = _trip(tmp_path, _ENTRIES, _COLUMN, f'"auth_index", {_COLUMN}', added)
    assert booked.startswith(f"[('{GOOD['auth_index']}', {GOOD['latency_ms']}, ")
    assert restored == booked


def test_new_label_with_a_field_of_a_record_needs_only_the_list_and_a_migration(tmp_path: Path) -> None:
    listed = f'{_LABEL}    service_tier: Text = ""\n'
    added = "alter table route add column service_tier text not null default '';\n"
    booked, restored, shown, imported = _trip(tmp_path, _LABELS, _LABEL, listed, added)
    assert (booked, restored, imported) == ("priority", "priority", "['priority']")
    assert 'model="claude-sonnet-4-5",service_tier="priority",' in shown


def _trip(folder: Path, ending: str, before: str, after: str, migration: str) -> list[str]:
    """What a trip prints with a program whose list is changed and whose ledger has one more migration."""
    for package in ("exporter", "tests/benches", "tests/fakes", "tests/stack"):
        shutil.copytree(_ROOT / package, folder / package)
    ledger = folder / "exporter/ledger"
    listed = (ledger / "columns.py").read_text(encoding="utf-8")
    assert listed.count(before) == 1
    (ledger / "columns.py").write_text(listed.replace(before, after), encoding="utf-8")
    (ledger / "migrations/9999_new.sql").write_text(migration, encoding="utf-8")

    trip = subprocess.run(
        [sys.executable, "-c", _TRIP + ending, str(folder)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert trip.returncode == 0, trip.stderr
    return trip.stdout.splitlines()


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
