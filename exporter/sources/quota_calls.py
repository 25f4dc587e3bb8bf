"""Asks a provider about one account, through the proxy: by ``api-call``, or by the quota API that plugins answer.

The proxy puts the account's token into the call; no token ever comes here, and none is renewed. The caller must not ask
about an account that the proxy no longer lists: CPA would send the literal text ``$TOKEN$`` to the provider.
"""

from collections.abc import Callable
from urllib.parse import quote

import msgspec

from exporter.errors import BadAnswerError, ProxyServerError, ProxyUnreachableError
from exporter.normalize.credentials import read_facts
from exporter.quotas.asking import Call, Facts, Refusal, Report
from exporter.quotas.tunnel import MAX_ANSWER, quota_api_providers, read_quota_api, read_tunnel
from exporter.sources.client import FOUND_OR_NOT, ProxyClient, Timeouts
from exporter.sources.paths import Paths

TIMEOUTS = Timeouts(connect=5.0, read=20.0, total=30.0)
"""CPA itself waits 60 s for a provider. Nobody misses an answer that comes so late."""

_ANSWERED = frozenset({200, 400, 404, 500, 501, 502, 503, 504})


def ask(
    client: ProxyClient, paths: Paths, auth_index: str, call: Call | None, facts: Facts, *, now_ms: Callable[[], int]
) -> Report | None:
    """What ``call``, or without one the quota API, says about the account; None if too little is known for the call.

    Raises what ends all calls to the proxy: KeyRefusedError, BannedError and their like.
    """
    request = {"auth_index": auth_index} if call is None else call.request(auth_index, facts)
    if request is None:
        return None
    path = paths.quota_fetch if call is None else paths.api_call
    try:
        answer = client.post(path, msgspec.json.encode(request), accept=_ANSWERED, max_bytes=MAX_ANSWER + 1)
    except BadAnswerError:
        return Report(refusal=Refusal.UNREADABLE)
    except (ProxyUnreachableError, ProxyServerError):
        return Report(refusal=Refusal.UNAVAILABLE)
    if isinstance(answer.error, ProxyUnreachableError):
        return Report(refusal=Refusal.UNAVAILABLE)
    if call is None:
        return read_quota_api(answer.status, bytes(answer.body), received_ms=now_ms())
    return read_tunnel(call, answer.status, bytes(answer.body), received_ms=now_ms())


def find_facts(client: ProxyClient, paths: Paths, auth_index: str) -> Facts | None:
    """What a call needs to know about the account; None if the proxy no longer lists it.

    Raises the errors of ``client``.
    """
    answer = client.get(f"{paths.credentials}?auth_index={quote(auth_index)}").whole()
    return read_facts(bytes(answer.body), auth_index)


def find_quota_api(client: ProxyClient, paths: Paths) -> frozenset[str]:
    """The providers whose accounts the proxy's quota API knows. Raises the errors of ``client``."""
    answer = client.get(paths.quota_providers, accept=FOUND_OR_NOT).whole()
    return quota_api_providers(answer.status, bytes(answer.body))
