"""A price, by size of the prompt and service tier, and what a request costs at it.

Prices are whole pico-USD per token, which is the same number as millionths of a dollar per million tokens. So every
published price is an exact integer, and no binary float ever touches money. A cost is summed in pico-USD and rounded
once, to nano-USD, half to even. When a price holds, and the rules of the user's file, are in ``price_file.py``.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple, Self

from exporter.records import Basis, Tokens

_PICO_PER_USD = 1_000_000
BUCKETS = ("input", "cache_read", "cache_write", "output")
Part = tuple[str, int, int | None]
"""A bucket, its tokens, and what each token costs in pico-USD; None if no price is published."""

# OpenAI renamed its priority processing; Codex clients ask for ``fast``. Providers with a different price for each have
# a row for each.
_OTHER_NAME = {"fast": "priority"}


class MatchedBy(StrEnum):
    """How the requested model name led to the price.

    ``OVERRIDE``: the user's price file has it. ``EXACT``: by the name itself, in any case, with or without a vendor or
    ``models/`` in front. ``DATE``: without its release date. ``SUFFIX``: without a reasoning, context or version
    marker, with or without a date. ``DEFAULT``: it did not, so the default price applies.
    """

    OVERRIDE = "override"
    EXACT = "exact"
    DATE = "date"
    SUFFIX = "suffix"
    DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Prices of one prompt size in pico-USD per token. ``None``: no price is published, which does not mean free.

    Raises ValueError for a negative price.
    """

    input: int
    output: int | None
    cache_read: int | None
    cache_write: int | None
    reasoning: int | None = None
    """The price of reasoning tokens where the rest of the output costs something else, as images do."""

    def __post_init__(self) -> None:
        if any(rate is not None and rate < 0 for rate in self.by_bucket().values()):
            raise ValueError("A price below zero was given; prices are 0 or more.")

    def by_bucket(self) -> dict[str, int | None]:
        """The prices by the values of the label ``bucket``."""
        buckets = BUCKETS if self.reasoning is None else (*BUCKETS, "reasoning")
        return {bucket: getattr(self, bucket) for bucket in buckets}

    def with_cache(self) -> Self:
        """The same prices; cached input without its own price has the price of other input."""
        return self if self.cache_read is not None else replace(self, cache_read=self.input)


@dataclass(frozen=True, kw_only=True)
class Tier(Rates):
    """What every token of a request costs if its whole prompt is larger than ``above_tokens`` tokens."""

    above_tokens: int


@dataclass(frozen=True, kw_only=True)
class Tariff(Rates):
    """What one model costs at one service tier: the prices of small prompts, and of prompts above certain sizes.

    Raises ValueError if ``tiers`` do not rise.
    """

    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = [tier.above_tokens for tier in self.tiers]
        if sizes != sorted(set(sizes)):
            raise ValueError("The long-context tiers of a price must be listed from small to large.")

    def rates(self, tokens: Tokens) -> Rates:
        """The prices for all tokens of a request: the size of its whole prompt decides."""
        rates: Rates = self
        for tier in self.tiers:
            if tokens.prompt <= tier.above_tokens:
                break
            rates = tier
        return rates

    def under(self, rule: "Rule") -> Self:
        """The same prices under a rule."""
        tiers = tuple(replace(tier, **rule.change(tier)) for tier in self.tiers)
        return replace(self, tiers=tiers, **rule.change(self))


class Rule(NamedTuple):
    """A user's rule: ``change`` gives the prices that it replaces; ``words`` is a line that explains it to people."""

    change: Callable[[Rates], dict[str, Any]]
    words: str


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one model costs during one period.

    ``tariff`` applies to requests without a service tier; ``service_tiers`` has the tariffs of priced tiers, by name in
    lower case. ``origin`` names the price list and its row. ``rules`` are the user's rules that changed it.
    """

    origin: str
    tariff: Tariff
    matched_by: MatchedBy = MatchedBy.EXACT
    service_tiers: Mapping[str, Tariff] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    _under: dict[Rule, "Price"] = field(default_factory=dict, init=False, repr=False, compare=False)

    def at(self, service_tier: str) -> Tariff | None:
        """The tariff of a service tier, of the base tier if the name is empty; ``None`` if no tariff is published.

        The default price is a guess, and holds for any tier.
        """
        if not service_tier or self.matched_by is MatchedBy.DEFAULT:
            return self.tariff
        return self.service_tiers.get(service_tier) or self.service_tiers.get(_OTHER_NAME.get(service_tier, ""))

    def text(self, service_tier: str) -> str:
        """The prices at a service tier, as text to store: the same text means the same prices.

        A tier without a tariff charges nothing and has the base tier's text.
        """
        texts = self._texts
        return texts.get(service_tier) or texts[""]

    @cached_property
    def basis(self) -> Basis:
        return Basis.DEFAULT if self.matched_by is MatchedBy.DEFAULT else Basis.EXACT

    def under(self, rule: Rule) -> "Price":
        """The same price under a rule; each is made only once."""
        if rule not in self._under:
            tiers = {name: tariff.under(rule) for name, tariff in self.service_tiers.items()}
            rules = (*self.rules, rule)
            self._under[rule] = replace(self, tariff=self.tariff.under(rule), service_tiers=tiers, rules=rules)
        return self._under[rule]

    @cached_property
    def _texts(self) -> Mapping[str, str]:
        asked = {"", *self.service_tiers, *(other for other, name in _OTHER_NAME.items() if name in self.service_tiers)}
        return {name: self._text(name) for name in asked}

    def _text(self, service_tier: str) -> str:
        tariff = self.at(service_tier) or self.tariff
        fields: dict[str, object] = {
            "origin": self.origin,
            "matched_by": self.matched_by,
            "prices": tariff.by_bucket(),
            "tiers": [{"above_tokens": tier.above_tokens, **tier.by_bucket()} for tier in tariff.tiers],
        }
        if service_tier:
            fields["service_tier"] = service_tier
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def pico_per_token(usd_per_million: Decimal | str) -> int:
    """A published price as exact pico-USD per token.

    A finer price (resellers publish 0.08333333333333334) is rounded half to even.
    """
    return int((Decimal(usd_per_million) * _PICO_PER_USD).to_integral_value(ROUND_HALF_EVEN))


def usd_per_million(pico: int) -> Decimal:
    """A price in its published form: USD per million tokens."""
    return Decimal(pico) / _PICO_PER_USD


def parts(rates: Rates, tokens: Tokens) -> tuple[Part, ...]:
    """The parts of a request's cost, in the order of ``Rates.by_bucket``."""
    found = (
        ("input", tokens.uncached, rates.input),
        ("cache_read", tokens.cache_read, rates.cache_read),
        ("cache_write", tokens.cache_write, rates.cache_write),
        ("output", tokens.output, rates.output),
    )
    if rates.reasoning is None:
        return found
    rest = tokens.output - tokens.reasoning
    return (*found[:-1], ("output", rest, rates.output), ("reasoning", tokens.reasoning, rates.reasoning))


def cost(rates: Rates, tokens: Tokens) -> tuple[int, str]:
    """What a request costs, in nano-USD, and ``Cost.unpriced``: why some of its tokens add nothing."""
    pico, unpriced = 0, "unclassified_tokens" if tokens.unclassified else ""
    for bucket, count, rate in parts(rates, tokens):
        if rate is not None:
            pico += count * rate
        elif count and not unpriced:
            unpriced = f"no_{bucket}_price"
    return (pico + 499 + pico // 1000 % 2) // 1000, unpriced  # half to even; twice as fast as round(pico, -3)
