"""Sorts a wire record's tokens into exclusive buckets, by CPA's own breakdown or by the rules of its family.

Families differ in what ``input_tokens`` and ``output_tokens`` include. Claude counts cache reads and writes beside the
input; OpenAI-style providers count them inside; Gemini-style providers count thoughts beside the output.
"""

from enum import Enum

from exporter.normalize.wire_record import Wire, WireBreakdown, WireTokens
from exporter.records import Tokens


class Family(Enum):
    """How to read a provider's raw counts. ``UNKNOWN`` reads like OpenAI's and has to be flagged."""

    CLAUDE = "claude"
    OPENAI = "openai"
    GEMINI = "gemini"
    UNKNOWN = "unknown"


_EXECUTORS = {
    Family.CLAUDE: ("Claude",),
    Family.OPENAI: ("Codex", "CodexWebsockets", "OpenAICompat", "Kimi", "XAI", "Qwen", "IFlow"),
    Family.GEMINI: ("Gemini", "GeminiVertex", "GeminiCLI", "AIStudio", "Antigravity"),
}
_PROVIDERS = {
    Family.CLAUDE: ("claude",),
    Family.OPENAI: ("codex", "xai", "kimi", "qwen", "iflow"),
    Family.GEMINI: ("gemini", "gemini-interactions", "gemini-cli", "vertex", "aistudio", "antigravity"),
}
_BY_EXECUTOR = {f"{name}Executor": family for family, names in _EXECUTORS.items() for name in names}
_BY_PROVIDER = {name: family for family, names in _PROVIDERS.items() for name in names}


def family_of(*, executor_type: str, provider: str, openai_compatible: bool) -> Family:
    """The family of a record.

    The executor (CPA >= 7.1.38) names the wire format, so it decides: Claude's rules apply to a Kimi account called
    through ``/v1/messages``. Older records have only the provider, and before v7.2.21 that may be any name for an
    OpenAI-compatible upstream, even ``claude``: hence ``openai_compatible``, known from the key lists.
    """
    if (family := _BY_EXECUTOR.get(executor_type)) is not None:
        return family
    if openai_compatible or provider.startswith("openai-compatib"):
        return Family.OPENAI
    return _BY_PROVIDER.get(provider, Family.UNKNOWN)


def tokens_of(wire: Wire, *, provider: str, openai_compatible: bool) -> tuple[Tokens, bool]:
    """The exclusive buckets of ``wire``, and whether the meaning of its counts is known, not guessed."""
    breakdown = wire.token_breakdown
    if breakdown is not None and breakdown.quality in _QUALITIES:
        return _from_breakdown(breakdown), True
    family = family_of(executor_type=wire.executor_type or "", provider=provider, openai_compatible=openai_compatible)
    tokens = Tokens() if wire.tokens is None else _from_counts(wire.tokens, family)
    return tokens, family is not Family.UNKNOWN


_QUALITIES = ("complete", "unclassified", "inconsistent")


def _from_breakdown(breakdown: WireBreakdown) -> Tokens:
    """The filled buckets, whatever the quality; what CPA could not attribute is unclassified."""
    prompt, answer = breakdown.input, breakdown.output
    reasoning = _count(answer.reasoning_tokens) if answer else 0
    return Tokens(
        uncached=_count(prompt.uncached_tokens) if prompt else 0,
        cache_read=_count(prompt.cache_read_tokens) if prompt else 0,
        cache_write=_count(prompt.cache_write_tokens) if prompt else 0,
        output=(_count(answer.non_reasoning_tokens) if answer else 0) + reasoning,
        reasoning=reasoning,
        unclassified=_count(breakdown.unclassified_tokens),
    )


def _from_counts(raw: WireTokens, family: Family) -> Tokens:
    """The buckets by the rules of the family."""
    prompt, write = _count(raw.input_tokens), _count(raw.cache_creation_tokens)
    output, reasoning = _count(raw.output_tokens), _count(raw.reasoning_tokens)
    if family is Family.CLAUDE:
        # Without the key (CPA <= 7.0.2) cached_tokens are reads, or writes if there were no reads: nobody can tell
        # which. With the key, falling back to cached_tokens would count the writes twice.
        read = _count(raw.cached_tokens if raw.cache_read_tokens is None else raw.cache_read_tokens)
        return Tokens(prompt, read, write, output, min(reasoning, output))
    # CPA fills cache_read_tokens here from v7.2.67 on and says so from v7.2.74 on; before that, 0 means "look at
    # cached_tokens".
    read = _count(raw.cache_read_tokens)
    if not read and not raw.cache_read_tokens_present:
        read = _count(raw.cached_tokens)
    if family is Family.GEMINI:
        return Tokens(max(0, prompt - read), read, 0, output + reasoning, reasoning)
    return Tokens(max(0, prompt - read - write), read, write, output, min(reasoning, output))


def _count(value: int | None) -> int:
    """A count, 0 if not sent or negative: upstreams do report negative counts."""
    return value if value and value > 0 else 0
