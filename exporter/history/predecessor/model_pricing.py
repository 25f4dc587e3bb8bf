"""The table ``model_pricing``: the current prices of the models in use, for older dashboards.

A row that a person wrote or changed is never touched. The exporter knows its own rows by their values: it notes in the
project what it is about to write, so that it recognizes a row after a crash or a lost answer.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from exporter.clock import Clock
from exporter.history.client import Remote, Row
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
    """The content of a row. Prices are in USD per million tokens, as text."""

    provider: str
    input: str
    output: str


def price_task(remote: Remote, ledger: Ledger, pricer: Pricer, clock: Clock) -> Task:
    """Writes the prices when they or the models in use change, and checks the rows every hour."""
    return Task(_LOOK_SECONDS, _ModelPrices(remote, ledger, pricer, clock).run)


class _ModelPrices:
    def __init__(self, remote: Remote, ledger: Ledger, pricer: Pricer, clock: Clock) -> None:
        self._remote = remote
        self._ledger = ledger
        self._pricer = pricer
        self._clock = clock
        self._done: dict[str, _Price] = {}
        self._done_at = 0.0

    def run(self, owner: str, proxies: Sequence[str]) -> None:
        wanted = self._prices()
        now = self._clock.monotonic()
        if wanted == self._done and now - self._done_at < _AT_LEAST_EVERY_SECONDS:
            return
        self._write(wanted, owner, proxies)
        self._done, self._done_at = wanted, now

    def _prices(self) -> dict[str, _Price]:
        """The current price of each model, from the provider that is used most for it."""
        now_ms = self._clock.now_ms()
        found: dict[str, _Price] = {}
        used = used_lately(self._ledger.periods.current, self._ledger.dictionary)
        for (provider, model), _ in sorted(used.items(), key=lambda item: (-item[1], item[0])):
            prices = self._pricer.current(provider, model, at_ms=now_ms)
            is_storable = model != _DEFAULT and len(model) <= _LONGEST_MODEL and len(provider) <= _LONGEST_PROVIDER
            if is_storable and "input" in prices and "output" in prices and model not in found:
                found[model] = _Price(provider, f"{prices['input']:f}", f"{prices['output']:f}")
        return found

    def _write(self, wanted: Mapping[str, _Price], owner: str, proxies: Sequence[str]) -> None:
        there = {row["model_pattern"]: row for row in self._remote.rows(_TABLE, order=("id",))}
        noted = self._noted(proxies)
        added = {model: price for model, price in wanted.items() if model not in there}
        changed = {
            model: price
            for model, price in wanted.items()
            if model in there and _is(there[model], noted.get(model, [])) and not _is(there[model], [price])
        }
        if not added and not changed:
            return
        # The old value stays noted, because the row has it until it is written.
        before = {model: [_price_of(there[model])] for model in changed}
        notes = noted | {model: [*before.get(model, []), price] for model, price in (added | changed).items()}
        self._remote.call(
            "exporter_save_checkpoint",
            p_proxy=proxies[0],
            p_owner=owner,
            p_checkpoint={"state": {_KIND: notes}},
        )
        if added:
            self._remote.add(_TABLE, [self._row(model, price) for model, price in added.items()], on="model_pattern")
        for model, price in changed.items():
            row = there[model]
            where = {column: row[column] for column in ("id", "input_price_per_million", "output_price_per_million")}
            self._remote.update(_TABLE, self._row(model, price), where=where)

    def _noted(self, proxies: Sequence[str]) -> dict[str, list[_Price]]:
        """What this exporter has written or was about to write, by model."""
        noted: dict[str, list[_Price]] = {}
        for row in self._remote.rows(
            "exporter_checkpoints", "proxy,value", order=("proxy", "kind"), where={"kind": _KIND}
        ):
            if row["proxy"] in proxies:
                for model, prices in row["value"].items():
                    noted.setdefault(model, []).extend(_Price(*price) for price in prices)
        return noted

    def _row(self, model: str, price: _Price) -> Row:
        return {
            "model_pattern": model,
            "input_price_per_million": price.input,
            "output_price_per_million": price.output,
            "provider": price.provider,
            "updated_at": datetime.fromtimestamp(self._clock.now(), UTC).isoformat(),
        }


def _price_of(row: Row) -> _Price:
    return _Price(row["provider"], str(row["input_price_per_million"]), str(row["output_price_per_million"]))


def _is(row: Row, prices: Sequence[_Price]) -> bool:
    """Whether a row has one of these prices."""
    there = _price_of(row)
    return any(_numbers(price) == _numbers(there) for price in prices)


def _numbers(price: _Price) -> tuple[str, Decimal, Decimal]:
    return price.provider, Decimal(price.input), Decimal(price.output)
