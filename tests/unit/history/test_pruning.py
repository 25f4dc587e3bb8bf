"""Pruning in Supabase: the exporter can stop after each call that deletes rows."""

from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

from exporter.history.pruning import prune_task
from exporter.history.supabase_client import Remote, Row
from tests.benches.booking import GOOD, intake_of, open_ledger, take
from tests.fakes.guarding import TurnableClock


class _Project(Remote):
    """Answers each call with the next number of deleted rows."""

    def __init__(self, numbers: Iterator[int]) -> None:
        super().__init__("http://project.example", "key")
        self.calls: list[tuple[str, object]] = []
        self._numbers = numbers

    def call(self, function: str, **parameters: object) -> int:
        self.calls.append((function, parameters.get("p_proxy")))
        return next(self._numbers)

    def rows(self, *_table: object, **_which: object) -> Iterator[Row]:
        """No name was given back."""
        return iter(())


def test_pruning_can_be_stopped_after_each_call_that_deletes(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD])
    project = _Project(iter([5, 0, 7, 0, 0, 0]))
    task = prune_task(project, ledger, TurnableClock(), zone=UTC, days=1)
    rounds = []
    while task.run("owner", ["one", "two"]):
        rounds.append(project.calls[-1])

    one, two, snapshots = ("exporter_prune", "one"), ("exporter_prune", "two"), ("exporter_prune_snapshots", None)
    assert rounds == [one, two]
    assert project.calls == [one, one, two, one, two, snapshots]
    project.close()
    ledger.close()


def test_nothing_is_deleted_there_while_no_entry_confirms_the_clock(tmp_path: Path) -> None:
    ledger, project = open_ledger(tmp_path), _Project(iter([]))
    take(intake_of(ledger), [GOOD | {"timestamp": "yesterday"}])
    assert not prune_task(project, ledger, TurnableClock(), zone=UTC, days=1).run("owner", ["one"])
    assert project.calls == []
    project.close()
    ledger.close()
