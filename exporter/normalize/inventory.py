"""Reads the proxy's lists of accounts and keys. Pure: bytes in, ``Account`` values out.

The answers hold raw keys, e-mail addresses and file names. Here they become pseudonyms, and no undeclared field is
decoded, so nothing raw can stay. The one exception: ``AccountIds`` for a call about an account.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from exporter.errors import BadAnswerError
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.usage_record import billing_of
from exporter.normalize.wire_record import UNDECODABLE, decoded, without_nul
from exporter.quotas.base import AccountIds
from exporter.quotas.headers import read_signals
from exporter.quotas.reading import Reading
from exporter.quotas.values import OTHER, instant, is_word
from exporter.records import Billing, CredentialFacts

KeyUses = Mapping[str, Mapping[str, tuple[int, int]]]
"""Pseudonym of a key → provider (as ``/api-key-usage`` calls it) → (success, failed)."""

_FAR_MS = 4_102_444_800_000  # the year 2100

_LISTED_STATUSES = ("active", "error", "disabled")
_is_personal = re.compile(r"free|go|guest|plus|pro(lite)?").fullmatch
"""Whether a Codex plan is one person's. Any other is a workspace's, whose members share one account id."""
_of_organization = re.compile(r"claude-([0-9a-f]{8})-.+").fullmatch
"""The hash of an organization in the file name of a Claude account (CPA since autumn 2026); its members share it."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A credential as the proxy lists it.

    ``identity`` is its place as ``(kind, value)``: its file, or its key at its provider. ``account_id`` identifies its
    owner at the provider, across logins; empty if the proxy does not state it. The members of a workspace or an
    organization share one (``shares_id``), so there ``member_id`` identifies the owner: the id with the e-mail address,
    empty without an address. ``names`` are what people may call it in aliases; several credentials can share one.
    ``status`` is None for API keys: no CPA version states theirs. ``success`` and ``failed`` are the proxy's own counts
    since its start (CPA >= 6.9.49), else None. ``renewed_ms`` is when its login was last made or refreshed, 0 if the
    proxy does not state it. ``readings`` are the provider's windows, from builds that list them (later than 7.2.140).
    """

    facts: CredentialFacts
    identity: tuple[str, str] | None
    account_id: str = ""
    member_id: str = ""
    shares_id: bool = False
    names: tuple[tuple[str, str], ...] = ()
    auth_index: str
    auth_type: str
    plan: str = ""
    status: str | None = None
    disabled: bool = False
    unavailable: bool = False
    retry_ms: int | None = None
    renewed_ms: int = 0
    success: int | None = None
    failed: int | None = None
    readings: tuple[Reading, ...] = ()

    def is_up(self, now_ms: float) -> bool | None:
        """Whether the proxy uses it at that time; None for API keys.

        The proxy's flags change with events, not with time: a wait that is over no longer counts.
        """
        if self.status is None:
            return None
        blocked = self.unavailable and (self.retry_ms is None or self.waits_until(now_ms) is not None)
        return not self.disabled and not blocked

    def waits_until(self, now_ms: float) -> int | None:
        """The end in ms of the wait in force at that time; None if there is none."""
        return self.retry_ms if self.retry_ms is not None and self.retry_ms > now_ms else None


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """The accounts of a list, and the number of unreadable entries."""

    accounts: list[Account]
    unread: int


class _IdToken(msgspec.Struct):
    plan_type: str | None = None
    chatgpt_account_id: str | None = None


class _AuthFile(msgspec.Struct):
    name: str | None = None
    id: str | None = None
    provider: str | None = None
    type: str | None = None
    email: str | None = None
    account_type: str | None = None
    auth_index: str | int | None = None
    status: str | None = None
    disabled: bool | None = None
    unavailable: bool | None = None
    next_retry_after: str | None = None
    last_refresh: str | None = None
    id_token: _IdToken | None = None
    success: int | None = None
    failed: int | None = None
    quota: Any = None
    model_quotas: Any = None


class _Called(msgspec.Struct):
    auth_index: str | int | None = None
    disabled: bool | None = None
    id_token: _IdToken | None = None
    project_id: str | None = None


class _AuthFiles(msgspec.Struct):
    files: list[msgspec.Raw] | None = None


class _Key(msgspec.Struct, rename="kebab"):
    api_key: str | None = None
    auth_index: str | None = None


class _CompatKey(_Key, rename="kebab"):
    """An upstream: a list of keys, or, if it needs none, a handle of its own."""

    name: str | None = None
    api_key_entries: list[_Key] | None = None


class _KeyUse(msgspec.Struct):
    success: int | None = None
    failed: int | None = None


def read_auth_files(body: bytes, pseudonym: Pseudonym, *, received_ms: int) -> Read:
    """The accounts of ``/auth-files`` (v8: ``/credentials``). Raises BadAnswerError for another shape."""
    raws = _decode(body, _AuthFiles, "list of credentials").files or []
    files = [decoded(raw, _AuthFile, strict=False) for raw in raws]  # one by one: an odd one costs no other
    return Read(
        accounts=[
            _from_file(file, pseudonym, received_ms) for file in files if file is not None and (file.name or file.id)
        ],
        unread=files.count(None),
    )


def read_account_ids(body: bytes, auth_index: str) -> AccountIds | None:
    """What a call about the account needs, unredacted; None if this ``/auth-files`` lacks it or lists it as disabled.

    Raises BadAnswerError for another shape.
    """
    for raw in _decode(body, _AuthFiles, "list of credentials").files or []:
        file = decoded(raw, _Called, strict=False)
        if file is not None and file.auth_index == auth_index and not file.disabled:
            account_id = (file.id_token.chatgpt_account_id if file.id_token else None) or ""
            return AccountIds(account_id=account_id.strip(), project_id=(file.project_id or "").strip())
    return None


def read_key_list(endpoint: str, body: bytes, *, uses: KeyUses, pseudonym: Pseudonym) -> Read:
    """The keys in one list, for example ``/claude-api-key``. ``uses`` comes from ``read_key_uses``.

    Raises BadAnswerError for another shape.
    """
    lists = _decode(body, dict[str, msgspec.Raw], "list of API keys")
    raws = _decode(lists[endpoint], list[msgspec.Raw] | None, "list of API keys") if endpoint in lists else []
    accounts: list[Account] = []
    unread = 0
    for raw in raws or []:
        if endpoint == "openai-compatibility":
            upstream = decoded(raw, _CompatKey, strict=False)
            name = (upstream and upstream.name) or "unnamed"
            listed = f"openai-compatible-{name}"
            provider = f"openai-compatible-{name.strip().lower()}"  # as in records
            keys = None if upstream is None else upstream.api_key_entries or [upstream]
        else:
            key = decoded(raw, _Key, strict=False)
            kind = endpoint.removesuffix("-api-key")
            listed = provider = "gemini-interactions" if kind == "interactions" else kind
            keys = None if key is None else [key]
        unread += keys is None
        identified = (key for key in keys or [] if key.api_key or key.auth_index)
        accounts += [_from_key(key, provider, uses, pseudonym, listed=listed) for key in identified]
    return Read(accounts=accounts, unread=unread)


def read_key_uses(body: bytes, pseudonym: Pseudonym) -> KeyUses:
    """The counts in ``/api-key-usage``; none before CPA 6.9.49, the first version that states them.

    The inner map's keys are ``<base URL>|<raw key>``. Raises BadAnswerError for another shape.
    """
    providers = _decode(body, dict[str, dict[str, msgspec.Raw] | None], "use of API keys")
    uses: dict[str, dict[str, tuple[int, int]]] = {}
    for provider, keys in providers.items():
        for url_and_key, raw in (keys or {}).items():
            use = decoded(raw, _KeyUse, strict=False)
            if use is None:
                continue  # a bare list of buckets: CPA 6.9.47 and 6.9.48
            at = uses.setdefault(pseudonym(url_and_key.rpartition("|")[2]), {})
            success, failed = at.get(provider, (0, 0))
            at[provider] = (success + max(0, use.success or 0), failed + max(0, use.failed or 0))
    return uses


def _from_file(file: _AuthFile, pseudonym: Pseudonym, received_ms: int) -> Account:
    provider = (file.provider or file.type or "unknown").strip().lower()
    auth_type = file.account_type if file.account_type in ("oauth", "api_key") else "oauth"
    name = pseudonym(file.name or file.id or "")
    status = file.status or ""
    id_token = file.id_token or _IdToken()
    plan = (id_token.plan_type or "").strip().lower()
    organization = _of_organization(file.name or "")
    account_id = organization[1] if organization else (id_token.chatgpt_account_id or "").strip()
    email = (file.email or "").strip().lower()
    retry_ms = instant(file.next_retry_after or "") or 0
    return Account(
        facts=CredentialFacts(provider=provider, billing=billing_of(auth_type, provider)),
        identity=("file", name),
        account_id=f"{pseudonym(account_id)}/{provider}" if account_id else "",
        member_id=f"{pseudonym(f'{account_id} {email}')}/{provider}" if account_id and email else "",
        shares_id=bool(account_id) and (organization is not None or not _is_personal(plan)),
        names=(("file", name), *((("email", pseudonym(file.email)),) if file.email else ())),
        auth_index=file.auth_index if isinstance(file.auth_index, str) else "",
        auth_type=auth_type,
        plan=plan if is_word(plan) or not plan else OTHER,
        status=status if status in _LISTED_STATUSES else "other",
        disabled=bool(file.disabled),
        unavailable=bool(file.unavailable),
        # Year 1 is Go's "no time"; no page can show a time centuries away in every zone.
        retry_ms=retry_ms if 0 < retry_ms < _FAR_MS else None,
        renewed_ms=instant(file.last_refresh or "") or 0,
        success=file.success,
        failed=file.failed,
        readings=tuple(read_signals(provider, file.quota, file.model_quotas, received_ms=received_ms)),
    )


def _from_key(key: _Key, provider: str, uses: KeyUses, pseudonym: Pseudonym, *, listed: str) -> Account:
    hidden = pseudonym(key.api_key or "")
    counts = uses.get(hidden, {}) if hidden else {}
    upstream = provider.removeprefix("openai-compatible-")
    if len(counts) == 1:
        # Before CPA 7.2.26 a compatible upstream had another name here; a key with a single provider leaves no doubt.
        (upstream,) = counts
    success, failed = counts.get(upstream, (None, None))
    return Account(
        facts=CredentialFacts(
            provider=provider,
            billing=Billing.METERED,
            openai_compatible=provider.startswith("openai-compatible-"),
        ),
        # A relay's key at two providers is two credentials: their records are read and priced differently. The name is
        # as listed, because older ledgers have it so.
        identity=("key", f"{hidden}/{listed}") if hidden else None,
        names=(("key", hidden),) if hidden else (),
        auth_index=key.auth_index or "",
        auth_type="api_key",
        success=success,
        failed=failed,
    )


def _decode(body: bytes | msgspec.Raw, type_: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(without_nul(bytes(body)), type=type_, strict=False)
    except UNDECODABLE:
        # Not "from exc": msgspec's text may name a map's key, and the maps' keys are raw keys.
        raise BadAnswerError("The proxy's {what} has a shape that no known CPA version sends.", what=what) from None
