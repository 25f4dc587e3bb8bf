"""The providers with readable windows, one line each, by the proxy's name for them."""

from collections.abc import Mapping

from exporter.quotas.antigravity import ANTIGRAVITY
from exporter.quotas.base import Provider
from exporter.quotas.claude import CLAUDE
from exporter.quotas.codex import CODEX
from exporter.quotas.gemini_cli import GEMINI_CLI
from exporter.quotas.kimi import KIMI, KIMI_AI
from exporter.quotas.meta_ai import META
from exporter.quotas.xai import XAI

PROVIDERS: Mapping[str, Provider] = {
    "antigravity": ANTIGRAVITY,
    "claude": CLAUDE,
    "codex": CODEX,
    "gemini-cli": GEMINI_CLI,
    "kimi": KIMI,
    "kimi-ai": KIMI_AI,
    "meta": META,
    "xai": XAI,
}


def provider_of(name: str) -> Provider:
    """The provider of this name. One that is not listed is asked nothing, and use counts in windows for all models."""
    return PROVIDERS.get(name) or Provider()
