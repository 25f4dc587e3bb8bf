"""The spellings under which a model name may be looked up, from the name as it is to the most reduced one.

A proxy asks for ``models/gemini-2.5-pro``, ``claude-sonnet-4-5-20250929-thinking`` or ``gpt-5.1(high)``; a price list
has one row per product. What may be dropped is listed here, one step after the other; what is left has to *equal* a
name in the price list. A prefix or a substring never counts, because names that look alike are other products:
``gpt-4`` and ``gpt-4o-mini``, ``claude-opus-4`` and ``claude-opus-4-7``, ``gpt-5.1-codex`` and ``-codex-max``.
"""

import re
from collections.abc import Iterator

from exporter.pricing.cost import MatchedBy

# The longest name of any price list has about 60 characters. Longer ones are no model's and are not worth the work.
LONGEST_NAME = 200

_RESOURCE = re.compile(r"(?:publishers/[^/]+/)?models/")
_EFFORT_IN_BRACKETS = re.compile(r"\((?:none|auto|minimal|low|medium|high|xhigh|max|-?[0-9]+)\)\Z")
_YEAR, _MONTH, _DAY = r"20[0-9]{2}", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12][0-9]|3[01])"
_DATE = re.compile(
    rf"(?:-(?P<y>{_YEAR})(?P<m>{_MONTH})(?P<d>{_DAY})"  # -20250929
    rf"|@{_YEAR}{_MONTH}{_DAY}"  # @20250929, Vertex
    rf"|-{_YEAR}-{_MONTH}-{_DAY}"  # -2025-08-07
    rf"|-preview-{_MONTH}-{_YEAR}"  # -preview-09-2025
    rf"|-{_MONTH}{_DAY})\Z"  # -0825
)
_LONG_CONTEXT = "[1m]"
# Amazon's ids on Bedrock: a region or none, the vendor, the model, a version or none.
_BEDROCK = re.compile(
    r"(?P<region>(?:global|us|us-gov|eu|au|apac|jp|in)\.)?anthropic\.(?P<model>claude-.+?)(?:-v[0-9]+(?::[0-9]+)?)?"
)
_BESIDE_GEMINI = "gemini-claude-"

# ``-max``, ``-mini``, ``-nano``, ``-pro``, ``-codex`` and ``-spark`` are models of their own, ``-latest`` moves from
# one model to the next, and ``:free`` is another product.
_SUFFIXES = {
    "claude-": ("-thinking",),
    "gpt-": ("-minimal", "-low", "-medium", "-high", "-xhigh", "-none"),
    "gemini-": ("-high", "-low", "-medium"),
}


def clean(model: str) -> str:
    """The name in the form in which names are compared; empty when it cannot be the name of any model."""
    if len(model) > LONGEST_NAME or not model.isascii():
        return ""
    name = model.strip().lower()
    return name if name.isprintable() else ""


def without_vendor(name: str) -> str:
    """Drop ``models/``, ``publishers/…/models/`` and one ``vendor/`` from the front of a clean name."""
    if resource := _RESOURCE.match(name):
        name = name[resource.end() :]
    return name.partition("/")[2] or name


def is_bedrock(name: str) -> bool:
    """Whether a clean name without its vendor is an id of Claude's on Amazon Bedrock."""
    return _BEDROCK.fullmatch(name) is not None


def spellings(name: str) -> Iterator[tuple[str, MatchedBy]]:
    """Yield the spellings of a clean name in the order in which they have to be tried, and what a hit shall be called.

    The name with its vendor comes first, with everything that may be dropped from its end: resellers list it so.
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
    for drop in (_drop_effort, _drop_long_context, _drop_gemini, _drop_family_suffix):
        if (shorter := drop(name)) != name:
            name, matched_by = shorter, MatchedBy.SUFFIX
            yield name, matched_by
        # A suffix may have hidden the date, so it is looked for after each step; a name can lose one date only.
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


def _drop_effort(name: str) -> str:
    return _EFFORT_IN_BRACKETS.sub("", name)


def _drop_long_context(name: str) -> str:
    return name.removesuffix(_LONG_CONTEXT)


def _drop_gemini(name: str) -> str:
    """Antigravity's names for the Claude models that it serves."""
    return name.removeprefix("gemini-") if name.startswith(_BESIDE_GEMINI) else name


def _drop_family_suffix(name: str) -> str:
    for family, suffixes in _SUFFIXES.items():
        if name.startswith(family):
            for suffix in suffixes:
                if name.endswith(suffix):
                    return name.removesuffix(suffix)
    return name
