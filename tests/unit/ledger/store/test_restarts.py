"""A restart is counted once, by the first detector that looks, whenever the others do."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter.ledger.ledger import Ledger
from exporter.ledger.store.restarts import RestartDetector, record_observation
from tests.benches.booking import open_ledger

LOOKS: dict[str, tuple[RestartDetector, bool]] = {
    "i": ("inventory", False),
    "I": ("inventory", True),
    "s": ("snapshot", False),
    "S": ("snapshot", True),
    "c": ("source", False),
    "C": ("source", True),
}
"""Each detector by its letter; a capital letter means that it sees a restart of the proxy."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(open_ledger(tmp_path)) as ledger:
        for proxy in ("another", "p"):
            ledger.register(proxy)
        yield ledger


@pytest.mark.parametrize(
    ("looks", "restarts"),
    [
        pytest.param("isc isc", 0, id="none"),
        pytest.param("isc iSc", 1, id="seen by one"),
        pytest.param("isc ISC", 1, id="seen by all at once"),
        pytest.param("isc iSc Isc isc", 1, id="seen by one a look later"),
        pytest.param("isc sc sC sc Isc", 1, id="the accounts could not be listed for a while"),
        pytest.param("isc ISc ISc iSc", 3, id="one after the other"),
        pytest.param("isc ic Ic Ic IC Sc", 3, id="a snapshot that is read again after a time without it"),
        pytest.param("S", 1, id="known from before there were detectors"),
    ],
)
def test_each_restart_is_counted_once(ledger: Ledger, looks: str, restarts: int) -> None:
    for name, looked in (("another", "S"), ("p", looks.replace(" ", ""))):
        proxy = ledger.name_store.proxies[name]
        for look in looked:
            witness, restarted = LOOKS[look]
            with ledger._database.transaction() as connection:
                record_observation(connection, proxy, witness, restarted=restarted)
        assert ledger.register(name) == proxy
    assert (ledger.flow("another").restarts, ledger.flow("p").restarts) == (1, restarts)
