"""The providers whose quota windows can be read: one line for each, by the name that the proxy gives them."""

from collections.abc import Mapping

from exporter.quotas.asking import Asked
from exporter.quotas.claude import CLAUDE
from exporter.quotas.codex import CODEX
from exporter.quotas.meta import META
from exporter.quotas.reading import QuotaProvider

PROVIDERS: Mapping[str, QuotaProvider] = {
    "claude": CLAUDE,
    "codex": CODEX,
    "meta": META,
}

ASKED: Mapping[str, Asked] = {}
"""The providers that can be asked for the windows of an account."""
