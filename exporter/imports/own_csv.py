"""The CSV of ``cliproxy-exporter export``: records that keep the cost that was booked.

Its clients and credentials are labels. A label that the ledger knows is the same client or credential. Otherwise a
generated label is kept; anything else may be a name, and becomes a pseudonym.
"""

import csv
import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from exporter.days import epoch_ms
from exporter.errors import ImportFileError
from exporter.imports.items import Item, misfit
from exporter.ledger.label_store import ANONYMOUS, BY_LABEL, LabelStore
from exporter.ledger.labels import Labels
from exporter.normalize.fingerprint import fingerprint_of
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.wire import Text
from exporter.records import Basis, Billing, Cost, Tokens, UsageRecord

_MADE_LABEL = re.compile(r"client-[0-9a-f]{10}")
_HARMLESS = re.compile(r"'(?=[=+\-@\t\r])")
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**6)]
_Word = Annotated[str, msgspec.Meta(pattern="^[a-z0-9_]{0,40}$")]


class Line(msgspec.Struct, kw_only=True):
    """The columns of the file."""

    time: Text
    proxy: Text
    provider: Text
    model: Text
    credential: Text
    client: Text
    billing: Literal["unknown", "metered", "subscription"]
    is_counted: Literal["True", "False"] = msgspec.field(name="counted")
    code: _Word
    latency_seconds: _Seconds
    time_to_first_token_seconds: _Seconds
    input_tokens: _Count
    cache_read_tokens: _Count
    cache_write_tokens: _Count
    output_tokens: _Count
    reasoning_tokens: _Count
    unclassified_tokens: _Count
    cost_usd: Decimal
    basis: Literal["exact", "default"]
    unpriced: _Word
    price: Text


@dataclass(frozen=True, slots=True)
class Known:
    """By label: the pseudonym of a client, and (``auth_index``, ``source``) of a credential of the proxy."""

    clients: Mapping[str, str]
    credentials: Mapping[str, tuple[str, str]]


def known_labels(connection: sqlite3.Connection, dictionary: LabelStore, labels: Labels, proxy: int) -> Known:
    """The labels of a ledger."""
    clients: dict[str, str] = {}
    for id_, pseudonym, label in connection.execute("select id, pseudonym, label from client"):
        clients[label] = pseudonym
        clients[labels.client(id_)] = pseudonym
    credentials: dict[str, tuple[str, str]] = {}
    for credential in [each for each in dictionary.credentials.values() if each.proxy == proxy]:
        handles = sorted(dictionary.known_as(dictionary.resolved(credential.id).id, "auth_index"))
        accounts = sorted(dictionary.known_as(credential.id, "account"))
        if handles or accounts:
            found = (handles[0].partition("/")[0] if handles else "", accounts[0] if accounts else "")
            credentials[credential.label] = credentials[labels.credential(credential.id)] = found
    return Known(clients, credentials)


class OwnCsv:
    """One such file, and the proxy whose lines are read. ``of_others`` counts the lines of other proxies."""

    def __init__(self, path: Path, proxy: str, *, known: Known, labels: Labels, pseudonym: Pseudonym) -> None:
        self._path = path
        self._proxy = proxy
        self._known = known
        self._labels = labels
        self._pseudonym = pseudonym
        self.of_others = 0

    def read(self) -> Iterator[Item]:
        """The lines of the proxy. Raises ImportFileError for another header."""
        try:
            with self._path.open(encoding="utf-8", errors="replace", newline="") as file:
                lines = csv.DictReader(file)
                missing = [name for name in Line.__struct_encode_fields__ if name not in (lines.fieldnames or ())]
                if missing:
                    raise ImportFileError(
                        f"{self._path} is not a CSV of cliproxy-exporter export: its header lacks {', '.join(missing)}."
                    )
                for line in lines:
                    yield from self._item(line)
        except (OSError, csv.Error) as exc:
            raise ImportFileError(f"{self._path} cannot be read ({exc}).") from exc

    def left_out(self) -> str:
        """A sentence on the lines of other proxies, empty for none."""
        return (
            f"Left out, because they are another proxy's (see --proxy): {self.of_others:,}." if self.of_others else ""
        )

    def _item(self, line: dict[str, str]) -> Iterator[Item]:
        try:
            plain = {name: _HARMLESS.sub("", line[name], count=1) for name in Line.__struct_encode_fields__}
            found = msgspec.convert(plain, Line, strict=False)
            if found.proxy == self._proxy:
                yield self._record(found)
            else:
                self.of_others += 1
        except (msgspec.ValidationError, ArithmeticError, TypeError, ValueError):
            yield misfit("csv", sorted((str(name), value) for name, value in line.items()))

    def _record(self, line: Line) -> tuple[UsageRecord, Cost]:
        moment = datetime.fromisoformat(line.time)
        uncached = line.input_tokens - line.cache_read_tokens - line.cache_write_tokens
        nano_usd = int(line.cost_usd.scaleb(9))
        named = line.provider.isprintable() and line.model.isprintable() and line.price.isprintable()
        if moment.tzinfo is None or uncached < 0 or not 0 <= nano_usd < 2**60 or not named:
            raise ValueError
        auth_index, source = self._credential(line)
        record = UsageRecord(
            ts_ms=epoch_ms(moment),
            fingerprint=fingerprint_of(("csv/1", *msgspec.structs.astuple(line)[:-4])),
            provider=line.provider,
            model=line.model,
            alias="",
            auth_index=auth_index,
            source=source,
            client=self._client(line.client),
            billing=Billing[line.billing.upper()],
            tokens=Tokens(
                uncached=uncached,
                cache_read=line.cache_read_tokens,
                cache_write=line.cache_write_tokens,
                output=line.output_tokens,
                reasoning=min(line.reasoning_tokens, line.output_tokens),
                unclassified=line.unclassified_tokens,
            ),
            latency_ms=round(line.latency_seconds * 1000),
            ttft_ms=round(line.time_to_first_token_seconds * 1000),
            counted=int(line.is_counted == "True"),
            code=line.code,
        )
        return record, Cost(nano_usd, Basis[line.basis.upper()], line.price, line.unpriced)

    def _client(self, label: str) -> str:
        if label == ANONYMOUS:
            return ""
        known = self._known.clients.get(label) or self._labels.client_called(label)
        if known is not None:
            return known
        return BY_LABEL + label if _MADE_LABEL.fullmatch(label) else self._pseudonym(label)

    def _credential(self, line: Line) -> tuple[str, str]:
        if line.credential == f"{line.provider}-unidentified":
            return "", ""
        return self._known.credentials.get(line.credential) or ("", self._pseudonym(line.credential))
