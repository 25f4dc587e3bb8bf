"""The figures of any usage: its sums, and what follows from them."""

from collections.abc import Sequence
from typing import NamedTuple


class Amounts(NamedTuple):
    """The sums in ``day_rollup``: ``requests`` and ``failed`` are requests, the rest tokens and nano-USD.

    ``input`` includes cache, ``output`` reasoning.
    """

    requests: int = 0
    failed: int = 0
    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    unclassified: int = 0
    nano_usd: int = 0

    @classmethod
    def total(cls, parts: Sequence[Sequence[int]]) -> "Amounts":
        """The sums of any number of parts."""
        if len(parts) == 1:
            return cls._make(parts[0])
        return cls._make(map(sum, zip(*parts, strict=True))) if parts else cls()

    @property
    def tokens(self) -> int:
        return self.input + self.output + self.unclassified

    @property
    def failed_share(self) -> float | None:
        """Between 0 and 1, None without requests, or if only counts are known."""
        return None if self._are_counts or not self.requests else self.failed / self.requests

    @property
    def cost(self) -> int | None:
        """In nano-USD, None if only counts are known, which have no price."""
        return None if self._are_counts and not self.nano_usd else self.nano_usd

    @property
    def _are_counts(self) -> bool:
        """Whether all tokens are unclassified: such counts show neither failures nor a cost."""
        return bool(self.unclassified and not (self.failed or self.input or self.output))

    @property
    def cache_share(self) -> float | None:
        """The share of input tokens that came from a cache, None without input."""
        return self.cache_read / self.input if self.input else None

    @property
    def cost_per_request(self) -> int | None:
        """In nano-USD, None without requests or cost."""
        return None if self.cost is None or not self.requests else round(self.cost / self.requests)


DAY_SUMS = {name: name for name in Amounts._fields} | {"input": "uncached + cache_read + cache_write"}
"""The sums in ``day_rollup``, each as an expression over ``rollup``."""
