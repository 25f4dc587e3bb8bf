"""Answers of the Management API that do not depend on traffic: configuration and key lists.

They are full of planted secrets, as real ones are full of real secrets.
"""

from typing import Any

from exporter.simulator.proxy import DemoProxy
from exporter.simulator.world import OUTGOING_PROXY_URL, Credential

ROOT = {
    "endpoints": ["POST /v1/chat/completions", "POST /v1/completions", "GET /v1/models"],
    "message": "CLI Proxy API Server",
}

# The route of each key list, and the provider whose keys it shows.
KEY_LISTS = {
    "gemini-api-key": "gemini",
    "claude-api-key": "claude",
    "codex-api-key": "codex",
    "vertex-api-key": "vertex",
    "openai-compatibility": "openrouter",
}


def api_keys(proxy: DemoProxy) -> list[str]:
    return [client.key for client in proxy.clients]


def key_list(proxy: DemoProxy, provider: str, *, with_auth_index: bool) -> list[dict[str, Any]]:
    """The configured keys of a provider; ``/config`` shows them without ``auth-index``."""
    indexed = with_auth_index and proxy.version_number >= (6, 9, 29)
    make = _compat_entry if provider == "openrouter" else _entry
    return [
        make(credential, proxy, indexed)
        for credential in proxy.accounts
        if credential.kind == "apikey" and credential.provider == provider
    ]


def _entry(credential: Credential, proxy: DemoProxy, with_auth_index: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "api-key": credential.key,
        "base-url": credential.base_url,
        "proxy-url": "direct",
        "models": _models(credential),
    }
    if with_auth_index:
        entry["auth-index"] = proxy.auth_index(credential)
    return entry


def _compat_entry(credential: Credential, proxy: DemoProxy, with_auth_index: bool) -> dict[str, Any]:
    key: dict[str, Any] = {"api-key": credential.key, "proxy-url": "direct"}
    if with_auth_index:
        key["auth-index"] = proxy.auth_index(credential)
    entry: dict[str, Any] = {"name": credential.provider}
    # Absent in v6.6.96, present in v6.9.49.
    if proxy.version_number >= (6, 9, 0):
        entry["disabled"] = False
    return entry | {
        "base-url": credential.base_url,
        "api-key-entries": [key],
        "models": _models(credential),
    }


def _models(credential: Credential) -> list[dict[str, str]]:
    return [{"name": model.name, "alias": model.alias} for model in credential.models]


def config(proxy: DemoProxy) -> dict[str, Any]:
    """The effective configuration under its v0 names."""
    body: dict[str, Any] = {
        "proxy-url": OUTGOING_PROXY_URL,
        "request-log": False,
        "api-keys": api_keys(proxy),
        "tls": {"enable": False, "cert": "", "key": ""},
        "debug": False,
        "logging-to-file": False,
        "usage-statistics-enabled": proxy.publishing,
    }
    if proxy.version_number >= (6, 10, 1):
        body["redis-usage-queue-retention-seconds"] = proxy.effective_retention_seconds
    body |= {
        "disable-cooling": False,
        "request-retry": 2,
        "max-retry-credentials": 0,
        "max-retry-interval": 30,
        "quota-exceeded": {"switch-project": False, "switch-preview-model": False},
        "routing": {},
        "ws-auth": True,
    }
    return body | {route: key_list(proxy, name, with_auth_index=False) or None for route, name in KEY_LISTS.items()}


def config_v8(proxy: DemoProxy) -> dict[str, Any]:
    """The effective configuration under the section names of v8; a path of keys leads to a node."""
    return {
        "access": {"api-keys": api_keys(proxy)},
        "observability": {
            "usage": {
                "usage-statistics-enabled": proxy.publishing,
                "redis-usage-queue-retention-seconds": proxy.effective_retention_seconds,
            }
        },
        "requests": {"proxy-url": OUTGOING_PROXY_URL, "request-retry": 2},
        "providers": {route: key_list(proxy, name, with_auth_index=False) or None for route, name in KEY_LISTS.items()},
    }
