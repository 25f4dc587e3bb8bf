"""``cliproxy-exporter price``: what a model costs, and where the price is from."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

import click

from exporter.clock import Clock
from exporter.commands.common import FAILED, exit_codes, moment_option, ready_settings
from exporter.errors import LedgerError
from exporter.ledger.database import FILE_NAME
from exporter.ledger.store.price_feed import read_price_feed
from exporter.pricing.catalogue import models_without_price
from exporter.pricing.feed_format import StoredFeed
from exporter.pricing.price import MatchedBy, Price, Tariff, cost, parts, usd_per_million
from exporter.pricing.pricer import open_prices
from exporter.records import BASE_TIERS, Tokens
from exporter.settings.model import Settings

_HOW = {
    MatchedBy.OVERRIDE: "your price file has it",
    MatchedBy.EXACT: "the name is listed",
    MatchedBy.DATE: "the name is listed without its date",
    MatchedBy.SUFFIX: "the name is listed without a suffix that does not change the price",
    MatchedBy.DEFAULT: "no list has it",
}
_count = click.IntRange(min=0)


@click.command(epilog="Example: cliproxy-exporter price claude-opus-4-6 --input 4670 --cache-read 13569 --output 93")
@click.argument("model")
@click.option("--provider", default="", help="Provider, as the metrics show it. [default: the model's maker]")
@click.option("--at", "at", help="Moment of the request, as 2026-10-01 or 2026-10-01T12:00 in TIMEZONE. [default: now]")
@click.option("--tier", default="", help="Service tier of the request, for example priority or flex.")
@click.option(
    "--input", "uncached", type=_count, default=0, help="Prompt tokens neither read from nor written to a cache."
)
@click.option("--cache-read", type=_count, default=0, help="Prompt tokens read from the provider's cache.")
@click.option("--cache-write", type=_count, default=0, help="Prompt tokens written to that cache.")
@click.option("--output", type=_count, default=0, help="Output tokens, reasoning included.")
@click.option("--reasoning", type=_count, default=0, help="How many of the output tokens are reasoning.")
def price(*, model: str, provider: str, at: str | None, tier: str, **counts: int) -> None:
    """Show the price of MODEL, its source, and a request's cost.

    The exporter uses this price, too: from the same lists in the same order, including the daily list if it was
    fetched. The exit code is 1 if only the default price applies, or if the service tier has no price.
    """
    tokens = Tokens(**counts)
    if tokens.reasoning > tokens.output:
        raise click.BadParameter("Reasoning is a part of the output, so it cannot be more.", param_hint="--reasoning")
    with exit_codes():
        settings, clock = ready_settings(), Clock()
        at_ms = moment_option("--at", at, settings.zone) if at else clock.now_ms()
        prices = open_prices(
            file=settings.exporter_prices_file,
            feed_url=settings.exporter_prices_url if settings.exporter_prices_refresh else None,
            store=_StoredOnly(settings),
            clock=clock,
        )
        found = prices.price_of(provider, model, at_ms=at_ms)
        service_tier = tier.strip().lower()
        service_tier = "" if service_tier in BASE_TIERS else service_tier
        tariff = found.at(service_tier)
        lines = [*_about(found, provider, model, moment=datetime.fromtimestamp(at_ms / 1000, settings.zone))]
        if tariff is None:
            lines += _prices(found.tariff, "")
        else:
            lines += [*_prices(tariff, service_tier), *_sum(tariff, tokens)]
        click.echo("\n".join(lines))
        if problem := _problem(found, tariff, provider, model, service_tier):
            click.echo(problem, err=True)
            raise SystemExit(FAILED)


class _StoredOnly:
    """The feed's prices from the ledger, which is only read and may be in use."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.exporter_data_dir / FILE_NAME

    def load(self) -> StoredFeed:
        try:
            return read_price_feed(self._path)
        except LedgerError as exc:
            click.echo(f"The prices of the daily list are not used: {exc}", err=True)
            return StoredFeed()

    def save(self, new: object, *, fetched_ms: int) -> None:  # noqa: ARG002 - the protocol's
        raise LedgerError("This command does not write to the ledger.")


def _about(found: Price, provider: str, model: str, *, moment: datetime) -> Iterator[str]:
    yield f"model     {model}{f' of {provider}' if provider else ''} at {moment.isoformat(timespec='seconds')}"
    yield f"price     {found.origin}"
    yield f"matched   {found.matched_by}: {_HOW[found.matched_by]}"
    tiers = ", ".join(sorted(found.service_tiers))
    yield f"tiers     {tiers or 'none but the base tier'}"
    for rule in found.rules:
        yield rule.words


def _prices(tariff: Tariff, service_tier: str) -> Iterator[str]:
    columns = [("any prompt" if not tariff.tiers else f"up to {tariff.tiers[0].above_tokens:,}", tariff.by_bucket())]
    columns += [(f"above {tier.above_tokens:,}", tier.by_bucket()) for tier in tariff.tiers]
    yield ""
    yield f"USD per million tokens, service tier {service_tier or 'base'}"
    yield f"{'':<12}" + "".join(f"{heading:>16}" for heading, _ in columns)
    for bucket in tariff.by_bucket():
        yield f"{bucket:<12}" + "".join(f"{_usd(prices[bucket]):>16}" for _, prices in columns)


def _usd(pico: int | None) -> str:
    return "-" if pico is None else f"{usd_per_million(pico).normalize():f}"


def _sum(tariff: Tariff, tokens: Tokens) -> Iterator[str]:
    if not tokens.prompt and not tokens.output:
        return
    rates = tariff.rates(tokens)
    yield ""
    yield f"A request with a prompt of {tokens.prompt:,} tokens"
    for bucket, count, rate in parts(rates, tokens):
        if count and rate is None:
            yield f"{bucket:<12}{count:>16,} x {'-':>12} = {'no price':>21}"
        elif count and rate is not None:
            yield f"{bucket:<12}{count:>16,} x {_usd(rate):>12} = {_dollars(count * rate, 12):>21}"
    if tokens.reasoning and rates.reasoning is None:
        yield f"{'':<12}{tokens.reasoning:>16,} of them are reasoning, at the same price"
    nano_usd, _ = cost(rates, tokens)
    yield f"{'cost':<12}{'':>16}   {'':>12}   {_dollars(nano_usd, 9):>18}"


def _dollars(amount: int, places: int) -> str:
    return f"${Decimal(amount).scaleb(-places):,.{places}f}"


def _problem(found: Price, tariff: Tariff | None, provider: str, model: str, service_tier: str) -> str:
    if found.matched_by is MatchedBy.DEFAULT:
        reason = models_without_price().get((provider.strip().lower(), model.strip().lower()))
        why = f" A search found none: {reason}." if reason else ""
        return (
            f"No list has a price for {model}, so it is charged at the default price, which is a guess.{why}"
            " If you know its price, put it into the file that EXPORTER_PRICES_FILE names."
        )
    if tariff is None:
        return (
            f"There is no price for the service tier {service_tier}. A request that only asked for it costs the base"
            " price (tier_at_base_price); one whose answer names it costs 0 (no_tier_price); both are counted as"
            " unpriced. If you know the price, put it into the file that EXPORTER_PRICES_FILE names."
        )
    return ""
