"""A trip of one record through a program with another list: booked, sent to the history and restored from it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_TRIP = """
import json, sys
from pathlib import Path
from exporter.commands.export import write_csv
from exporter.imports.own_csv import Names, read_own_csv
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.history.checkpoint import ExportedSnapshots
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


def trip(folder: Path, ending: str, module: str, change: tuple[str, str], migration: str) -> list[str]:
    """What a trip prints with a program whose list in ``module`` is changed and whose ledger has one more migration."""
    before, after = change
    for package in ("exporter", "tests/benches", "tests/fakes", "tests/stack"):
        shutil.copytree(_ROOT / package, folder / package)
    ledger = folder / "exporter/ledger"
    listed = (ledger / module).read_text(encoding="utf-8")
    assert listed.count(before) == 1
    (ledger / module).write_text(listed.replace(before, after), encoding="utf-8")
    (ledger / "migrations/9999_new.sql").write_text(migration, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-c", _TRIP + ending, str(folder)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
