"""The paths that the exporter reads, for each API of a proxy."""

from typing import Literal

import msgspec

_V0 = "/v0/management"
_V8 = "/v8/management"


class Paths(msgspec.Struct, frozen=True):
    """The paths of one API. The defaults are those of v0; v8 keeps the ones for which it documents no successor.

    ``usage`` is the snapshot of CPA up to 6.9, else empty; ``key_lists`` are the lists of configured API keys, one per
    kind; ``client_keys`` lists the clients' keys. ``api_call`` sends a request to a provider with one of the proxy's
    accounts; ``plugins`` lists the plugins in the proxy; ``quota_providers`` and ``quota_fetch`` ask a plugin about an
    account's windows, under v0 only.
    """

    api: Literal["v0", "v8"] = "v0"
    queue: str = f"{_V0}/usage-queue"
    usage: str = f"{_V0}/usage"
    credentials: str = f"{_V0}/auth-files"
    api_key_usage: str = f"{_V0}/api-key-usage"
    config: str = f"{_V0}/config"
    publishing: str = f"{_V0}/usage-statistics-enabled"
    key_lists: tuple[str, ...] = (
        f"{_V0}/gemini-api-key",
        f"{_V0}/claude-api-key",
        f"{_V0}/codex-api-key",
        f"{_V0}/openai-compatibility",
        f"{_V0}/vertex-api-key",
        f"{_V0}/xai-api-key",
        f"{_V0}/interactions-api-key",
        f"{_V0}/meta-api-key",
    )
    api_call: str = f"{_V0}/api-call"
    plugins: str = f"{_V0}/plugins"
    client_keys: str = f"{_V0}/api-keys"
    quota_providers: str = f"{_V0}/quota/providers"
    quota_fetch: str = f"{_V0}/quota/fetch"


V0 = Paths()
V8 = Paths(
    api="v8",
    queue=f"{_V8}/observability/usage/queue",
    usage="",
    credentials=f"{_V8}/credentials",
    api_key_usage=f"{_V8}/observability/usage/api-keys",
    config=f"{_V8}/config",
    api_call=f"{_V8}/requests/api-call",
    plugins=f"{_V8}/plugins",
)
