"""Where to look for a model's price: CPA's provider and the model's name lead to sections of the price list.

The provider comes first, because the same model may have another price on Vertex or at a reseller than at its maker.
The model's own maker comes last, because many providers serve other makers' models: Antigravity serves Claude and
GPT-OSS, CPA records a Kimi account called through ``/v1/messages`` as ``claude``, and a plugin may serve anything. In
any section, a row still has to have the requested name.

The ids on the right are those of the package ``genai-prices``, except for ``antigravity``, with modes of its own, and
``qwen``: the package lacks them, so their rows are in ``overlay.yaml``.
"""

from collections.abc import Mapping

from exporter.pricing.model_names import is_bedrock

OPENAI_COMPATIBLE = "openai-compatible-"
"""CPA's prefix for the name of an OpenAI-compatible upstream since v7.2.20."""

_BY_PROVIDER: Mapping[str, str] = {
    "aistudio": "google",
    "antigravity": "antigravity",
    "claude": "anthropic",
    "codex": "openai",
    "gemini": "google",
    "gemini-cli": "google",
    "gemini-interactions": "google",
    "kimi": "moonshotai",
    "qwen": "qwen",
    "vertex": "google",
    "xai": "x-ai",
    # Names that people give to OpenAI-compatible upstreams; any other name does not reveal the provider.
    "bedrock": "aws",
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "fireworks": "fireworks",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "novita": "novita",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "together": "together",
    "zai": "zai",
    # Absent on purpose: iflow serves many makers' models under their own names, so the model decides.
}

_BY_VENDOR_PREFIX: Mapping[str, str] = {
    "anthropic": "anthropic",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "deepseek-ai": "deepseek",
    "google": "google",
    "minimax": "minimax",
    "mistralai": "mistral",
    "moonshotai": "moonshotai",
    "openai": "openai",
    "perplexity": "perplexity",
    "qwen": "qwen",
    "x-ai": "x-ai",
    "xai": "x-ai",
    "z-ai": "zai",
    "zai-org": "zai",
}

_BY_MODEL: tuple[tuple[str, str], ...] = (
    ("chatgpt-", "openai"),
    ("claude-", "anthropic"),
    ("codestral", "mistral"),
    ("codex-", "openai"),
    ("command-", "cohere"),
    ("deepseek-", "deepseek"),
    ("devstral", "mistral"),
    ("gemini-claude-", "anthropic"),
    ("gemini-", "google"),
    ("glm-", "zai"),
    ("gpt-", "openai"),
    ("grok-", "x-ai"),
    ("kimi-", "moonshotai"),
    ("magistral", "mistral"),
    ("minimax-", "minimax"),
    ("ministral", "mistral"),
    ("mistral-", "mistral"),
    ("moonshot-", "moonshotai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("qwen", "qwen"),
    ("sonar", "perplexity"),
    ("text-embedding-", "openai"),
)

SECTIONS = frozenset({*_BY_PROVIDER.values(), *_BY_VENDOR_PREFIX.values(), *(section for _, section in _BY_MODEL)})
"""All sections that any search includes."""


def sections(provider: str, name: str, bare_name: str) -> tuple[str, ...]:
    """The sections to search for a clean model name, in this order. ``bare_name`` is the name without its vendor."""
    if is_bedrock(bare_name):
        return ("aws",)
    vendor, slash, _ = name.partition("/")
    found = (
        _BY_PROVIDER.get(provider.strip().lower().removeprefix(OPENAI_COMPATIBLE)),
        _BY_VENDOR_PREFIX.get(vendor) if slash else None,
        next((section for start, section in _BY_MODEL if bare_name.startswith(start)), None),
    )
    return tuple(dict.fromkeys(filter(None, found)))
