"""The parts that turn usage into entries, whatever proxy and source it comes from."""

from collections.abc import Callable
from dataclasses import dataclass

from exporter.clock import Clock
from exporter.ledger.ledger import Ledger
from exporter.normalize.pseudonyms import Pseudonym
from exporter.pricing.pricer import Pricer

LookUp = Callable[[set[str]], bool]
"""Gets each ``auth_index`` of records before they are booked, and looks up those that no inventory has named.

If it returns True, the look-up comes later, and the records stay on disk until then.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestParts:
    """What redacts, prices, books and dates a record. One serves all proxies."""

    ledger: Ledger
    pricer: Pricer
    pseudonym: Pseudonym
    clock: Clock
