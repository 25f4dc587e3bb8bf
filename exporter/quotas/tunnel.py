"""The proxy's answers to ``api-call`` and to its own quota API, as reports. Pure: bytes in, a ``Report`` out.

Nothing raises here, whatever the bytes. ``api-call`` (CPA >= 6.6.63) wraps the provider's answer: the provider's status
and body are inside the proxy's.
"""

from exporter.quotas.asking import Call, Report

MAX_ANSWER = 2 << 20
"""Bytes of the proxy's answer. Real ones have less than 100,000; whoever reads one need not read on past this."""


def read_tunnel(call: Call, status: int, body: bytes, *, received_ms: int) -> Report:
    """What the proxy's answer to ``call`` says, from its HTTP status and body."""
    raise NotImplementedError


def read_quota_api(status: int, body: bytes, *, received_ms: int) -> Report:
    """What the proxy's ``quota/fetch`` says of an account, whichever provider it is of."""
    raise NotImplementedError


def quota_api_providers(status: int, body: bytes) -> frozenset[str]:
    """The providers that the proxy's quota API answers for, from ``quota/providers``; none where it has no such API."""
    raise NotImplementedError
