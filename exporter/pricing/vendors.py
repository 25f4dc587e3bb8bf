"""Where to look for a model's price: CPA's provider and the model's name lead to sections of the price list.

The provider comes first, because the same model may have another price on Vertex or at a reseller than at its maker.
The model's own maker comes last, because many providers serve other makers' models: Antigravity serves Claude and
GPT-OSS, CPA records a Kimi account called through ``/v1/messages`` as ``claude``, and a plugin may serve anything. In
any section, a row still has to have the requested name.

The names of sections are those of the package ``genai-prices``, except for ``antigravity``, with modes of its own, and
``qwen``: the package lacks them, so their rows are in ``overlay.yaml``.
"""

from collections.abc import Mapping
from typing import NamedTuple

from exporter.pricing.model_names import is_bedrock

OPENAI_COMPATIBLE = "openai-compatible-"
"""CPA's prefix for the name of an OpenAI-compatible upstream since v7.2.21."""


class _Names(NamedTuple):
    """What leads to a section: CPA's providers, vendors in front of a model's name, and how models' names begin.

    A provider that is none of CPA's own is what people call an OpenAI-compatible upstream; any other name does not
    reveal whose models it serves.
    """

    providers: tuple[str, ...] = ()
    vendors: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


_NAMES: Mapping[str, _Names] = {
    "anthropic": _Names(("claude",), ("anthropic",), ("claude-", "gemini-claude-")),
    "antigravity": _Names(("antigravity",)),
    "aws": _Names(("bedrock",)),
    "cerebras": _Names(("cerebras",)),
    "cohere": _Names((), ("cohere",), ("command-",)),
    "deepseek": _Names(("deepseek",), ("deepseek", "deepseek-ai"), ("deepseek-",)),
    "fireworks": _Names(("fireworks",)),
    "google": _Names(("aistudio", "gemini", "gemini-cli", "gemini-interactions", "vertex"), ("google",), ("gemini-",)),
    "groq": _Names(("groq",)),
    "minimax": _Names((), ("minimax",), ("minimax-",)),
    "mistral": _Names(("mistral",), ("mistralai",), ("codestral", "devstral", "magistral", "ministral", "mistral-")),
    "moonshotai": _Names(("kimi", "moonshot"), ("moonshotai",), ("kimi-", "moonshot-")),
    "novita": _Names(("novita",)),
    "openai": _Names(
        ("codex", "openai"), ("openai",), ("chatgpt-", "codex-", "gpt-", "o1", "o3", "o4", "text-embedding-")
    ),
    "openrouter": _Names(("openrouter",)),
    "perplexity": _Names(("perplexity",), ("perplexity",), ("sonar",)),
    "qwen": _Names(("qwen",), ("qwen",), ("qwen",)),
    "together": _Names(("together",)),
    "x-ai": _Names(("xai",), ("x-ai", "xai"), ("grok-",)),
    "zai": _Names(("zai",), ("z-ai", "zai-org"), ("glm-",)),
    # iflow is absent on purpose: it serves many makers' models under their own names, so the model decides.
}
"""By section. The first that has the beginning of a model's name counts: gemini-claude-opus-4-6 is Anthropic's."""

SECTIONS = _NAMES.keys()
"""All sections that any search includes."""

_BY_PROVIDER = {provider: section for section, names in _NAMES.items() for provider in names.providers}
_BY_VENDOR = {vendor: section for section, names in _NAMES.items() for vendor in names.vendors}


def sections(provider: str, name: str, bare_name: str) -> tuple[str, ...]:
    """The sections to search for a clean model name, in this order. ``bare_name`` is the name without its vendor."""
    if is_bedrock(bare_name):
        return ("aws",)
    vendor, slash, _ = name.partition("/")
    found = (
        _BY_PROVIDER.get(provider.strip().lower().removeprefix(OPENAI_COMPATIBLE)),
        _BY_VENDOR.get(vendor) if slash else None,
        next((section for section, names in _NAMES.items() if bare_name.startswith(names.models)), None),
    )
    return tuple(dict.fromkeys(filter(None, found)))
