"""The accounts of each provider at each proxy as a pool: how many work now, and for how long."""

from exporter.limits.board import LimitBoard
from exporter.limits.pools import STATES, PoolKey
from exporter.metrics.family import Samples, filling, gauge

POOL_ACCOUNTS = gauge(
    "cliproxy_pool_accounts",
    (*PoolKey._fields, "state"),
    "Accounts of a provider at a proxy, each in one state. exhausted: a window for all its use is full; cooling: the"
    " proxy does not use it for another reason; usable: something is left; unknown: the proxy would use it, but none"
    " of its windows is known. Without API keys and disabled accounts.",
)
POOL_NEXT_BACK = gauge(
    "cliproxy_pool_next_back_timestamp_seconds",
    PoolKey._fields,
    "When the first of the exhausted and cooling accounts works again. Absent if there is none, or if that is unknown.",
)
POOL_EMPTY = gauge(
    "cliproxy_pool_empty_timestamp_seconds",
    PoolKey._fields,
    "When no account of a provider works any more at the pace of the windows so far, resets included: now if none does."
    " Absent where that is not within a day, or where an account is unknown.",
)


@filling(POOL_ACCOUNTS, POOL_NEXT_BACK, POOL_EMPTY)
def pool_families(board: LimitBoard) -> Samples:
    """The pools as of the last look."""
    for key, pool in board.current.pools.items():
        for state in STATES:
            yield POOL_ACCOUNTS(pool.accounts[state], **key._asdict(), state=state)
        yield POOL_NEXT_BACK.at(pool.next_back_ms, **key._asdict())
        yield POOL_EMPTY.at(pool.empty_ms, **key._asdict())
