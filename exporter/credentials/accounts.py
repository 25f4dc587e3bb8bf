"""Reading the proxy's lists of accounts and keys. Pure: bytes in, ``Account`` values out.

The answers hold raw keys, e-mail addresses and file names. They are turned into pseudonyms here, and no other field is
decoded, so nothing of them can stay.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

import msgspec

from exporter.errors import BadAnswerError
from exporter.records import Billing, CredentialFacts

Pseudonym = Callable[[str], str]
_T = TypeVar("_T")

_LISTED_STATUSES = ("active", "error", "disabled")


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """A credential as the proxy lists it.

    ``keys`` are the ways to find it again, best first: ``(kind, value)`` with the kinds of the ledger's dictionary.
    ``available`` and ``status`` are None for API keys, whose state no CPA version tells. ``success`` and ``failed``
    are the proxy's own counts since its start (CPA >= 6.9.49), None where it has none.
    """

    facts: CredentialFacts
    keys: tuple[tuple[str, str], ...]
    auth_index: str
    auth_type: str
    plan: str = ""
    status: str | None = None
    disabled: bool = False
    unavailable: bool = False
    retry_ms: int | None = None
    success: int | None = None
    failed: int | None = None


class _IdToken(msgspec.Struct):
    plan_type: str | None = None


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
    id_token: _IdToken | None = None
    success: int | None = None
    failed: int | None = None


class _AuthFiles(msgspec.Struct):
    files: list[_AuthFile] | None = None


class _Key(msgspec.Struct, rename="kebab"):
    api_key: str | None = None
    auth_index: str | None = None


class _CompatKey(msgspec.Struct, rename="kebab"):
    name: str | None = None
    api_key_entries: list[_Key] | None = None


class _KeyUse(msgspec.Struct):
    success: int | None = None
    failed: int | None = None


def read_auth_files(body: bytes, pseudonym: Pseudonym) -> list[Account]:
    """The accounts of ``/auth-files`` (v8: ``/credentials``). Raises BadAnswerError for another shape."""
    files = _decode(body, _AuthFiles, "list of credentials").files or []
    return [_from_file(file, pseudonym) for file in files if file.name or file.id]


def read_key_list(
    endpoint: str, body: bytes, *, uses: Mapping[str, tuple[int, int]], pseudonym: Pseudonym
) -> list[Account]:
    """The keys of one provider key list, for example ``/claude-api-key``. ``uses`` is from ``read_key_uses``.

    Raises BadAnswerError for another shape.
    """
    what = "list of API keys"
    if endpoint == "openai-compatibility":
        upstreams = _decode(body, dict[str, list[_CompatKey] | None], what).get(endpoint) or []
        return [
            _from_key(key, provider=f"openai-compatible-{upstream.name or 'unnamed'}", uses=uses, pseudonym=pseudonym)
            for upstream in upstreams
            for key in upstream.api_key_entries or []
            if key.api_key or key.auth_index
        ]
    provider = _KEY_LIST_PROVIDERS.get(endpoint, endpoint.removesuffix("-api-key"))
    keys = _decode(body, dict[str, list[_Key] | None], what).get(endpoint) or []
    return [
        _from_key(key, provider=provider, uses=uses, pseudonym=pseudonym)
        for key in keys
        if key.api_key or key.auth_index
    ]


_KEY_LIST_PROVIDERS = {"interactions-api-key": "gemini-interactions"}


def read_key_uses(body: bytes, pseudonym: Pseudonym) -> dict[str, tuple[int, int]]:
    """``/api-key-usage``: (success, failed) by the key's pseudonym. Empty before CPA 6.9.49, which had no counts.

    The map's keys are ``<base URL>|<raw key>``. Raises BadAnswerError for another shape.
    """
    providers = _decode(body, dict[str, dict[str, msgspec.Raw] | None], "use of API keys")
    uses: dict[str, tuple[int, int]] = {}
    for keys in providers.values():
        for url_and_key, raw in (keys or {}).items():
            try:
                use = msgspec.json.decode(raw, type=_KeyUse)
            except msgspec.DecodeError:
                continue  # a bare list of buckets: CPA 6.9.47 and 6.9.48
            key = pseudonym(url_and_key.rpartition("|")[2])
            success, failed = uses.get(key, (0, 0))
            uses[key] = (success + max(0, use.success or 0), failed + max(0, use.failed or 0))
    return uses


def _from_file(file: _AuthFile, pseudonym: Pseudonym) -> Account:
    provider = (file.provider or file.type or "unknown").strip().lower()
    auth_type = file.account_type if file.account_type in ("oauth", "api_key") else "oauth"
    keys = [("file", pseudonym(file.name or file.id or ""))]
    if file.email:
        # Not unique by itself: one person has accounts at several providers.
        keys.append(("email", f"{pseudonym(file.email)}/{provider}"))
    status = file.status or ""
    return Account(
        facts=CredentialFacts(provider=provider, billing=_billing(provider, auth_type)),
        keys=tuple(keys),
        auth_index=file.auth_index if isinstance(file.auth_index, str) else "",
        auth_type=auth_type,
        plan=((file.id_token and file.id_token.plan_type) or "")[:40],
        status=status if status in _LISTED_STATUSES else "other",
        disabled=bool(file.disabled),
        unavailable=bool(file.unavailable),
        retry_ms=_milliseconds(file.next_retry_after),
        success=file.success,
        failed=file.failed,
    )


def _billing(provider: str, auth_type: str) -> Billing:
    # A Vertex account is a file, but a service account whose use is charged.
    return Billing.METERED if auth_type == "api_key" or provider == "vertex" else Billing.SUBSCRIPTION


def _from_key(key: _Key, *, provider: str, uses: Mapping[str, tuple[int, int]], pseudonym: Pseudonym) -> Account:
    hidden = pseudonym(key.api_key or "")
    success, failed = uses.get(hidden, (None, None))
    return Account(
        facts=CredentialFacts(
            provider=provider,
            billing=Billing.METERED,
            openai_compatible=provider.startswith("openai-compatible-"),
        ),
        keys=(("key", hidden),) if hidden else (),
        auth_index=key.auth_index or "",
        auth_type="api_key",
        success=success,
        failed=failed,
    )


def _milliseconds(moment: str | None) -> int | None:
    if not moment:
        return None
    try:
        parsed = datetime.fromisoformat(moment)
        milliseconds = int(parsed.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return milliseconds if parsed.tzinfo is not None and milliseconds > 0 else None  # year 1 is Go's "no time"


def _decode(body: bytes, type_: type[_T], what: str) -> _T:
    try:
        return msgspec.json.decode(body, type=type_, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Not "from exc": msgspec's text may name a map's key, and the maps' keys are raw keys.
        raise BadAnswerError(f"The proxy's {what} has a shape that no known CPA version sends.") from None
