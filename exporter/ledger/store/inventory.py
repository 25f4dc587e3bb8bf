"""The inventory in the ledger, with the proxy's own counts of attempts.

The proxy's counts start at 0 whenever the proxy starts (or when an account is removed and added again), so the exported
value continues from the last one: a count that fell is all new, any other adds its difference.
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter

from msgspec.structs import asdict, replace

from exporter.ledger.changes import Change
from exporter.ledger.credential_store import (
    ACCOUNT_ID,
    EMAIL,
    MASKED,
    MEMBER_ID,
    NAME_DIGITS,
    Credential,
    shared_handle,
)
from exporter.ledger.views.totals import Attempts
from exporter.normalize.inventory import Account

_SMALL_COUNT = 20
_IMPOSSIBLE_COUNT = 10**12
"""A proxy that states that many attempts is wrong; the sum over its restarts must fit into the ledger."""


def take_inventory(
    change: Change, accounts: Sequence[Account], *, whole: bool
) -> tuple[list[tuple[int, Account]], bool]:
    """Bind and describe the credentials of ``accounts``, inside the caller's transaction.

    Returns each account with its credential, and whether the proxy has restarted.

    Attempts are counted only from a ``whole`` inventory: in part of one, an account that was missing so far would look
    new. For the same reason only a whole one shows which credentials are the same, or retired.
    """
    shared = _shared_handles(accounts)
    for auth_index in shared:
        change.name_store.unbind(change.connection, change.proxy, "auth_index", auth_index)
    binder = _Binder(change, shared)
    # Known accounts first: a new one with the same e-mail address must not take their place.
    order = sorted(range(len(accounts)), key=lambda place: not binder.known(accounts[place]))
    rows = {place: binder.bind(accounts[place]) for place in order}
    if whole:
        for account in accounts:
            binder.join(account)
    logins = [(rows[place], account) for place, account in enumerate(accounts)]
    credentials = [(change.name_store.resolved(row).id, account) for row, account in logins]
    _retire(change, credentials, whole=whole)
    return credentials, whole and _count_attempts(change, logins)


def _retire(change: Change, credentials: Sequence[tuple[int, Account]], *, whole: bool) -> None:
    """Note which credentials the proxy lists, and which of those that share a name."""
    listed = {id_ for id_, _ in credentials}
    names = {name for _, account in credentials for name in account.names}
    rivals = {each.id for name in names for each in change.name_store.credentials_with(*name)}
    for id_, credential in list(change.name_store.credentials.items()):
        if credential.proxy == change.proxy and (whole or id_ in listed):
            gone = id_ not in listed
            retired = gone if id_ in rivals else credential.retired
            change.name_store.change_credential(change.connection, id_, gone=gone, retired=retired)


def _count_attempts(change: Change, logins: list[tuple[int, Account]]) -> bool:
    """Count the attempts by login; return whether the proxy has restarted."""
    connection = change.connection
    # A proxy met for the first time has been counting for a while: its counts are a baseline, not news.
    (met_before,) = connection.execute(
        "select exists (select 1 from credential where proxy = ? and success_seen is not null)", (change.proxy,)
    ).fetchone()
    # A key listed twice has one count, which both entries show.
    counts = {
        id_: (max(0, account.success or 0), max(0, account.failed or 0))
        for id_, account in logins
        if (account.success is not None or account.failed is not None)
        and max(account.success or 0, account.failed or 0) < _IMPOSSIBLE_COUNT
    }
    read = "select success_seen, failed_seen, success, failed from credential where id = ?"
    rows = {id_: connection.execute(read, (id_,)).fetchone() for id_ in counts}
    proxy_restarted = _proxy_restarted([((row[0] or 0, row[1] or 0), counts[id_]) for id_, row in rows.items()])
    for id_, seen in counts.items():
        row = rows[id_]
        if row[0] is None and met_before:
            change.new_series.append(("a", id_))
        before = (row[0] or 0, row[1] or 0)
        restarted = proxy_restarted or _fell(before, seen)
        new = seen if restarted else (seen[0] - before[0], seen[1] - before[1])
        counted = change.attempts[id_] = Attempts(success=row[2] + new[0], failed=row[3] + new[1])
        if new != (0, 0) or row[0] is None or restarted:
            connection.execute(
                "update credential set success_seen = ?, failed_seen = ?, success = ?, failed = ? where id = ?",
                (*seen, counted.success, counted.failed, id_),
            )
    return proxy_restarted


def _fell(before: tuple[int, int], seen: tuple[int, int]) -> bool:
    return seen[0] < before[0] or seen[1] < before[1]


def _proxy_restarted(pairs: Iterable[tuple[tuple[int, int], tuple[int, int]]]) -> bool:
    """Whether all counts began again, not only those of an account that was removed and added again.

    A count that was small may have been reached again since a restart, so one that did not fall speaks against a
    restart only if it was too large for that.
    """
    used = [(_fell(before, seen), sum(before)) for before, seen in pairs if before != (0, 0)]
    return any(fell for fell, _ in used) and all(fell or count <= _SMALL_COUNT for fell, count in used)


def _shared_handles(accounts: Iterable[Account]) -> set[str]:
    """Every ``auth_index`` that credentials of several providers share.

    Since CPA 7.0.0 it is made of base URL and key, so a relay's key has the same one in each list that has the key.
    """
    providers: dict[str, set[str]] = {}
    for account in accounts:
        providers.setdefault(account.auth_index, set()).add(account.facts.provider)
    return {auth_index for auth_index, several in providers.items() if auth_index and len(several) > 1}


class _Binder:
    """Finds or creates the credential of each account, and binds to it everything that identifies the account.

    An account is recognized by its id at its provider. If that is missing or new, its place identifies it (its file,
    its key, its ``auth_index``), unless another account was there before. Failing that, its e-mail address at its
    provider does, unless several accounts share it.
    """

    def __init__(self, change: Change, shared: set[str]) -> None:
        self._connection = change.connection
        self._name_store = change.name_store
        self._proxy = change.proxy
        self._shared = shared
        self._counted: dict[int, tuple[str, str]] = {}

    def known(self, account: Account) -> list[Credential]:
        """The credentials that match this account, by its id or by its place."""
        found = [self._name_store.find_credential(self._proxy, *key) for key in self._keys(account)]
        if not any(found):
            found = [self._name_store.find_credential(self._proxy, MASKED, name) for name in _long_names(account)]
        return [each for each in found if each is not None and not self._is_anothers(each, account)]

    def bind(self, account: Account) -> int:
        """Bind an account; return the id that holds the proxy's counts of this login."""
        connection, name_store = self._connection, self._name_store
        found = self.known(account) or self._of_address(account)
        if found:
            # The older one's name stays.
            id_ = min(credential.id for credential in found)
            readable = name_store.credentials[id_].readable or self._readable(account)
            name_store.change_credential(connection, id_, **asdict(account.facts), readable=readable)
        else:
            names = _long_names(account)
            unused = (name for name in names if name_store.credential_named(self._proxy, name) is None)
            facts, readable = asdict(account.facts), self._readable(account)
            new = Credential(proxy=self._proxy, long_name=next(unused, names[0]), readable=readable, **facts)
            id_ = name_store.add_credential(connection, new)
        for kind, value in self._keys(account):
            if kind != "file":
                before = name_store.find_credential(self._proxy, kind, value)
                if before is not None and self._is_anothers(before, account):
                    name_store.unbind(connection, self._proxy, kind, value)
                name_store.bind(connection, self._proxy, kind, value, id_)
            if kind == MEMBER_ID:
                name_store.name(connection, ACCOUNT_ID, account.account_id, id_)
                # In older ledgers all members are one credential. The other addresses belong to the other members.
                for email in name_store.known_as(id_, EMAIL).difference(value for _, value in account.names):
                    name_store.forget_name(connection, EMAIL, email, id_)
        row = self._row(account, id_)
        for kind, value in account.names:
            name_store.name(connection, kind, value, id_)
        return row

    def join(self, account: Account) -> None:
        """Merge the credentials that share the account's e-mail address."""
        found = self._of_address(account)
        for credential in found[1:]:
            self._merge(credential.id, found[0].id)

    def _keys(self, account: Account) -> list[tuple[str, str]]:
        handle, at_provider = account.auth_index, shared_handle(account.auth_index, account.facts.provider)
        # Once shared, always shared: if one of the two lists cannot be read, the other must not take all records.
        if handle in self._shared or self._name_store.bound(self._proxy, "auth_index", at_provider) is not None:
            handle = at_provider
        # Once a member, always a member: the plan may be missing or unknown at times.
        is_member = self._name_store.bound(self._proxy, MEMBER_ID, account.member_id) is not None
        own_id = (MEMBER_ID, account.member_id) if account.shares_id or is_member else (ACCOUNT_ID, account.account_id)
        keys = (own_id, account.identity or ("", ""), ("auth_index", handle))
        return [(kind, value) for kind, value in keys if value]

    def _is_anothers(self, credential: Credential, account: Account) -> bool:
        return self._name_store.is_another(credential, self._met(account))

    def _met(self, account: Account) -> list[tuple[str, str]]:
        """All keys and names that show whose account it is. The id that a workspace's members share is no key."""
        account_id = [(ACCOUNT_ID, account.account_id)] if account.account_id else []
        return [*account_id, *self._keys(account), *account.names]

    def _of_address(self, account: Account) -> list[Credential]:
        """The credentials with its e-mail address at its provider, oldest first.

        If several accounts share the address, only those with the account's own id.
        """
        name_store, met = self._name_store, self._met(account)

        def are_several(kind: str, credentials: Iterable[Credential]) -> bool:
            own = {value for each, value in met if each == kind}
            return len(own.union(*(name_store.known_as(each.id, kind) for each in credentials))) > 1

        emails = [name for name in account.names if name[0] == EMAIL]
        found = [each for name in emails for each in name_store.credentials_with(*name)]
        found = [each for each in found if (each.proxy, each.provider) == (self._proxy, account.facts.provider)]
        if are_several(ACCOUNT_ID, found) or are_several(MEMBER_ID, found):
            found = [each for each in found if account.account_id in name_store.known_as(each.id, ACCOUNT_ID)]
            found = [each for each in found if not are_several(MEMBER_ID, [each])]
        return sorted(found, key=attrgetter("id"))

    def _row(self, account: Account, id_: int) -> int:
        """The id for a file's counts, merged into its account's credential: the proxy counts each file from 0."""
        if account.identity is None or account.identity[0] != "file":
            return id_
        connection, name_store, file = self._connection, self._name_store, account.identity
        row = name_store.bound(self._proxy, *file)
        before = None if row is None else name_store.resolved(row)
        if before is not None and before.id != id_ and not self._is_anothers(before, account):
            self._merge(before.id, id_)
        if row is None or name_store.resolved(row).id != id_ or self._counted.get(row, file) != file:
            row = id_
            if name_store.known_as(id_, "file"):
                own = replace(name_store.credentials[id_], merged_into=id_, readable="", retired=False)
                row = name_store.add_credential(connection, own)
            if before is not None and name_store.resolved(before.id).id != id_:
                # The file was another account's; the proxy keeps counting.
                name_store.forget_name(connection, *file, before.id)
                connection.execute(
                    "update credential set (success_seen, failed_seen) ="
                    " (select success_seen, failed_seen from credential where id = ?) where id = ?",
                    (name_store.bound(self._proxy, *file), row),
                )
            name_store.unbind(connection, self._proxy, *file)
            name_store.bind(connection, self._proxy, *file, row)
        self._counted[row] = file
        return row

    def _merge(self, one: int, into: int) -> None:
        self._name_store.merge(self._connection, one, into)
        # Until now each was compared with the proxy's counts separately.
        self._connection.execute("update proxy set watch = null where id = ?", (self._proxy,))

    def _readable(self, account: Account) -> str:
        plan = "key" if account.auth_type == "api_key" else account.plan
        return self._name_store.readable_name(self._proxy, account.facts.provider, plan, _hashes(account)[0])


def _hashes(account: Account) -> list[str]:
    """What distinguishes an account from others, best first."""
    emails = [value for kind, value in account.names if kind == EMAIL]
    own_id = account.member_id if account.shares_id else account.account_id
    values = [own_id, *emails, account.identity[1] if account.identity else account.auth_index]
    return [value for value in values if value]


def _long_names(account: Account) -> list[str]:
    """The names that an account may have in the history, best first."""
    return [f"{account.facts.provider}-{value[:NAME_DIGITS]}" for value in _hashes(account)]
