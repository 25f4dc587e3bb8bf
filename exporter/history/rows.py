"""The ledger's content as the rows that the functions in Supabase take. Nothing in them names a person."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, tzinfo
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from exporter.days import local_date
from exporter.history.client import Row
from exporter.ledger.columns import Entry, Rollup
from exporter.ledger.label_store import LabelStore, SeriesNames
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.sync.import_state import RestoredEntry, RestoredRollup
from exporter.quotas.reading import Reading
from exporter.records import Basis, Billing

_BASIS = {int(basis): basis.label for basis in Basis}
_BILLING = {int(billing): billing.label for billing in Billing}
_OTHERS = ("id", "fingerprint", "series", "price", "basis", "billing", "live", "counted")
_SAME = tuple(name for name in Entry._fields if name not in _OTHERS)
"""The columns of an entry that the history holds unchanged."""
_same = attrgetter(*_SAME)
_NOT_YET = {"id": 0, "series": 0, "price": 0, "live": 0}
"""What the ledger decides when it takes over an entry from the history."""
_CLIENTS = (
    "select id, label from client where id in"
    " (select s.client from series s join route r on r.id = s.route where r.proxy = ?)"
)
_SAME_IN_READING = ("scope", "window_seconds", "used_ratio", "status", "source", "inferred")
"""The fields of a reading that the history holds unchanged."""


class Rows:
    """Makes rows. They name clients and credentials by their stable labels; aliases are sent separately."""

    def __init__(self, dictionary: LabelStore, zone: tzinfo) -> None:
        self._dictionary = dictionary
        self._zone = zone
        self._version = -1
        self._label_sets: dict[int, dict[str, str]] = {}

    def of(self, entries: Iterable[Entry]) -> str:
        """One row for each entry, as a JSON text."""
        if self._version != self._dictionary.labels_version:
            self._version = self._dictionary.labels_version
            self._label_sets.clear()
        return msgspec.json.encode([self._row(entry) for entry in entries]).decode()

    def _row(self, entry: Entry) -> Row:
        """What ``exporter_book`` takes for one record."""
        labels = self._label_sets.get(entry.series)
        if labels is None:
            labels = self._label_sets[entry.series] = self._dictionary.names_of(entry.series)._asdict()
        return dict(
            zip(_SAME, _same(entry), strict=True),
            fingerprint=str(entry.fingerprint),  # has more digits than a number in JSON may have
            day=_day(entry.ts_ms // BUCKET_MS, self._zone),
            price=self._dictionary.prices[entry.price],
            basis=_BASIS[entry.basis],
            billing=_BILLING[entry.billing],
            live=bool(entry.live),
            requests=entry.counted,
            **labels,
        )


@lru_cache(maxsize=10_000)
def _day(bucket: int, zone: tzinfo) -> str:
    """The local day of a quarter of an hour, as ISO text. In every zone, days begin with such a quarter."""
    return local_date(bucket * BUCKET_MS, zone).isoformat()


def restored_entry(row: Row) -> RestoredEntry:
    """A record as ``exporter_records`` returns it."""
    known = {name: row[name] for name in Entry._fields if name in row}
    given = {"fingerprint": int(row["fingerprint"]), "counted": row["requests"], **_enums(row)}
    return RestoredEntry(_series(row), row["price"], Entry(**known | _NOT_YET | given))


def restored_rollup(row: Row) -> RestoredRollup:
    """A row of ``usage_rollups``."""
    known = {name: row[name] for name in Rollup._fields if name in row}
    bucket = moment_ms(row["bucket"]) // BUCKET_MS
    return RestoredRollup(_series(row), Rollup(**known | {"bucket": bucket, "series": 0, **_enums(row)}))


def moment_ms(moment: str) -> int:
    """A moment in Supabase's notation, in ms since the epoch."""
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def _series(row: Row) -> SeriesNames:
    return SeriesNames(*(row[name] for name in SeriesNames._fields))


def _enums(row: Row) -> dict[str, int]:
    return {"basis": int(Basis[row["basis"].upper()]), "billing": int(Billing[row["billing"].upper()])}


class Unsent:
    """Remembers which of some rows are in the project; the columns ``key`` tell them from each other."""

    def __init__(self, rows: Callable[[], Iterable[Row]], *key: str) -> None:
        self._rows = rows
        self._key = itemgetter(*key)
        self._sent: dict[Any, Row] = {}

    def changed(self) -> list[Row]:
        """The rows that are new or have changed since they were sent."""
        now = {self._key(row): row for row in self._rows()}
        return [row for key, row in now.items() if self._sent.get(key) != row]

    def sent(self, rows: Iterable[Row]) -> None:
        """Remember that the project has these."""
        self._sent |= {self._key(row): row for row in rows}


def label_rows(ledger: Ledger, labels: Labels, proxy: str) -> list[Row]:
    """How the clients and credentials of a proxy are shown: what ``exporter_book`` takes as labels."""
    id_of_proxy = (ledger.dictionary.proxies[proxy],)
    with ledger.reading() as connection:  # the dictionary may hold names that are not committed, and drop them
        clients = connection.execute(_CLIENTS, id_of_proxy).fetchall()
        credentials = connection.execute("select id, label from credential where proxy = ?", id_of_proxy).fetchall()
    return [
        *({"kind": "client", "label": label, "shown": labels.client(id_)} for id_, label in clients),
        *({"kind": "credential", "label": label, "shown": labels.credential(id_)} for id_, label in credentials),
    ]


def quota_rows(ledger: Ledger, proxy: str) -> Iterator[Row]:
    """The windows that a proxy's providers report, as ``exporter_save_quotas`` takes them."""
    dictionary = ledger.dictionary
    for (id_, _, _), quota in ledger.quotas.current().items():
        credential, reading = dictionary.credentials[id_], quota.reading
        if credential.proxy == dictionary.proxies[proxy]:
            yield {
                **{name: getattr(reading, name) for name in (*_SAME_IN_READING, "resets_ms", "observed_ms")},
                **{"credential": credential.label, "quota": reading.window, "early_resets": quota.early_resets},
            }


def restored_reading(row: Row) -> Reading:
    """A row of ``quota_readings``."""
    return Reading(
        **{name: row[name] for name in _SAME_IN_READING},
        window=row["quota"],
        resets_ms=None if row["resets_at"] is None else moment_ms(row["resets_at"]),
        observed_ms=moment_ms(row["observed_at"]),
        ratio_inferred=row["inferred"] and row["status"] == "rejected" and row["used_ratio"] == 1,
    )
