"""The paths that the exporter reads, for each API of a proxy."""

from typing import Literal

import msgspec

_V0 = "/v0/management"
_V8 = "/v8/management"


class Paths(msgspec.Struct, frozen=True):
    """The paths of one API.

    ``usage`` is the snapshot of CPA up to 6.9, else empty; ``key_lists`` are the lists of configured API keys, one per
    kind; ``client_keys`` lists the clients' keys. ``api_call`` sends a request to a provider with one of the proxy's
    accounts; ``plugins`` lists the plugins in the proxy; ``quota_providers`` and ``quota_fetch`` ask a plugin about an
    account's windows, under v0 only.
    """

    api: Literal["v0", "v8"]
    queue: str
    usage: str
    credentials: str
    api_key_usage: str
    config: str
    publishing: str
    key_lists: tuple[str, ...]
    api_call: str
    plugins: str
    client_keys: str = f"{_V0}/api-keys"
    quota_providers: str = f"{_V0}/quota/providers"
    quota_fetch: str = f"{_V0}/quota/fetch"


_KEY_LISTS = tuple(
    f"{_V0}/{kind}"
    for kind in (
        "gemini-api-key",
        "claude-api-key",
        "codex-api-key",
        "openai-compatibility",
        "vertex-api-key",
        "xai-api-key",
        "interactions-api-key",
    )
)
V0 = Paths(
    api="v0",
    queue=f"{_V0}/usage-queue",
    usage=f"{_V0}/usage",
    credentials=f"{_V0}/auth-files",
    api_key_usage=f"{_V0}/api-key-usage",
    config=f"{_V0}/config",
    publishing=f"{_V0}/usage-statistics-enabled",
    key_lists=_KEY_LISTS,
    api_call=f"{_V0}/api-call",
    plugins=f"{_V0}/plugins",
)
V8 = Paths(
    api="v8",
    queue=f"{_V8}/observability/usage/queue",
    usage="",
    credentials=f"{_V8}/credentials",
    api_key_usage=f"{_V8}/observability/usage/api-keys",
    config=f"{_V8}/config",
    publishing=f"{_V8}/config/observability/usage/usage-statistics-enabled",
    key_lists=_KEY_LISTS,  # v8 documents no successor and keeps the v0 paths
    api_call=f"{_V8}/requests/api-call",
    plugins=f"{_V8}/plugins",
)
