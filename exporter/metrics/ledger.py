"""The ledger itself: its size, and what could not be identified in it."""

from exporter.ledger.label_store import OTHER
from exporter.ledger.labels import Labels
from exporter.ledger.ledger import Ledger
from exporter.metrics.family import Samples, counter, filling, gauge

UNIDENTIFIED = gauge(
    "cliproxy_exporter_unidentified_requests",
    ("proxy",),
    "Requests in the counters of accounts and keys that the proxy does not list: whether they cost money is not known,"
    " and from snapshots their provider is a guess by the model's family.",
)
FOLDED = counter(
    "cliproxy_exporter_folded_label_sets",
    (),
    "Label sets beyond EXPORTER_MAX_LABEL_SETS, which are exported under the label value other.",
)
LEDGER_BYTES = gauge("cliproxy_exporter_ledger_bytes", (), "Size of the ledger's file on disk.")
LEDGER_ENTRIES = gauge("cliproxy_exporter_ledger_entries", (), "Usage records in the ledger.")


@filling(UNIDENTIFIED, FOLDED, LEDGER_BYTES, LEDGER_ENTRIES)
def ledger_families(ledger: Ledger, labels: Labels) -> Samples:
    for proxy, requests in _unidentified(ledger, labels).items():
        yield UNIDENTIFIED(requests, proxy=proxy)
    yield FOLDED(ledger.dictionary.folded)
    yield LEDGER_BYTES(ledger.bytes_on_disk)
    yield LEDGER_ENTRIES(ledger.totals.entries)


def _unidentified(ledger: Ledger, labels: Labels) -> dict[str, int]:
    """Requests of credentials that no inventory has named, by proxy."""
    dictionary = ledger.dictionary
    found = dict.fromkeys(dictionary.proxies, 0)
    unnamed = {
        id_: labels.proxy(credential.proxy)
        for id_ in list(dictionary.credentials)
        if not (credential := dictionary.resolved(id_)).provider and credential.label != OTHER
    }
    if unnamed:  # usually there is none, and no need to walk through the many series
        with ledger.totals.lock:
            for id_, sums in ledger.totals.series.items():
                proxy = unnamed.get(dictionary.series[id_].credential)
                if proxy is not None:
                    found[proxy] += sums[0]
    return found
