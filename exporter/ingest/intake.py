"""The parts of the program that turn usage into entries, whatever proxy and source it comes from."""

from dataclasses import dataclass

from exporter.clock import Clock
from exporter.ledger.ledger import Ledger
from exporter.normalize.pseudonyms import Pseudonym
from exporter.pricing.pricer import Pricer


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What reads, redacts, prices and books. One serves all proxies."""

    ledger: Ledger
    pricer: Pricer
    pseudonym: Pseudonym
    clock: Clock
