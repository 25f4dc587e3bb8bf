"""What a request costs at given rates: summed in pico-USD and rounded once, to nano-USD, half to even."""

from exporter.pricing.price import Rates
from exporter.records import Tokens

Part = tuple[str, int, int | None]
"""A bucket, its tokens, and what each of them costs in pico-USD; None if no price is published."""


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
