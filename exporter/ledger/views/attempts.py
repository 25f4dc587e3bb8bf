"""The proxy's own counts of attempts, by shown credential."""

from collections.abc import Collection

from exporter.ledger.labels import CredentialLabels, Labels
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.totals import Attempts


def shown_attempts(
    ledger: Ledger, labels: Labels, *, hidden: Collection[object] = ()
) -> dict[CredentialLabels, Attempts]:
    """The counts by shown credential; merged ones are added up, ``hidden`` ids count as 0."""
    sums: dict[CredentialLabels, Attempts] = {}
    with ledger.totals.lock:
        for id_, count in ledger.totals.attempts.items():
            credential = ledger.dictionary.resolved(id_)
            key = CredentialLabels(labels.proxy(credential.proxy), labels.credential(id_), credential.provider)
            sum_ = sums.setdefault(key, Attempts(success=0, failed=0))
            if id_ not in hidden:
                sum_.success += count.success
                sum_.failed += count.failed
    return sums
