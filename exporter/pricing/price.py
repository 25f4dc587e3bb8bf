"""A model's price, and what a request costs at it.

Prices are whole pico-USD per token, which is the same number as millionths of a dollar per million tokens, so every
price that a vendor publishes is an exact integer and no binary float ever touches money. A cost is summed in pico-USD
and rounded once, to nano-USD, half to even.
"""

import json
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from functools import cached_property

from exporter.records import Tokens

_PICO_PER_NANO = 1000


class MatchedBy(StrEnum):
    """How the asked model name led to the price.

    ``EXACT``: the name itself, whatever its case, a vendor or ``models/`` in front of it aside. ``DATE``: after a
    release date was dropped. ``SUFFIX``: after a reasoning or context marker was dropped, with or without a date.
    ``DEFAULT``: it did not; the default price is used.
    """

    EXACT = "exact"
    DATE = "date"
    SUFFIX = "suffix"
    DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Prices of one prompt size in pico-USD per token. ``None``: nobody published one, which is not the same as free.

    Raises ValueError for a negative price.
    """

    input: int
    output: int | None
    cache_read: int | None
    cache_write: int | None

    def __post_init__(self) -> None:
        if any(rate is not None and rate < 0 for rate in self._by_bucket().values()):
            raise ValueError("A price below zero was given; prices are 0 or more.")

    def _by_bucket(self) -> dict[str, int | None]:
        return {
            "input": self.input,
            "output": self.output,
            "cache_read": self.cache_read,
            "cache_write": self.cache_write,
        }


@dataclass(frozen=True, kw_only=True)
class Tier(Rates):
    """What every token of a request costs when its whole prompt is larger than ``above_tokens`` tokens."""

    above_tokens: int


@dataclass(frozen=True, kw_only=True)
class Price(Rates):
    """What one model costs during one period. ``origin`` names the price list and its row.

    Raises ValueError when ``tiers`` do not rise.
    """

    origin: str
    matched_by: MatchedBy
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = [tier.above_tokens for tier in self.tiers]
        if sizes != sorted(set(sizes)):
            raise ValueError(f"The long-context tiers of {self.origin} must be listed from small to large.")

    def rates(self, prompt_tokens: int) -> Rates:
        """The prices that a request with a prompt of this size pays for all its tokens."""
        rates: Rates = self
        for tier in self.tiers:
            if prompt_tokens <= tier.above_tokens:
                break
            rates = tier
        return rates

    @cached_property
    def text(self) -> str:
        """The price as text to store: the same text means the same price."""
        fields = {
            "origin": self.origin,
            "matched_by": self.matched_by,
            "prices": self._by_bucket(),
            "tiers": [{"above_tokens": tier.above_tokens, **tier._by_bucket()} for tier in self.tiers],
        }
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def pico_per_token(usd_per_million: Decimal | str) -> int:
    """Turn a published price into pico-USD per token, exactly.

    A price finer than that (resellers publish 0.08333333333333334) is rounded half to even.
    """
    return int((Decimal(usd_per_million) * 1_000_000).to_integral_value(ROUND_HALF_EVEN))


def cost(price: Price, tokens: Tokens) -> int:
    """What a request with these tokens costs, in nano-USD.

    Tokens of a bucket without a price, and unclassified tokens, add nothing: ``Cost.unpriced`` tells about them.
    """
    rates = price.rates(tokens.prompt) if price.tiers else price
    pico = tokens.uncached * rates.input
    if rates.output is not None:
        pico += tokens.output * rates.output
    if rates.cache_read is not None:
        pico += tokens.cache_read * rates.cache_read
    if rates.cache_write is not None:
        pico += tokens.cache_write * rates.cache_write
    return _to_nano(pico)


def _to_nano(pico: int) -> int:
    nano, rest = divmod(pico, _PICO_PER_NANO)
    if rest * 2 > _PICO_PER_NANO or (rest * 2 == _PICO_PER_NANO and nano % 2):
        nano += 1
    return nano
