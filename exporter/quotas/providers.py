"""The providers with readable quota windows: one line each, by the proxy's name for them."""

from collections.abc import Mapping

from exporter.quotas.antigravity import ANTIGRAVITY_ASKED
from exporter.quotas.asking import Question
from exporter.quotas.claude import CLAUDE, CLAUDE_ASKED
from exporter.quotas.codex import CODEX, CODEX_ASKED
from exporter.quotas.gemini_cli import GEMINI_CLI_ASKED
from exporter.quotas.kimi import KIMI_AI_ASKED, KIMI_ASKED
from exporter.quotas.meta_ai import META
from exporter.quotas.reading import QuotaProvider
from exporter.quotas.xai import XAI_ASKED

PROVIDERS: Mapping[str, QuotaProvider] = {
    "claude": CLAUDE,
    "codex": CODEX,
    "meta": META,
}
"""Providers that report their windows in headers."""

ASKED: Mapping[str, tuple[Question, ...]] = {
    "antigravity": ANTIGRAVITY_ASKED,
    "claude": CLAUDE_ASKED,
    "codex": CODEX_ASKED,
    "gemini-cli": GEMINI_CLI_ASKED,
    "kimi": KIMI_ASKED,
    "kimi-ai": KIMI_AI_ASKED,
    "xai": XAI_ASKED,
}
"""What providers are asked about an account, the question about its windows first."""
