"""Asks a provider about one account, through the proxy, and reads the answer. The question goes by ``api-call``, which
wraps the provider's status and body in the proxy's own (CPA >= 6.6.63), or by the quota API that plugins answer.

The proxy puts the account's token into the call, and renews only an expired one of Antigravity; no token ever comes
here. The caller must not ask about an account that the proxy no longer lists: CPA would send the literal text
``$TOKEN$`` to the provider. Reading an answer never raises, whatever the bytes.
"""

from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from math import ceil
from typing import Any
from urllib.parse import quote

import msgspec

from exporter.errors import BadAnswerError, ProxyServerError, ProxyUnreachableError
from exporter.normalize.inventory import read_account_ids
from exporter.normalize.wire_record import decoded
from exporter.quotas.base import AccountIds, Balance, Call, Refusal, Report
from exporter.quotas.buckets import TIERS, grouped
from exporter.quotas.reading import Answer, fullest
from exporter.quotas.values import (
    LATEST_RESET_MS,
    MAX_VALUE,
    OTHER,
    first,
    instant,
    mapping,
    nano_usd,
    number,
    plausible,
    text,
)
from exporter.sources.paths import Paths
from exporter.sources.proxy_client import FOUND_OR_NOT, ProxyClient, Timeouts

TIMEOUTS = Timeouts(total=30.0)
"""CPA itself waits 60 s for a provider. Nobody misses an answer that comes so late."""
MAX_ANSWER = 2 << 20
"""The most bytes to read of the proxy's answer. Real ones have fewer than 100,000."""

_MOST_LAYERS = 4
_ANSWERED = frozenset({200, 400, 404, 500, 501, 502, 503, 504})
_UNSUPPORTED = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
_GONE = ("auth credential not found", "auth token not found", "auth_index not found")
_REFUSALS: Mapping[object, Refusal] = {
    **dict.fromkeys((401, "authentication_error", "UNAUTHENTICATED"), Refusal.UNAUTHORIZED),
    **dict.fromkeys((402, 403, "permission_error", "PERMISSION_DENIED"), Refusal.FORBIDDEN),
    **dict.fromkeys((404, 410, "not_found_error", "NOT_FOUND"), Refusal.NOT_FOUND),
    426: Refusal.OUTDATED,
    **dict.fromkeys((429, "rate_limit_error", "RESOURCE_EXHAUSTED"), Refusal.RATE_LIMITED),
}
"""By status, and by Anthropic's and Google's names of errors."""
_PLANS = frozenset({*TIERS.values(), "plus", "team", "business", "enterprise", "max", "premium", "basic", "lite"})
_BALANCES = ("credits", "balance")


def ask(
    client: ProxyClient, paths: Paths, auth_index: str, call: Call | None, ids: AccountIds, *, now_ms: Callable[[], int]
) -> Report:
    """What ``call`` says about the account, or the quota API without a call. A refusal if its project is not known.

    Raises what ends all calls to the proxy: KeyRefusedError, BannedError and their like.
    """
    request = {"auth_index": auth_index} if call is None else call.request(auth_index, ids)
    if request is None:
        return Report(refusal=Refusal.NO_PROJECT)
    path = paths.quota_fetch if call is None else paths.api_call
    try:
        answer = client.post(path, msgspec.json.encode(request), accept=_ANSWERED, max_bytes=MAX_ANSWER + 1)
        if isinstance(answer.error, ProxyUnreachableError):
            raise answer.error
    except BadAnswerError:
        return Report(refusal=Refusal.UNREADABLE)
    except (ProxyUnreachableError, ProxyServerError):
        return Report(refusal=Refusal.UNAVAILABLE)
    read = read_quota_api if call is None else partial(read_tunnel, call)
    return read(answer.status, bytes(answer.body), received_ms=now_ms())


def find_account_ids(client: ProxyClient, paths: Paths, auth_index: str) -> AccountIds | None:
    """What a call needs to know about the account; None if the proxy no longer lists it.

    Raises the errors of ``client``.
    """
    answer = client.get(f"{paths.credentials}?auth_index={quote(auth_index)}").whole()
    return read_account_ids(bytes(answer.body), auth_index)


def find_quota_api(client: ProxyClient, paths: Paths) -> frozenset[str]:
    """The providers whose accounts the proxy's quota API knows. Raises the errors of ``client``."""
    answer = client.get(paths.quota_providers, accept=FOUND_OR_NOT).whole()
    return quota_api_providers(answer.status, bytes(answer.body))


def read_tunnel(call: Call, status: int, body: bytes, *, received_ms: int) -> Report:
    """What the proxy's answer to ``call`` says, from its HTTP status and body."""
    content = _decoded(body)
    if status != HTTPStatus.OK:
        return Report(refusal=_refused_by_proxy(status, content))
    envelope = mapping(content)
    inner = envelope.get("status_code")
    if not isinstance(inner, int) or isinstance(inner, bool):
        return Report(refusal=Refusal.UNREADABLE)
    headers = {name.lower(): first(values) for name, values in mapping(envelope.get("header")).items()}
    return _read_provider(call, inner, headers, envelope.get("body"), received_ms)


def read_quota_api(status: int, body: bytes, *, received_ms: int) -> Report:
    """What the proxy's ``quota/fetch`` says about an account of any provider.

    From CPA's documentation of version 8 and its tests; no recording exists. 502 stands for every failure of the
    provider, including 401 and 429.
    """
    content = _decoded(body)
    if status != HTTPStatus.OK:
        unknown = status == HTTPStatus.NOT_FOUND and "auth" in _error(content)
        return Report(refusal=Refusal.GONE if unknown else _refused_by_proxy(status, content))
    if not isinstance(content, Mapping) or not content.keys() & {"groups", "subscription", "summary"}:
        return Report(refusal=Refusal.UNREADABLE)
    answer = Answer(content, received_ms)
    subscription = answer.part("subscription")
    plan = TIERS.get(subscription.text("tier_id")) or subscription.text("plan").lower()
    balances = {
        name: Balance(name, nano)
        for entry in answer.each("summary")
        if (name := entry.text("key")) in _BALANCES
        and entry.text("currency").upper() == "USD"
        and (nano := nano_usd(entry.get("value"))) is not None
    }
    return Report(
        readings=tuple(fullest(grouped(answer))),
        plan=plan if plan in _PLANS or not plan else OTHER,
        balances=tuple(balances.values()),
    )


def quota_api_providers(status: int, body: bytes) -> frozenset[str]:
    """The providers that the proxy's quota API serves, from ``quota/providers``; none without such an API."""
    if status != HTTPStatus.OK:
        return frozenset()
    found: set[str] = set()
    for entry in Answer(mapping(_decoded(body)), 0).each("providers"):
        more = entry.get("supported_providers")
        found |= {text(name) for name in [entry.get("provider"), *(more if isinstance(more, list) else [])]}
    return frozenset(found - {""})


def _read_provider(call: Call, status: int, headers: Mapping[str, str], content: Any, received_ms: int) -> Report:
    echoes_token = isinstance(content, str) and "$TOKEN$" in content
    for _ in range(_MOST_LAYERS):
        # Some answers are JSON inside JSON, and some clients have met an envelope inside the envelope.
        if isinstance(content, str):
            content = _decoded(content) if content.strip() else {}
        elif isinstance(content, Mapping) and "body" in content and content.keys() <= {"body", "status_code", "header"}:
            inner = content.get("status_code")
            status = inner if isinstance(inner, int) else status
            content = content["body"]
    refusal = _refused_inside(content) if status // 100 == 2 else _REFUSALS.get(status, Refusal.UNAVAILABLE)
    if echoes_token and refusal is Refusal.UNAUTHORIZED:
        # CPA 7 sends the placeholder itself for an account that it does not have.
        refusal = Refusal.GONE
    if refusal is not None:
        return Report(refusal=refusal, retry_after_s=_retry_after(headers.get("retry-after", ""), received_ms))
    observed_ms = plausible(headers.get("date"), received_ms) or received_ms
    report = call.read(Answer(content, observed_ms)) if isinstance(content, Mapping) else None
    if report is None:
        return Report(refusal=Refusal.UNREADABLE)
    return msgspec.structs.replace(report, readings=tuple(fullest(report.readings)))


def _refused_by_proxy(status: int, content: Any) -> Refusal:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Refusal.REFUSED
    if status in _UNSUPPORTED:
        return Refusal.UNSUPPORTED
    if status == HTTPStatus.BAD_REQUEST and _error(content).startswith(_GONE):
        return Refusal.GONE
    if status == HTTPStatus.BAD_REQUEST and _error(content).startswith("auth token refresh failed"):
        return Refusal.UNAUTHORIZED
    return Refusal.UNAVAILABLE


def _error(content: Any) -> str:
    error = mapping(content).get("error")
    return error if isinstance(error, str) else ""


def _refused_inside(content: Any) -> Refusal | None:
    """What an error inside a 200 stands for; None for no error."""
    error = mapping(content).get("error")
    if not isinstance(error, Mapping):
        return None
    names = [name for key in ("code", "type", "status") if isinstance(name := error.get(key), int | str)]
    return next((_REFUSALS[name] for name in names if name in _REFUSALS), Refusal.UNAVAILABLE)


def _retry_after(value: str, received_ms: int) -> int | None:
    """Seconds to wait, from seconds or an HTTP date. Claude sends 0 and means hours, so 0 says nothing."""
    if not value or len(value) > MAX_VALUE:
        return None
    seconds = number(value)
    if seconds is None:
        until_ms = instant(value)
        seconds = 0 if until_ms is None else (until_ms - received_ms) / 1000
    return ceil(min(seconds, LATEST_RESET_MS / 1000)) if seconds > 0 else None


def _decoded(content: bytes | str) -> Any:
    """The JSON in an answer; None if it is too long or not JSON."""
    return None if len(content) > MAX_ANSWER else decoded(content, object)
