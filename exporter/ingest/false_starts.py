"""The rule about false starts: sudden counts of snapshots without details that are too dear to be true.

Forks of CPA 6.9 or older can show a new series with the count of a whole life. The first value of a series beside known
ones is then kept apart and listed, and only what comes after it counts.
"""

import msgspec

from exporter.ledger.store.snapshots import FalseStart
from exporter.pricing.pricer import Pricer
from exporter.records import Tokens, UsageRecord


def find_false_start(record: UsageRecord, pricer: Pricer, *, most_nano: int) -> FalseStart | None:
    """The first value of a series as a false start, if it costs more than ``most_nano`` nano-USD.

    The proxy does not say what kind of tokens they are, so all are priced as input.
    """
    tokens = record.tokens.unclassified
    worth = pricer.price(msgspec.structs.replace(record, tokens=Tokens(uncached=tokens))).nano_usd
    if worth <= most_nano:
        return None
    return FalseStart(record.ts_ms, record.client, record.model, record.counted, tokens, nano_usd=worth)
