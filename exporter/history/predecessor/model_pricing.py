"""The table ``model_pricing``: the current prices of the models in use, for older dashboards.

A row that a person wrote or changed is never touched. The exporter knows its own rows by their values: it notes in the
project what it is about to write, so that it recognizes a row after a crash or a lost answer.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from exporter.clock import Clock
from exporter.history.history import Task
from exporter.history.supabase_client import Remote, Row
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.periods import used_lately
from exporter.pricing.pricer import Pricer

_TABLE = _KIND = "model_pricing"
_LOOK_SECONDS = 60.0
_AT_LEAST_EVERY_SECONDS = 3600.0
_DEFAULT = "_default"
_LONGEST_MODEL, _LONGEST_PROVIDER = 255, 50


class _Price(NamedTuple):
    """The content of a row. Prices are in USD per million tokens, as text in its shortest form."""

    provider: str
    input: str
    output: str

    @classmethod
    def of(cls, provider: str, *prices: object) -> "_Price":
        return cls(provider, *(f"{Decimal(str(price)).normalize():f}" for price in prices))


def price_task(remote: Remote, ledger: Ledger, pricer: Pricer, clock: Clock) -> Task:
    """Writes the prices when they or the models in use change, and checks the rows every hour."""
    done: dict[str, _Price] = {}
    done_at = 0.0

    def run(owner: str, proxies: Sequence[str]) -> None:
        nonlocal done, done_at
        wanted, now = _prices(ledger, pricer, at_ms=clock.now_ms()), clock.monotonic()
        if wanted != done or now - done_at >= _AT_LEAST_EVERY_SECONDS:
            _write(remote, wanted, owner, proxies, at=clock.now())
            done, done_at = wanted, now

    return Task(_LOOK_SECONDS, run)


def _prices(ledger: Ledger, pricer: Pricer, *, at_ms: int) -> dict[str, _Price]:
    """The default price, and the current one of each model, from the provider that is used most for it."""
    found: dict[str, _Price] = {}
    used = used_lately(ledger.periods.current, ledger.name_store)
    for provider, model in (("default", _DEFAULT), *sorted(used, key=lambda key: (-used[key], key))):
        prices = pricer.current(provider, model, at_ms=at_ms)
        is_storable = len(model) <= _LONGEST_MODEL and len(provider) <= _LONGEST_PROVIDER
        if is_storable and "input" in prices and "output" in prices and model not in found:
            found[model] = _Price.of(provider, prices["input"], prices["output"])
    return found


def _write(remote: Remote, wanted: Mapping[str, _Price], owner: str, proxies: Sequence[str], *, at: float) -> None:
    there = {row["model_pattern"]: row for row in remote.rows(_TABLE, order=("id",))}
    noted = _noted(remote, proxies)
    added = {model: price for model, price in wanted.items() if model not in there}
    ours = {model: _price_of(there[model]) for model in wanted if model in there and model in noted}
    changed = {
        model: wanted[model] for model, price in ours.items() if price in noted[model] and price != wanted[model]
    }
    if not added and not changed:
        return
    # The old value stays noted, because the row has it until it is written.
    notes = noted | {model: [price] for model, price in added.items()}
    notes |= {model: [ours[model], price] for model, price in changed.items()}
    remote.call("exporter_save_checkpoint", p_proxy=proxies[0], p_owner=owner, p_checkpoint={"state": {_KIND: notes}})
    if added:
        rows = [_row(model, price, at) for model, price in added.items()]
        remote.upsert(_TABLE, rows, on="model_pattern", only_new=True)
    for model, price in changed.items():
        row = there[model]
        where = {column: row[column] for column in ("id", "input_price_per_million", "output_price_per_million")}
        remote.update(_TABLE, _row(model, price, at), where=where)


def _noted(remote: Remote, proxies: Sequence[str]) -> dict[str, list[_Price]]:
    """What this exporter has written or was about to write, by model."""
    noted: dict[str, list[_Price]] = {}
    for row in remote.rows("exporter_checkpoints", "proxy,value", order=("proxy", "kind"), where={"kind": _KIND}):
        if row["proxy"] in proxies:
            for model, prices in row["value"].items():
                noted.setdefault(model, []).extend(_Price.of(*price) for price in prices)
    return noted


def _row(model: str, price: _Price, at: float) -> Row:
    return {
        "model_pattern": model,
        "input_price_per_million": price.input,
        "output_price_per_million": price.output,
        "provider": price.provider,
        "updated_at": datetime.fromtimestamp(at, UTC).isoformat(),
    }


def _price_of(row: Row) -> _Price:
    return _Price.of(row["provider"], row["input_price_per_million"], row["output_price_per_million"])
