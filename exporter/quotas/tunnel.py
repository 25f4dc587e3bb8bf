"""The proxy's answers to ``api-call`` and to its own quota API, as reports. Pure: bytes in, a ``Report`` out.

Nothing raises here, whatever the bytes. ``api-call`` (CPA >= 6.6.63) wraps the provider's status and body in the
proxy's own.
"""

from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any

import msgspec

from exporter.quotas.asking import Balance, Call, Refusal, Report
from exporter.quotas.buckets import TIERS, grouped
from exporter.quotas.reading import Answer, fullest
from exporter.quotas.values import (
    LATEST_RESET_MS,
    MAX_VALUE,
    OTHER,
    field,
    first,
    instant,
    mapping,
    mappings,
    nano_usd,
    number,
    plausible,
    text,
)

MAX_ANSWER = 2 << 20
"""The most bytes to read of the proxy's answer. Real ones have fewer than 100,000."""

_MOST_LAYERS = 4
_UNDECODABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
_UNSUPPORTED = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)
_GONE = ("auth credential not found", "auth token not found", "auth_index not found")
_REFUSALS = {
    401: Refusal.UNAUTHORIZED,
    402: Refusal.FORBIDDEN,
    403: Refusal.FORBIDDEN,
    404: Refusal.NOT_FOUND,
    410: Refusal.NOT_FOUND,
    426: Refusal.OUTDATED,
    429: Refusal.RATE_LIMITED,
}
_ERRORS = {
    "authentication_error": 401,
    "UNAUTHENTICATED": 401,
    "permission_error": 403,
    "PERMISSION_DENIED": 403,
    "not_found_error": 404,
    "NOT_FOUND": 404,
    "rate_limit_error": 429,
    "RESOURCE_EXHAUSTED": 429,
}
"""Statuses by Anthropic's and Google's names of errors, for an error inside a 200."""
_PLANS = frozenset({*TIERS.values(), "plus", "team", "business", "enterprise", "max", "premium", "basic", "lite"})
_BALANCES = ("credits", "balance")


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
    answer = Answer("", received_ms, "active")
    if not isinstance(content, Mapping) or not content.keys() & {"groups", "subscription", "summary"}:
        return Report(refusal=Refusal.UNREADABLE)
    subscription = mapping(content.get("subscription"))
    plan = TIERS.get(text(field(subscription, "tier_id"))) or text(subscription.get("plan")).lower()
    balances = {
        name: Balance(name, nano)
        for entry in mappings(content.get("summary"))
        if (name := text(entry.get("key"))) in _BALANCES
        and text(entry.get("currency")).upper() == "USD"
        and (nano := nano_usd(entry.get("value"))) is not None
    }
    return _bounded(
        Report(
            readings=tuple(grouped(content, answer)),
            plan=plan if plan in _PLANS or not plan else OTHER,
            balances=tuple(balances.values()),
        )
    )


def quota_api_providers(status: int, body: bytes) -> frozenset[str]:
    """The providers that the proxy's quota API serves, from ``quota/providers``; none without such an API."""
    if status != HTTPStatus.OK:
        return frozenset()
    entries = mappings(mapping(_decoded(body)).get("providers"))
    named = [[entry.get("provider"), *_list(entry.get("supported_providers"))] for entry in entries]
    return frozenset(name for names in named for name in names if text(name))


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
    if status // 100 == 2:
        status = _status_of_error(content) or status
    if status // 100 != 2:
        refusal = _REFUSALS.get(status, Refusal.UNAVAILABLE)
        if echoes_token and refusal is Refusal.UNAUTHORIZED:
            # CPA 7 sends the placeholder itself for an account that it does not have.
            refusal = Refusal.GONE
        return Report(refusal=refusal, retry_after_s=_retry_after(headers.get("retry-after", ""), received_ms))
    observed_ms = plausible(headers.get("date"), received_ms)
    answer = Answer("", received_ms if observed_ms is None else observed_ms, "active")
    report = call.read(content, answer) if isinstance(content, Mapping) else None
    return Report(refusal=Refusal.UNREADABLE) if report is None else _bounded(report)


def _bounded(report: Report) -> Report:
    return msgspec.structs.replace(report, readings=tuple(fullest(report.readings)))


def _refused_by_proxy(status: int, content: Any) -> Refusal:
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Refusal.REFUSED
    if status in _UNSUPPORTED:
        return Refusal.UNSUPPORTED
    if status == HTTPStatus.BAD_REQUEST:
        if _error(content).startswith(_GONE):
            return Refusal.GONE
        if _error(content).startswith("auth token refresh failed"):
            return Refusal.UNAUTHORIZED
    return Refusal.UNAVAILABLE


def _error(content: Any) -> str:
    error = mapping(content).get("error")
    return error if isinstance(error, str) else ""


def _status_of_error(content: Any) -> int | None:
    """The status that an error inside a 200 stands for: 500 for an unknown error, None for no error."""
    error = mapping(content).get("error")
    if not isinstance(error, Mapping):
        return None
    code = error.get("code")
    if isinstance(code, int) and code in _REFUSALS:
        return code
    names = (error.get("type"), error.get("status"), error.get("code"))
    return next((_ERRORS[name] for name in names if isinstance(name, str) and name in _ERRORS), 500)


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
    """The JSON in an answer; None if it is too long or anything else."""
    if len(content) > MAX_ANSWER:
        return None
    try:
        return msgspec.json.decode(content)
    except _UNDECODABLE:
        return None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
