"""What the ledger holds, as the rows that the functions in Supabase take. Nothing in them names a person."""

from collections.abc import Iterable
from datetime import tzinfo

import msgspec

from exporter.days import local_date
from exporter.history.client import Row
from exporter.ledger.label_store import Dictionary
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import BUCKET_MS
from exporter.ledger.sync.cursor import Entry
from exporter.records import Basis, Billing

_BASIS = {int(basis): basis.label for basis in Basis}
_BILLING = {int(billing): billing.label for billing in Billing}
_MOST_DAYS = 10_000


class _BookRow(msgspec.Struct, gc=False):
    """What ``exporter_book`` takes for one record, in the order of ``Rows._row``."""

    ts_ms: int
    fingerprint: str
    """Has more digits than a number in JSON may have."""
    day: str
    provider: str
    model: str
    credential: str
    client: str
    price: str
    basis: str
    billing: str
    live: bool
    requests: int
    code: str
    unpriced: str
    latency_ms: int
    ttft_ms: int
    uncached: int
    cache_read: int
    cache_write: int
    output: int
    reasoning: int
    unclassified: int
    nano_usd: int


class Rows:
    """Makes rows. Clients and credentials stand under their stable labels; aliases are sent apart."""

    def __init__(self, dictionary: Dictionary, zone: tzinfo) -> None:
        self._dictionary = dictionary
        self._zone = zone
        self._version = -1
        self._names: dict[int, tuple[str, str, str, str]] = {}
        self._days: dict[int, str] = {}

    def of(self, entries: Iterable[Entry]) -> str:
        """One row for each entry, as a JSON text."""
        if self._version != self._dictionary.labels_version:
            self._version = self._dictionary.labels_version
            self._names.clear()
        return msgspec.json.encode([self._row(entry) for entry in entries]).decode()

    def _row(self, entry: Entry) -> _BookRow:
        names = self._names.get(entry.series)
        if names is None:
            names = self._names[entry.series] = self._names_of(entry.series)
        return _BookRow(
            entry.ts_ms,
            str(entry.fingerprint),
            self.day(entry.ts_ms),
            *names,
            self._dictionary.prices[entry.price],
            _BASIS[entry.basis],
            _BILLING[entry.billing],
            bool(entry.live),
            entry.counted,
            entry.code,
            entry.unpriced,
            entry.latency_ms,
            entry.ttft_ms,
            entry.uncached,
            entry.cache_read,
            entry.cache_write,
            entry.output,
            entry.reasoning,
            entry.unclassified,
            entry.nano_usd,
        )

    def day(self, ts_ms: int) -> str:
        """The local day of a moment, as ISO text. Days begin at a quarter of an hour in every zone."""
        bucket = ts_ms // BUCKET_MS
        day = self._days.get(bucket)
        if day is None:
            if len(self._days) >= _MOST_DAYS:
                self._days.clear()
            day = self._days[bucket] = local_date(bucket * BUCKET_MS, self._zone).isoformat()
        return day

    def _names_of(self, id_: int) -> tuple[str, str, str, str]:
        series = self._dictionary.series[id_]
        route = self._dictionary.routes[series.route]
        credential = self._dictionary.resolved(series.credential)
        return route.provider, route.model, credential.label, self._dictionary.clients[series.client]


class LabelRows:
    """How the clients and credentials of a proxy are shown: what ``exporter_book`` takes as labels."""

    def __init__(self, dictionary: Dictionary, labels: Labels, proxy: str) -> None:
        self._dictionary = dictionary
        self._labels = labels
        self._proxy = proxy
        self._seen = (-1, -1)
        self._now: dict[tuple[str, str], str] = {}
        self._sent: dict[tuple[str, str], str] = {}

    def changed(self) -> list[Row]:
        """Those that were not sent yet, or not as they are now."""
        seen = (self._labels.version, len(self._dictionary.series))
        if seen != self._seen:
            self._now = self._shown()
            self._seen = seen
        return [
            {"kind": kind, "label": label, "shown": shown}
            for (kind, label), shown in self._now.items()
            if self._sent.get((kind, label)) != shown
        ]

    def sent(self, rows: Iterable[Row]) -> None:
        """These are there."""
        self._sent |= {(row["kind"], row["label"]): row["shown"] for row in rows}

    def _shown(self) -> dict[tuple[str, str], str]:
        dictionary, proxy = self._dictionary, self._dictionary.proxies[self._proxy]
        series = list(dictionary.series.values())
        clients = {each.client for each in series if dictionary.routes[each.route].proxy == proxy}
        shown = {("client", dictionary.clients[id_]): self._labels.client(id_) for id_ in clients}
        for id_, credential in list(dictionary.credentials.items()):
            if credential.proxy == proxy:
                shown["credential", credential.label] = self._labels.credential(id_)
        return shown


class QuotaRows:
    """The windows that a proxy's providers report: what ``exporter_save_quotas`` takes."""

    def __init__(self, ledger: Ledger, proxy: str) -> None:
        self._ledger = ledger
        self._proxy = proxy
        self._sent: dict[tuple[str, str, str], Row] = {}

    def changed(self) -> list[Row]:
        """Those that were not sent yet, or not as they are now."""
        dictionary = self._ledger.dictionary
        proxy = dictionary.proxies[self._proxy]
        rows: list[Row] = []
        windows = self._ledger.quotas.current(lambda each: dictionary.resolved(each).id)
        for (id_, _, _), quota in windows.items():
            credential, reading = dictionary.credentials[id_], quota.reading
            if credential.proxy != proxy:
                continue
            row = {
                "credential": credential.label,
                "quota": reading.window,
                "scope": reading.scope,
                "window_seconds": reading.window_seconds,
                "used_ratio": reading.used_ratio,
                "resets_ms": reading.resets_ms,
                "status": reading.status,
                "observed_ms": reading.observed_ms,
                "source": reading.source,
                "inferred": reading.inferred,
                "early_resets": quota.early_resets,
            }
            if self._sent.get(_key(row)) != row:
                rows.append(row)
        return rows

    def sent(self, rows: Iterable[Row]) -> None:
        """These are there."""
        self._sent |= {_key(row): row for row in rows}


def _key(row: Row) -> tuple[str, str, str]:
    return row["credential"], row["quota"], row["scope"]
