"""Where to look for a model in price lists: the sections, and the spellings of its name.

CPA's provider and the model's name lead to sections. The provider comes first, because the same model may have another
price on Vertex or at a reseller than at its maker. The model's own maker comes last, because many providers serve other
makers' models: Antigravity serves Claude and GPT-OSS, CPA records a Kimi account called through ``/v1/messages`` as
``claude``, and a plugin may serve anything. The names of sections are those of the package ``genai-prices``, except for
``antigravity``, with modes of its own, and ``qwen``: the package lacks them, so their rows are in ``overlay.yaml``.

A proxy asks for ``models/gemini-2.5-pro``, ``claude-sonnet-4-5-20250929-thinking`` or ``gpt-5.1(high)``; a price list
has one row per product. This module lists what a name may drop, step by step; the rest has to *equal* a name in the
price list. A prefix or a substring never counts, because similar names are different products: ``gpt-4`` and
``gpt-4o-mini``, ``claude-opus-4`` and ``claude-opus-4-7``, ``gpt-5.1-codex`` and ``-codex-max``.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from exporter.pricing.price import MatchedBy

# The longest name in any price list has about 60 characters.
LONGEST_NAME = 200

_RESOURCE = re.compile(r"(?:publishers/[^/]+/)?models/")
_YEAR, _MONTH, _DAY = r"20[0-9]{2}", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12][0-9]|3[01])"
_DATE = re.compile(
    rf"(?:-(?P<y>{_YEAR})(?P<m>{_MONTH})(?P<d>{_DAY})"  # -20250929
    rf"|@{_YEAR}{_MONTH}{_DAY}"  # @20250929, Vertex
    rf"|-{_YEAR}-{_MONTH}-{_DAY}"  # -2025-08-07
    rf"|-preview-{_MONTH}-{_YEAR}"  # -preview-09-2025
    rf"|-{_MONTH}{_DAY})\Z"  # -0825
)
# Amazon's ids on Bedrock: an optional region, the vendor, the model, an optional version.
_BEDROCK = re.compile(
    r"(?P<region>(?:global|us|us-gov|eu|au|apac|jp|in)\.)?anthropic\.(?P<model>claude-.+?)(?:-v[0-9]+(?::[0-9]+)?)?"
)

_DROPPED = (
    ("", re.compile(r"@default\Z")),  # Vertex: whichever release is current there
    ("", re.compile(r"\((?:none|auto|minimal|low|medium|high|xhigh|max|-?[0-9]+)\)\Z")),
    ("", re.compile(r"\[1m\]\Z")),
    ("gemini-claude-", re.compile(r"\Agemini-")),  # Antigravity puts it before the names of Claude's models
    ("claude-3-5-sonnet-v2", re.compile(r"-v2\Z")),  # Vertex's name for the second release
    ("claude-", re.compile(r"-thinking\Z")),
    ("gpt-", re.compile(r"-(?:minimal|low|medium|high|xhigh|none)\Z")),
    ("gemini-", re.compile(r"-(?:high|low|medium)\Z")),
    ("gemini-", re.compile(r"(?<!-embedding)-00[1-9]\Z")),  # a stable version; an embedding's is another model
)
"""What a name may drop, one after the other: the start of names that have such a part, and the part.

``-max``, ``-mini``, ``-nano``, ``-pro``, ``-codex`` and ``-spark`` are separate models, ``-latest`` moves from one to
the next, and ``:free`` is another product.
"""


def clean(model: str) -> str:
    """The name in its form for comparisons; empty if it cannot be the name of any model."""
    if len(model) > LONGEST_NAME or not model.isascii():
        return ""
    name = model.strip().lower()
    return name if name.isprintable() else ""


def without_vendor(name: str) -> str:
    """A clean name without ``models/``, ``publishers/…/models/`` and one ``vendor/`` in front."""
    if resource := _RESOURCE.match(name):
        name = name[resource.end() :]
    return name.partition("/")[2] or name


def spellings(name: str) -> Iterator[tuple[str, MatchedBy]]:
    """The spellings of a clean name in the order to try, each with the kind of match.

    Resellers list names with their vendor, so those spellings come first.
    """
    yield from _shortened(name)
    if (bare := without_vendor(name)) != name:
        yield from _shortened(bare)
    if bedrock := _BEDROCK.fullmatch(bare):
        yield from _shortened(bare[: bedrock.end("model")])
        if bedrock["region"] != "global.":
            yield from _shortened(bedrock["model"])


def _shortened(name: str) -> Iterator[tuple[str, MatchedBy]]:
    yield name, MatchedBy.EXACT
    has_date, matched_by = True, MatchedBy.EXACT
    for start, part in _DROPPED:
        if name.startswith(start) and part.search(name):
            name, matched_by = part.sub("", name), MatchedBy.SUFFIX
            yield name, matched_by
        # A suffix may have hidden the date, so each step looks for one; a name loses one date at most.
        if has_date and (date := _DATE.search(name)):
            has_date = False
            if matched_by is MatchedBy.EXACT:
                matched_by = MatchedBy.DATE
            stem = name[: date.start()]
            if date["y"]:
                # Some releases have a row of their own, spelt with dashes: gpt-4o-2024-05-13 is not gpt-4o.
                yield f"{stem}-{date['y']}-{date['m']}-{date['d']}", matched_by
            name = stem
            yield name, matched_by


# --- sections ---------------------------------------------------------------------------------------------------------

OPENAI_COMPATIBLE = "openai-compatible-"
"""CPA's prefix for the name of an OpenAI-compatible upstream since v7.2.21."""


class _Names(NamedTuple):
    """What leads to a section: providers, vendors in front of a model's name, and how models' names begin.

    A provider is CPA's own, or a usual name for an OpenAI-compatible upstream. Users choose those names; one that is
    not listed does not reveal whose models it serves.
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
"""By section. The first one with the beginning of a model's name counts: gemini-claude-opus-4-6 is Anthropic's."""

SECTIONS = _NAMES.keys()
"""All sections that any search includes."""

_BY_PROVIDER = {provider: section for section, names in _NAMES.items() for provider in names.providers}
_BY_VENDOR = {vendor: section for section, names in _NAMES.items() for vendor in names.vendors}


def sections(provider: str, name: str) -> tuple[str, ...]:
    """The sections to search for a clean model name, in this order."""
    bare_name = without_vendor(name)
    if _BEDROCK.fullmatch(bare_name):
        return ("aws",)
    vendor, slash, _ = name.partition("/")
    found = (
        _BY_PROVIDER.get(provider.strip().lower().removeprefix(OPENAI_COMPATIBLE)),
        _BY_VENDOR.get(vendor) if slash else None,
        next((section for section, names in _NAMES.items() if bare_name.startswith(names.models)), None),
    )
    return tuple(dict.fromkeys(filter(None, found)))
