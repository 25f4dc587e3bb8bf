"""The invented people, accounts, keys and models of the demo proxy.

Everything here is planted: mail domains end in ``demo.example``, keys begin with ``sk-demo-``.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

Family = Literal["claude", "openai", "gemini"]
Trouble = Literal["", "exhausted", "cools too long", "shrinks"]

MANAGEMENT_KEY = "sk-demo-management-4c1d9e"
ORGANIZATION_ID = "0demo000-0000-4000-8000-0000000c1a0d"
AUTH_DIR = "/root/.cli-proxy-api"

# How each provider counts tokens on the wire.
_FAMILIES: dict[str, Family] = {
    "claude": "claude",
    "codex": "openai",
    "xai": "openai",
    "kimi": "openai",
    "openrouter": "openai",
    "gemini": "gemini",
    "vertex": "gemini",
    "antigravity": "gemini",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A caller of the proxy, known to it by a raw API key. ``share`` is a relative amount of traffic."""

    name: str
    key: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that a credential serves: its name upstream, and the name that clients request."""

    name: str
    alias: str
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An OAuth account (``email``) or a configured API key (``key``, ``base_url``).

    ``ceiling_5h`` and ``ceiling_7d`` are the used shares of the provider's windows at their ends; above 1, the account
    runs into its limit. ``ceiling_scoped`` is the same for a single model's window (Claude's week of Opus, Codex's 5
    hours of Spark); it stays below 1 and stops nobody.

    ``trouble``: its week is used up; or the proxy avoids it for hours after the reset of its 5 hours; or its 5 hours
    hold a third less on every second day. ``share`` 0: no client calls it; a steady job calls the one that shrinks.
    """

    name: str
    provider: str
    kind: Literal["oauth", "apikey"] = "oauth"
    models: tuple[Model, ...]
    email: str = ""
    key: str = ""
    base_url: str = ""
    account_id: str = ""
    plan: str = ""
    project_id: str = ""
    share: float = 1.0
    ceiling_5h: float = 0.6
    ceiling_7d: float = 0.5
    ceiling_scoped: float = 0.3
    trouble: Trouble = ""

    @property
    def family(self) -> Family:
        return _FAMILIES[self.provider]

    @property
    def file_name(self) -> str:
        """The name of the auth file, with the e-mail address as in CPA's own names. Empty for an API key."""
        if self.kind == "apikey":
            return ""
        return f"{self.provider}-{self.email}.json" if self.email else f"{self.name}.json"

    @property
    def auth_index(self) -> str:
        """CPA's stable handle: 16 hex digits over the credential's place."""
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

CREDENTIALS = (
    Credential(
        name="claude-alice",
        provider="claude",
        email="alice.claude@demo.example",
        plan="max-20x",
        models=(Model(name=_SONNET, alias=_SONNET, share=3.0), Model(name=_OPUS, alias=_OPUS)),
        share=3.0,
        ceiling_5h=0.85,
        ceiling_7d=0.7,
        ceiling_scoped=0.92,
    ),
    Credential(
        name="claude-bob",
        provider="claude",
        email="bob.claude@demo.example",
        plan="pro",
        models=(Model(name=_SONNET, alias=_SONNET), Model(name=_OPUS, alias=_OPUS)),
        share=2.0,
        ceiling_5h=1.12,
        ceiling_7d=0.95,
        ceiling_scoped=0.55,
    ),
    Credential(
        name="codex-carol",
        provider="codex",
        email="carol.codex@demo.example",
        account_id="acct-demo-carol-77",
        plan="plus",
        models=(Model(name="gpt-5.4", alias="gpt-5.4"),),
        share=2.5,
        ceiling_5h=0.9,
    ),
    Credential(
        name="codex-dave",
        provider="codex",
        email="dave.codex@demo.example",
        account_id="acct-demo-dave-78",
        plan="team",
        models=(Model(name="gpt-5.4", alias="gpt-5.4"),),
        share=1.0,
        ceiling_5h=0.4,
    ),
    Credential(
        name="antigravity-erin",
        provider="antigravity",
        email="erin.google@demo.example",
        project_id="demo-project-417",
        models=(
            Model(name="gemini-2.5-pro", alias="gemini-2.5-pro"),
            Model(name="gemini-3-flash", alias="erin/gemini-3-flash"),
        ),
        share=1.0,
    ),
    Credential(
        name="kimi-frank",
        provider="kimi",
        models=(Model(name="kimi-k2.5", alias="kimi-k2.5"),),
        share=0.8,
    ),
    Credential(
        name="xai-grace",
        provider="xai",
        email="grace.xai@demo.example",
        models=(Model(name="grok-4.5", alias="grok-4.5"),),
        share=0.8,
    ),
    Credential(
        name="claude-key",
        provider="claude",
        kind="apikey",
        key="sk-demo-ant-api03-key-1",
        base_url="https://claude.demo.example",
        models=(
            Model(name=_SONNET, alias="claude-sonnet-latest", share=2.0),
            Model(name=_OPUS, alias="claude-opus-latest"),
        ),
        share=1.5,
    ),
    Credential(
        name="gemini-key",
        provider="gemini",
        kind="apikey",
        key="sk-demo-AIza-gemini-key-1",
        base_url="https://gemini.demo.example",
        models=(Model(name="gemini-2.5-flash", alias="gemini-flash"),),
        share=1.5,
    ),
    Credential(
        name="openrouter-key",
        provider="openrouter",
        kind="apikey",
        key="sk-demo-or-key-1",
        base_url="https://openrouter.demo.example/v1",
        models=(
            Model(name="vendor/deepseek-v3.1", alias="deepseek", share=3.0),
            # In no price list, so that a visitor sees an unknown model.
            Model(name="demo-lab/experimental-7b", alias="experimental"),
        ),
        share=1.5,
    ),
    Credential(
        name="vertex-key",
        provider="vertex",
        kind="apikey",
        key="sk-demo-vk-vertex-1",
        base_url="https://vertex.demo.example",
        models=(Model(name="gemini-2.5-pro", alias="vertex-pro"),),
        share=0.8,
    ),
)


TROUBLED = (
    Credential(
        name="kimi-emil",
        provider="kimi",
        models=(Model(name="kimi-k2.5", alias="kimi-k2.5"),),
        share=0.0,
        trouble="exhausted",
    ),
    Credential(
        name="claude-ivan",
        provider="claude",
        email="ivan.claude@demo.example",
        plan="pro",
        models=(Model(name=_SONNET, alias=_SONNET),),
        share=0.0,
        trouble="cools too long",
    ),
    Credential(
        name="codex-judy",
        provider="codex",
        email="judy.codex@demo.example",
        account_id="acct-demo-judy-79",
        plan="pro",
        models=(Model(name="gpt-5.4", alias="gpt-5.4"),),
        share=0.0,
        trouble="shrinks",
    ),
)
SHOWN = (*CREDENTIALS, *TROUBLED)
"""What a visitor sees: the credentials, and one account per trouble."""
