"""The invented people, accounts, keys and models of the demo proxy.

Everything here is planted: mail domains end in ``demo.example``, keys begin with ``sk-demo-``.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import SecretStr

from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias

Family = Literal["claude", "openai", "gemini"]
Trouble = Literal["", "exhausted", "cools too long", "shrinks"]

MANAGEMENT_KEY = "sk-demo-management-4c1d9e"
ORGANIZATION_ID = "0demo000-0000-4000-8000-0000000c1a0d"
AUTH_DIR = "/root/.cli-proxy-api"


class _Provider(NamedTuple):
    """How CPA records the attempts at a provider, and how it counts their tokens."""

    family: Family
    executor: str
    endpoint: str = "POST /v1/chat/completions"


PROVIDERS = {
    "claude": _Provider("claude", "ClaudeExecutor", "POST /v1/messages"),
    "codex": _Provider("openai", "CodexExecutor", "POST /v1/responses"),
    "xai": _Provider("openai", "XAIExecutor", "POST /v1/responses"),
    "kimi": _Provider("openai", "KimiExecutor"),
    "openrouter": _Provider("openai", "OpenAICompatExecutor"),
    "gemini": _Provider("gemini", "GeminiExecutor", "POST /v1beta/models/*action"),
    "vertex": _Provider("gemini", "GeminiVertexExecutor", "POST /v1beta/models/*action"),
    "antigravity": _Provider("gemini", "AntigravityExecutor"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A caller of the proxy, known to it by a raw API key. ``share`` is a relative amount of traffic."""

    name: str
    key: str
    share: float


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a credential serves: its upstream name, and the name that clients request if it differs."""

    name: str
    alias: str = ""
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An OAuth account, or a configured API key (``key``).

    ``ceiling_5h`` and ``ceiling_7d`` are the used shares of the provider's windows at their ends; above 1, the account
    runs into its limit. ``ceiling_scoped`` is the same for a single model's window (Claude's week of Opus, Codex's 5
    hours of Spark); it stays below 1 and stops nobody.

    ``trouble``: its week is used up, or the proxy avoids it for hours after the reset of its 5 hours, or these hold a
    third less on every second day. No client calls an account with ``share`` 0; a steady job calls one that shrinks.
    """

    name: str
    provider: str
    models: tuple[Model, ...]
    email: str = ""
    key: str = ""
    plan: str = ""
    project_id: str = ""
    share: float = 1.0
    ceiling_5h: float = 0.6
    ceiling_7d: float = 0.5
    ceiling_scoped: float = 0.3
    trouble: Trouble = ""

    @property
    def family(self) -> Family:
        return PROVIDERS[self.provider].family

    @property
    def kind(self) -> Literal["oauth", "apikey"]:
        return "apikey" if self.key else "oauth"

    @property
    def base_url(self) -> str:
        return f"https://{self.provider}.demo.example" if self.key else ""

    @property
    def account_id(self) -> str:
        """The owner's id at the provider, which only Codex reveals; else empty."""
        return f"acct-demo-{self.name}" if self.provider == "codex" else ""

    @property
    def file_name(self) -> str:
        """The name of the auth file, with the e-mail address as in CPA's own names. Empty for an API key."""
        if self.kind == "apikey":
            return ""
        return f"{self.provider}-{self.email}.json" if self.email else f"{self.name}.json"

    @property
    def auth_index(self) -> str:
        """CPA's stable handle: 16 hex digits of a hash of where the credential is configured."""
        place = f"{AUTH_DIR}/{self.file_name}" if self.kind == "oauth" else f"{self.base_url}|{self.key}"
        return hashlib.sha256(f"{self.provider}:{place}".encode()).hexdigest()[:16]

    def source_for(self, client: Client) -> str:
        """The wire field ``source``: the account, else the upstream key, else (Kimi) the *client's* raw key."""
        return self.email or self.key or client.key


CLIENTS = (
    Client(name="maria", key="sk-demo-client-maria-5b20", share=3.0),
    Client(name="jonas", key="sk-demo-client-jonas-77ac", share=2.5),
    Client(name="ci-bot", key="sk-demo-client-cibot-01fe", share=1.5),
    Client(name="support-desk", key="sk-demo-client-support-9d3e", share=2.0),
    Client(name="notebook", key="sk-demo-client-notebook-c4d8", share=0.7),
    Client(name="batch", key="sk-demo-client-batch-2ef6", share=0.3),
)

_SONNET = "claude-sonnet-4-5-20250929"
_OPUS = "claude-opus-4-6"
_GPT = Model("gpt-5.4")


def _account(name: str, *models: Model, **details: Any) -> Credential:
    """An account of a provider and a person. Kimi's have no e-mail address."""
    provider, _, person = name.partition("-")
    email = "" if provider == "kimi" else f"{person}.{provider}@demo.example"
    return Credential(name=name, provider=provider, email=email, models=models, **details)


def _key(provider: str, key: str, *models: Model, share: float = 1.5) -> Credential:
    return Credential(name=f"{provider}-key", provider=provider, key=key, models=models, share=share)


_UNPRICED = Model("demo-lab/experimental-7b", "experimental")
"""A model in no price list, so that a visitor sees what an unknown one looks like."""

CREDENTIALS = (
    _account(
        "claude-alice",
        Model(_SONNET, share=3.0),
        Model(_OPUS),
        plan="max-20x",
        share=3.0,
        ceiling_5h=0.85,
        ceiling_7d=0.7,
        ceiling_scoped=0.92,
    ),
    _account(
        "claude-bob",
        Model(_SONNET),
        Model(_OPUS),
        plan="pro",
        share=2.0,
        ceiling_5h=1.12,
        ceiling_7d=0.95,
        ceiling_scoped=0.55,
    ),
    _account("codex-carol", _GPT, plan="plus", share=2.5, ceiling_5h=0.9),
    _account("codex-dave", _GPT, plan="team", ceiling_5h=0.4),
    _account(
        "antigravity-erin",
        Model("gemini-2.5-pro"),
        Model("gemini-3-flash", "erin/gemini-3-flash"),
        project_id="demo-project-417",
    ),
    _account("kimi-frank", Model("kimi-k2.5"), share=0.8),
    _account("xai-grace", Model("grok-4.5"), share=0.8),
    _key(
        "claude",
        "sk-demo-ant-api03-key-1",
        Model(_SONNET, "claude-sonnet-latest", share=2.0),
        Model(_OPUS, "claude-opus-latest"),
    ),
    _key("gemini", "sk-demo-AIza-gemini-key-1", Model("gemini-2.5-flash", "gemini-flash")),
    _key("openrouter", "sk-demo-or-key-1", Model("vendor/deepseek-v3.1", "deepseek", share=3.0), _UNPRICED),
    _key("vertex", "sk-demo-vk-vertex-1", Model("gemini-2.5-pro", "vertex-pro"), share=0.8),
)
TROUBLED = (
    _account("kimi-emil", Model("kimi-k2.5"), share=0.0, trouble="exhausted"),
    _account("claude-ivan", Model(_SONNET), plan="pro", share=0.0, trouble="cools too long"),
    _account("codex-judy", _GPT, plan="pro", share=0.0, trouble="shrinks"),
)
SHOWN = (*CREDENTIALS, *TROUBLED)
"""What a visitor sees: the credentials, and one account per trouble."""

LIMITS_FILE = Path(__file__).parent / "limits.yaml"
"""Limits for an exporter beside the demo proxy."""


def demo_aliases() -> Aliases:
    """The names of the clients and credentials, for an exporter beside the demo proxy."""
    return Aliases(
        clients=tuple(ClientAlias(key=SecretStr(client.key), alias=client.name) for client in CLIENTS),
        credentials=tuple(
            CredentialAlias(key=SecretStr(credential.key), alias=credential.name)
            if credential.key
            else CredentialAlias(file=SecretStr(credential.file_name), alias=credential.name)
            for credential in SHOWN
        ),
    )
