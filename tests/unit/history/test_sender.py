"""The exporter sends the history what the ledger holds, at any moment."""

from contextlib import suppress
from pathlib import Path

from exporter.history.sender import shown_labels
from exporter.ledger.label_store import Route
from exporter.ledger.labels import Labels
from exporter.settings.proxies import Aliases
from tests.benches.booking import GOOD, intake_of, open_ledger, take


def test_a_name_that_may_be_rolled_back_is_not_sent(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD])
    labels = Labels(ledger.dictionary, Aliases(), str)
    before = shown_labels(ledger, labels, "p")
    with suppress(RuntimeError), ledger._changes.changing("p") as change:
        client = change.dictionary.client_id(change.connection, "another")
        change.dictionary.series_with(change.connection, Route(change.proxy, "provider", "model"), 1, client)
        assert shown_labels(ledger, labels, "p") == before
        raise RuntimeError
    assert shown_labels(ledger, labels, "p") == before
    assert {kind for kind, _ in before} == {"client", "credential"}
