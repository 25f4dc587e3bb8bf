"""The table ``model_pricing``: the current prices of the models in use, for older dashboards.

A row that a person wrote or changed is never touched. The exporter knows its own rows by their values: it notes in the
project what it is about to write, so that it recognizes a row after a crash or a lost answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from exporter.clock import Clock
from exporter.history.supabase_client import Remote, Row
from exporter.history.sync import Task
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.periods import used_lately
from exporter.pricing.pricer import Pricer

_TABLE = "model_pricing"
_KIND = "model_pricing"
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
    return Task(_LOOK_SECONDS, _ModelPrices(remote, ledger, pricer, clock).run)


@dataclass
class _ModelPrices:
    remote: Remote
    ledger: Ledger
    pricer: Pricer
    clock: Clock
    _done: dict[str, _Price] = field(default_factory=dict, init=False)
    _done_at: float = field(default=0.0, init=False)

    def run(self, owner: str, proxies: Sequence[str]) -> None:
        wanted = self._prices()
        now = self.clock.monotonic()
        if wanted == self._done and now - self._done_at < _AT_LEAST_EVERY_SECONDS:
            return
        self._write(wanted, owner, proxies)
        self._done, self._done_at = wanted, now

    def _prices(self) -> dict[str, _Price]:
        """The default price, and the current one of each model, from the provider that is used most for it."""
        now_ms = self.clock.now_ms()
        found: dict[str, _Price] = {}
        used = used_lately(self.ledger.periods.current, self.ledger.dictionary)
        for provider, model in (("default", _DEFAULT), *sorted(used, key=lambda key: (-used[key], key))):
            prices = self.pricer.current(provider, model, at_ms=now_ms)
            is_storable = len(model) <= _LONGEST_MODEL and len(provider) <= _LONGEST_PROVIDER
            if is_storable and "input" in prices and "output" in prices and model not in found:
                found[model] = _Price.of(provider, prices["input"], prices["output"])
        return found

    def _write(self, wanted: Mapping[str, _Price], owner: str, proxies: Sequence[str]) -> None:
        there = {row["model_pattern"]: row for row in self.remote.rows(_TABLE, order=("id",))}
        noted = self._noted(proxies)
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
        self.remote.call(
            "exporter_save_checkpoint",
            p_proxy=proxies[0],
            p_owner=owner,
            p_checkpoint={"state": {_KIND: notes}},
        )
        if added:
            rows = [self._row(model, price) for model, price in added.items()]
            self.remote.upsert(_TABLE, rows, on="model_pattern", only_new=True)
        for model, price in changed.items():
            row = there[model]
            where = {column: row[column] for column in ("id", "input_price_per_million", "output_price_per_million")}
            self.remote.update(_TABLE, self._row(model, price), where=where)

    def _noted(self, proxies: Sequence[str]) -> dict[str, list[_Price]]:
        """What this exporter has written or was about to write, by model."""
        noted: dict[str, list[_Price]] = {}
        for row in self.remote.rows(
            "exporter_checkpoints", "proxy,value", order=("proxy", "kind"), where={"kind": _KIND}
        ):
            if row["proxy"] in proxies:
                for model, prices in row["value"].items():
                    noted.setdefault(model, []).extend(_Price.of(*price) for price in prices)
        return noted

    def _row(self, model: str, price: _Price) -> Row:
        return {
            "model_pattern": model,
            "input_price_per_million": price.input,
            "output_price_per_million": price.output,
            "provider": price.provider,
            "updated_at": datetime.fromtimestamp(self.clock.now(), UTC).isoformat(),
        }


def _price_of(row: Row) -> _Price:
    return _Price.of(row["provider"], row["input_price_per_million"], row["output_price_per_million"])
