"""The inventory in the ledger: which credentials there are, and the proxy's own counts of their attempts.

The proxy's counts start at 0 whenever it does (or when an account is removed and added again), so what is exported goes
on from the last value: a count that fell is wholly new, any other is new by its difference.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exporter.credentials.accounts import Account
from exporter.ledger.booking import store_births
from exporter.ledger.dictionary import LABEL, Credential, Dictionary, shared_handle
from exporter.ledger.totals import Attempts, SeriesKey

_LABEL_DIGITS = 10
_SMALL_COUNT = 20


@dataclass(frozen=True, slots=True)
class Inventoried:
    """What an inventory did: the credential of each account, the new attempts, and the series that it bore."""

    credentials: list[tuple[int, Account]]
    attempts: dict[int, Attempts]
    births: list[SeriesKey]
    restarted: bool = False


def take_inventory(
    connection: sqlite3.Connection,
    dictionary: Dictionary,
    accounts: Sequence[Account],
    *,
    proxy: int,
    whole: bool,
) -> Inventoried:
    """Bind and describe the credentials of ``accounts``, inside the caller's transaction.

    Attempts are only counted from a ``whole`` inventory: in a part of one, an account that was missing so far would
    look like a new one.
    """
    shared = _shared_handles(accounts)
    for auth_index in shared:
        dictionary.unbind(connection, proxy, "auth_index", auth_index)
    credentials = [(_credential(connection, dictionary, proxy, account, shared), account) for account in accounts]
    if not whole:
        return Inventoried(credentials=credentials, attempts={}, births=[])
    return _count_attempts(connection, credentials, proxy)


def _count_attempts(connection: sqlite3.Connection, credentials: list[tuple[int, Account]], proxy: int) -> Inventoried:
    # A proxy met for the first time has counted for a while: its counts are a start, not news.
    (met_before,) = connection.execute(
        "select exists (select 1 from credential where proxy = ? and success_seen is not null)", (proxy,)
    ).fetchone()
    attempts: dict[int, Attempts] = {}
    births: list[SeriesKey] = []
    counts = _seen(credentials)
    rows = {
        id_: connection.execute(
            "select success_seen, failed_seen, success, failed from credential where id = ?", (id_,)
        ).fetchone()
        for id_ in counts
    }
    proxy_restarted = _proxy_restarted([((row[0] or 0, row[1] or 0), counts[id_]) for id_, row in rows.items()])
    for id_, seen in counts.items():
        row = rows[id_]
        if row[0] is None and met_before:
            births.append(("a", id_))
        before = (row[0] or 0, row[1] or 0)
        restarted = proxy_restarted or _fell(before, seen)
        new = seen if restarted else (seen[0] - before[0], seen[1] - before[1])
        attempts[id_] = Attempts(success=row[2] + new[0], failed=row[3] + new[1])
        if new != (0, 0) or row[0] is None or restarted:
            connection.execute(
                "update credential set success_seen = ?, failed_seen = ?, success = ?, failed = ? where id = ?",
                (*seen, attempts[id_].success, attempts[id_].failed, id_),
            )
    store_births(connection, births)
    return Inventoried(credentials=credentials, attempts=attempts, births=births, restarted=proxy_restarted)


def _fell(before: tuple[int, int], seen: tuple[int, int]) -> bool:
    return seen[0] < before[0] or seen[1] < before[1]


def _proxy_restarted(pairs: Iterable[tuple[tuple[int, int], tuple[int, int]]]) -> bool:
    """Whether all counts began anew, and not only those of an account that was removed and added again.

    A small count can have been passed again since the restart, so one that did not fall only speaks against it if it
    was too large for that.
    """
    used = [(before, seen) for before, seen in pairs if before != (0, 0)]
    fallen = [_fell(before, seen) for before, seen in used]
    return any(fallen) and all(
        fell or sum(before) <= _SMALL_COUNT for fell, (before, _) in zip(fallen, used, strict=True)
    )


def _seen(credentials: Iterable[tuple[int, Account]]) -> dict[int, tuple[int, int]]:
    """The proxy's counts by credential. A key that is listed twice has one count, which both entries show."""
    return {
        id_: (max(0, account.success or 0), max(0, account.failed or 0))
        for id_, account in credentials
        if account.success is not None or account.failed is not None
    }


def _shared_handles(accounts: Iterable[Account]) -> set[str]:
    """Every ``auth_index`` that credentials of several providers have.

    From CPA 7.0.0 on it is made of base URL and key, so a relay's key that stands in two lists has one in both.
    """
    providers: dict[str, set[str]] = {}
    for account in accounts:
        providers.setdefault(account.auth_index, set()).add(account.facts.provider)
    return {auth_index for auth_index, several in providers.items() if auth_index and len(several) > 1}


def _credential(
    connection: sqlite3.Connection, dictionary: Dictionary, proxy: int, account: Account, shared: set[str]
) -> int:
    """The credential of an account: by what names it for good (file or key), else by its ``auth_index``.

    ``auth_index`` changes with upgrades of CPA and with a moved directory, so it only finds what a record brought
    first; afterwards the file or key does, and a new ``auth_index`` leads to the same credential.
    """
    handle, at_provider = account.auth_index, shared_handle(account.auth_index, account.facts.provider)
    # Once shared, always: when one of the two lists cannot be read, the other must not take all records.
    if handle in shared or dictionary.find_credential(proxy, "auth_index", at_provider) is not None:
        handle = at_provider
    handles = [*((account.identity,) if account.identity else ()), ("auth_index", handle)]
    found = (dictionary.find_credential(proxy, kind, value) for kind, value in handles)
    credential = next((credential for credential in found if credential is not None), None)
    new = _new(proxy, account)
    credential = credential or dictionary.find_credential(proxy, LABEL, new.label)
    if credential is None:
        id_ = dictionary.add_credential(connection, new)
    else:
        id_ = credential.id
        dictionary.describe_credential(connection, id_, account.facts)
    for kind, value in handles:
        if value:
            dictionary.bind(connection, proxy, kind, value, id_)
    for kind, value in account.names:
        dictionary.name(connection, kind, value, id_)
    return id_


def _new(proxy: int, account: Account) -> Credential:
    name = account.identity[1] if account.identity else account.auth_index
    return Credential(
        id=0,
        proxy=proxy,
        label=f"{account.facts.provider}-{name[:_LABEL_DIGITS]}",
        facts=account.facts,
    )
