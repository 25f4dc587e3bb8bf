"""What the ledger holds, as the rows that the functions in Supabase take. Nothing in them names a person."""

from collections.abc import Iterable
from datetime import tzinfo

from exporter.days import local_date
from exporter.history.remote import Row
from exporter.labels import Labels
from exporter.ledger.backlog import Entry
from exporter.ledger.dictionary import Dictionary
from exporter.ledger.ledger import Ledger
from exporter.ledger.schema import BUCKET_MS
from exporter.records import Basis, Billing

_BASIS = {int(basis): basis.label for basis in Basis}
_BILLING = {int(billing): billing.label for billing in Billing}
_MOST_DAYS = 10_000


class Rows:
    """Makes rows. Clients and credentials stand under their stable labels; aliases are sent apart."""

    def __init__(self, dictionary: Dictionary, zone: tzinfo) -> None:
        self._dictionary = dictionary
        self._zone = zone
        self._version = -1
        self._names: dict[int, tuple[str, str, str, str]] = {}
        self._days: dict[int, str] = {}

    def of(self, entries: Iterable[Entry]) -> list[Row]:
        """One row for each entry; all have the same keys."""
        if self._version != self._dictionary.labels_version:
            self._version = self._dictionary.labels_version
            self._names.clear()
        return [self._row(entry) for entry in entries]

    def _row(self, entry: Entry) -> Row:
        names = self._names.get(entry.series)
        if names is None:
            names = self._names[entry.series] = self._names_of(entry.series)
        return {
            "ts_ms": entry.ts_ms,
            "fingerprint": str(entry.fingerprint),  # more digits than a number in JSON may have
            "day": self.day(entry.ts_ms),
            "provider": names[0],
            "model": names[1],
            "credential": names[2],
            "client": names[3],
            "price": entry.price,
            "basis": _BASIS[entry.basis],
            "billing": _BILLING[entry.billing],
            "live": bool(entry.live),
            "requests": entry.counted,
            "code": entry.code,
            "unpriced": entry.unpriced,
            "latency_ms": entry.latency_ms,
            "ttft_ms": entry.ttft_ms,
            "uncached": entry.uncached,
            "cache_read": entry.cache_read,
            "cache_write": entry.cache_write,
            "output": entry.output,
            "reasoning": entry.reasoning,
            "unclassified": entry.unclassified,
            "nano_usd": entry.nano_usd,
        }

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
