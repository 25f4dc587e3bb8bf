"""The CSV of ``cliproxy-exporter export``: records that keep the cost that was booked.

Its clients and credentials are shown names. A name that the ledger knows means the same client or credential. Of the
others, masked names are kept; the rest may be names of people, and become pseudonyms.
"""

import csv
import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from exporter.days import epoch_ms
from exporter.errors import ImportFileError
from exporter.imports.items import NEXT_FILE, Item, LeftOut, misfit
from exporter.ledger.labels import OF_ROUTE, SeriesLabels
from exporter.ledger.ledger import Ledger
from exporter.ledger.name_store import ANONYMOUS, BY_NAME
from exporter.ledger.shown_names import ShownNames
from exporter.normalize.fingerprint import fingerprint_of
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.snapshot import MOST_COUNTED
from exporter.normalize.wire_record import Text
from exporter.records import Basis, Billing, Cost, Tokens, UsageRecord

_MASKED = re.compile(r"client-[0-9a-f]{10}")
_HARMLESS = re.compile(r"^'(?='*[=+\-@\t\r])")
_OF_OTHERS = LeftOut("they are another proxy's (see --proxy)", 1)
_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_COUNTED)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**6)]
_Word = Annotated[str, msgspec.Meta(pattern="^[a-z0-9_]{0,40}$")]


class Line(SeriesLabels, frozen=True, kw_only=True):
    time: Text
    billing: Literal["unknown", "metered", "subscription"]
    requests: Annotated[str, msgspec.Meta(pattern="^(True|False|[1-9][0-9]{0,13})$")] = msgspec.field(name="counted")
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
    price: str


_FIELDS = sorted(msgspec.structs.fields(Line), key=lambda each: each.name != "time")
COLUMNS = tuple(each.encode_name for each in _FIELDS)
_FIRST = [each for each in _FIELDS if each.required]
"""The columns that every export has. A later one has a default."""
_identity = attrgetter(*(each.name for each in _FIRST[:-4]))
"""What identifies a line, for good: the values of these columns except the last four, which are about the cost."""


class Names:
    """Who is behind the names of a ledger: clients, and credentials of the proxy."""

    def __init__(self, ledger: Ledger, shown_names: ShownNames, proxy: str, pseudonym: Pseudonym) -> None:
        self._pseudonym = pseudonym
        name_store = ledger.name_store
        known = (name_store.clients_by_pseudonym(), shown_names.aliases_of_clients())
        self._clients = {name: client for each in known for client, name in each.items()} | {ANONYMOUS: ""}
        self._credentials: dict[str, tuple[str, str]] = {}
        for each in [each for each in name_store.credentials.values() if each.proxy == name_store.proxies[proxy]]:
            handles = sorted(name_store.known_as(name_store.resolved(each.id).id, "auth_index"))
            accounts = sorted(name_store.known_as(each.id, "account"))
            if handles or accounts:
                found = (handles[0].partition("/")[0] if handles else "", accounts[0] if accounts else "")
                self._credentials[each.long_name] = self._credentials[shown_names.credential(each.id)] = found

    def client(self, shown: str) -> str:
        """The pseudonym of a client, empty for anonymous ones."""
        if shown in self._clients:
            return self._clients[shown]
        return BY_NAME + shown if _MASKED.fullmatch(shown) else self._pseudonym(shown)

    def credential(self, shown: str) -> tuple[str, str]:
        """``auth_index`` and ``source`` of a credential."""
        return self._credentials.get(shown) or ("", self._pseudonym(shown))


def read_own_csv(path: Path, proxy: str, names: Names) -> Iterator[Item]:
    """The lines of the proxy. Raises ImportFileError for another header."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            lines = csv.DictReader(file)
            if missing := [name for each in _FIRST if (name := each.encode_name) not in (lines.fieldnames or ())]:
                raise ImportFileError(
                    f"{path} is not a CSV of cliproxy-exporter export: its header lacks {', '.join(missing)}."
                )
            for line in lines:
                yield NEXT_FILE if line["time"] == "time" else _item(line, proxy, names)
    except (OSError, csv.Error) as exc:
        raise ImportFileError(f"{path} cannot be read ({exc}).") from exc


def _item(line: dict[str, str], proxy: str, names: Names) -> Item:
    try:
        plain = {name: _HARMLESS.sub("", line[name]) for name in COLUMNS if name in line}
        found = msgspec.convert(plain, Line, strict=False)
        return _record(found, names) if found.proxy == proxy else _OF_OTHERS
    except (msgspec.ValidationError, ArithmeticError, TypeError, ValueError):
        return misfit("csv", sorted((str(name), value) for name, value in line.items()))


def _record(line: Line, names: Names) -> tuple[UsageRecord, Cost]:
    moment = datetime.fromisoformat(line.time)
    uncached = line.input_tokens - line.cache_read_tokens - line.cache_write_tokens
    nano_usd = int(line.cost_usd.scaleb(9))
    named = line.provider.isprintable() and line.model.isprintable() and line.price.isprintable()
    if moment.tzinfo is None or uncached < 0 or not 0 <= nano_usd < 2**60 or not named:
        raise ValueError
    has_none = line.credential == f"{line.provider}-unidentified"
    auth_index, source = ("", "") if has_none else names.credential(line.credential)
    record = UsageRecord(
        ts_ms=epoch_ms(moment),
        fingerprint=fingerprint_of(("csv/1", *_identity(line))),
        **{name: getattr(line, name) for name in OF_ROUTE},
        alias="",
        auth_index=auth_index,
        source=source,
        client=names.client(line.client),
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
        counted=int(line.requests) if line.requests.isdigit() else int(line.requests == "True"),
        code=line.code,
    )
    return record, Cost(nano_usd, Basis[line.basis.upper()], line.price, line.unpriced)
