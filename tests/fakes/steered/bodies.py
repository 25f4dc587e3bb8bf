"""Whole answers of the Management API that do not depend on traffic: configuration and key lists.

They are full of planted secrets, just as real ones are full of real secrets.
"""

from typing import Any

from exporter.simulator.world import Credential
from tests.fakes.steered.proxy import SteeredProxy

_OUTGOING_PROXY_URL = "socks5://demo-user:sk-demo-proxy-password@127.0.0.1:1080"

# The route of each key list, and the provider whose keys it shows.
KEY_LISTS = {
    "gemini-api-key": "gemini",
    "claude-api-key": "claude",
    "codex-api-key": "codex",
    "vertex-api-key": "vertex",
    "openai-compatibility": "openrouter",
}


def api_keys(proxy: SteeredProxy) -> list[str]:
    return [client.key for client in proxy.clients]


def key_list(proxy: SteeredProxy, provider: str, *, with_auth_index: bool) -> list[dict[str, Any]]:
    """The configured keys of a provider; ``/config`` shows them without ``auth-index``."""
    make = _compat_entry if provider == "openrouter" else _entry
    return [
        make(credential, {"auth-index": proxy.auth_index(credential)} if with_auth_index else {})
        for credential in proxy.accounts
        if credential.kind == "apikey" and credential.provider == provider
    ]


def _entry(credential: Credential, auth_index: dict[str, Any]) -> dict[str, Any]:
    return {
        "api-key": credential.key,
        "base-url": credential.base_url,
        "proxy-url": "direct",
        "models": _models(credential),
        **auth_index,
    }


def _compat_entry(credential: Credential, auth_index: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": credential.provider,
        "disabled": False,
        "base-url": credential.base_url,
        "api-key-entries": [{"api-key": credential.key, "proxy-url": "direct", **auth_index}],
        "models": _models(credential),
    }


def _models(credential: Credential) -> list[dict[str, str]]:
    return [{"name": model.name, "alias": model.alias or model.name} for model in credential.models]


def config(proxy: SteeredProxy) -> dict[str, Any]:
    """The effective configuration under its v0 names."""
    return {
        "proxy-url": _OUTGOING_PROXY_URL,
        "request-log": False,
        "api-keys": api_keys(proxy),
        "tls": {"enable": False, "cert": "", "key": ""},
        "debug": False,
        "logging-to-file": False,
        "usage-statistics-enabled": proxy.publishing,
        "redis-usage-queue-retention-seconds": proxy.waiting.retention_seconds,
        "disable-cooling": False,
        "request-retry": 2,
        "max-retry-credentials": 0,
        "max-retry-interval": 30,
        "quota-exceeded": {"switch-project": False, "switch-preview-model": False},
        "routing": {},
        "ws-auth": True,
        **_key_lists(proxy),
    }


def config_v8(proxy: SteeredProxy) -> dict[str, Any]:
    """The effective configuration under the section names of v8; a path of keys leads to a node."""
    return {
        "access": {"api-keys": api_keys(proxy)},
        "observability": {
            "usage": {
                "usage-statistics-enabled": proxy.publishing,
                "redis-usage-queue-retention-seconds": proxy.waiting.retention_seconds,
            }
        },
        "requests": {"proxy-url": _OUTGOING_PROXY_URL, "request-retry": 2},
        "providers": _key_lists(proxy),
    }


def _key_lists(proxy: SteeredProxy) -> dict[str, Any]:
    return {route: key_list(proxy, name, with_auth_index=False) or None for route, name in KEY_LISTS.items()}
