"""Every recorded snapshot of CPA 6.6.96 and 6.9.49: what the vendors served is booked, whatever is polled when."""

import gzip
import itertools
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from exporter.ledger.ledger import FILE_NAME, Ledger
from tests.fakes.booking import PSEUDONYMS, check_sums, flow_of, open_ledger
from tests.fakes.guarding import TurnableClock
from tests.fakes.snapshots import details_of, snapshot_intake, take_accounts, totals_add_up
from tests.recordings import ROOT

VERSIONS = ("v6.9.49", "v6.6.96")
LIFE = (
    "usage-empty",
    "usage-1",
    "usage-2",
    "usage-after-restart",
    "usage-after-restart-1",
    "usage-after-import",
)
"""The states of one proxy in their order; after the last one follows the biggest."""
BIGGEST = {"v6.9.49": "usage-big", "v6.6.96": "usage-capped"}


def answer(version: str, name: str) -> dict[str, Any]:
    path = ROOT / version / "usage" / f"{name}.json"
    raw = path.read_bytes() if path.exists() else gzip.decompress(path.with_suffix(".json.gz").read_bytes())
    found: dict[str, Any] = json.loads(raw)
    return found


def body(version: str, name: str) -> bytes:
    return json.dumps(answer(version, name)["body"]).encode()


def taken_ms(version: str, name: str) -> int:
    return int(parsedate_to_datetime(answer(version, name)["headers"]["Date"]).timestamp() * 1000)


class Exporter:
    """What of the exporter a snapshot passes through, and its ledger. May be restarted between two polls."""

    def __init__(self, folder: Path, version: str) -> None:
        self.folder, self.version = folder, version
        self.clock = TurnableClock(now=1_795_535_000.0)
        self.ledger = open_ledger(folder, clock=self.clock)
        take_accounts(self.ledger, version)
        self._intake = snapshot_intake(self.ledger, clock=self.clock)

    def poll(self, name: str, version: str = "") -> None:
        version = version or self.version
        self._intake.take(body(version, name), taken_ms=taken_ms(version, name))
        assert totals_add_up(self.ledger)

    def restart(self) -> None:
        self.ledger.close()
        self.ledger = open_ledger(self.folder, clock=self.clock)
        self._intake = snapshot_intake(self.ledger, clock=self.clock)

    def end(self) -> Ledger:
        check_sums(self.ledger)
        return self.ledger


def _moment_ms(timestamp: str) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp() * 1000)


Seen = Counter[tuple[int, str, str, str, bool, int]]
"""Time, client, credential's handle, model, failed, latency."""


def _shown(version: str, names: Iterable[str]) -> Seen:
    """The details that these answers show, each once."""
    seen: Seen = Counter()
    for name in names:
        seen |= Counter(
            (
                _moment_ms(detail["timestamp"]),
                PSEUDONYMS.of(key),
                detail["auth_index"],
                model,
                detail["failed"],
                detail.get("latency_ms") or 0,
            )
            for key, api in (answer(version, name)["body"]["usage"]["apis"] or {}).items()
            for model, series in api["models"].items()
            for detail in series["details"]
        )
    return seen


def _entries(folder: Path) -> Seen:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        rows = connection.execute(
            "select e.ts_ms, c.pseudonym, k.value, r.model, e.code <> '', e.latency_ms from entry e"
            " join series s on s.id = e.series join route r on r.id = s.route join client c on c.id = s.client"
            " join credential_key k on k.credential = s.credential and k.kind = 'auth_index'"
        ).fetchall()
    return Counter((ts, client, handle, model, bool(failed), ms) for ts, client, handle, model, failed, ms in rows)


# --- against the truth ------------------------------------------------------------------------------------------------


Sums = dict[tuple[str, str, str], Counter[str]]
"""Requests, failures and exclusive tokens per client, handle of the credential and model."""


def _served(version: str, name: str) -> Sums:
    """What the vendors served, as far as CPA of this version can tell.

    It tells no cache writes: those of OpenAI's wire formats are in the input, those of Anthropic's are left out, or
    told as reads where nothing was read. The reasoning of Anthropic's is in the output. CPA 6.6.96 lists what has an
    alias under the alias; the handles of its keys are not in the truth.
    """
    sums: Sums = {}
    for served in answer(version, f"{name}.truth")["served"]:
        if served["hidden"]:
            continue
        old = version == "v6.6.96"
        model = served["alias" if old and served["kind"] == "apikey" else "model"]
        tokens = Counter(served["tokens"] if served["usage_sent"] else {})
        write = tokens.pop("cache_write", 0)
        if served["family"] == "anthropic":
            tokens["output"] += tokens.pop("reasoning", 0)
            tokens["cache_read"] = tokens["cache_read"] or write
        else:
            tokens["uncached"] += write
        key = (PSEUDONYMS.of(served["api_key"]), "" if old else served["auth_index"], model)
        sums.setdefault(key, Counter()).update({"requests": 1, "failed": served["mode"] != "ok", **tokens})
    return {key: +numbers for key, numbers in sums.items()}


def _booked(folder: Path, version: str) -> Sums:
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        rows = connection.execute(
            "select c.pseudonym, k.value, r.model, sum(e.counted), sum(e.code <> ''), sum(e.uncached),"
            " sum(e.cache_read), sum(e.output - e.reasoning), sum(e.reasoning) from entry e"
            " join series s on s.id = e.series join route r on r.id = s.route join client c on c.id = s.client"
            " join credential_key k on k.credential = s.credential and k.kind = 'auth_index' group by 1, 2, 3"
        ).fetchall()
    names = ("requests", "failed", "uncached", "cache_read", "output", "reasoning")
    sums: Sums = {}
    for client, handle, model, *numbers in rows:
        key = (client, "" if version == "v6.6.96" else handle, model)
        sums.setdefault(key, Counter()).update(dict(zip(names, numbers, strict=True)))
    return {key: +numbers for key, numbers in sums.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["usage-1", "usage-2"])
def test_what_the_vendors_served_is_booked_to_the_token(tmp_path: Path, version: str, name: str) -> None:
    exporter = Exporter(tmp_path, version)
    exporter.poll(name)
    exporter.end()
    booked, served = _booked(tmp_path, version), _served(version, name)
    if version == "v6.6.96":
        # Its list of keys has no handles, and nobody can tell from the alias "vertex-pro" that reasoning is beside the
        # output there.
        for sums in (booked, served):
            for key in sums:
                if key[2] == "vertex-pro":
                    sums[key] = Counter(requests=sums[key]["requests"], uncached=sums[key]["uncached"])
    assert booked == served


def test_two_thousand_details_agree_with_their_truth(tmp_path: Path) -> None:
    exporter = Exporter(tmp_path, "v6.9.49")
    exporter.poll("usage-after-import")
    before = _booked(tmp_path, "v6.9.49")
    exporter.poll("usage-big")
    exporter.end()
    after = _booked(tmp_path, "v6.9.49")
    names = {
        (served["client"], served["credential"]): (PSEUDONYMS.of(served["api_key"]), served["auth_index"])
        for name in ("usage-1", "usage-2")
        for served in answer("v6.9.49", f"{name}.truth")["served"]
    }
    handles = {credential: handle for (_, credential), (_, handle) in names.items()}
    clients = {client: pseudonym for (client, _), (pseudonym, _) in names.items()}
    checked = 0
    for total in answer("v6.9.49", "usage-big.truth")["totals"]:
        key = (clients[total["client"]], handles[total["credential"]], total["model"])
        rise = Counter(after[key])
        rise.subtract(before.get(key, Counter()))
        sent = {name: total.get(name, 0) for name in ("uncached", "cache_read", "cache_write", "output", "reasoning")}
        if "antigravity" not in total["credential"]:  # its first host gets no record
            assert (rise["requests"], rise["failed"]) == (total["attempts"], total.get("broken", 0)), key
        assert rise["requests"] - rise["failed"] == total["ok"], key
        assert rise["output"] + rise["reasoning"] == sent["output"] + sent["reasoning"], key
        if "claude" in total["credential"]:
            assert rise["uncached"] == sent["uncached"]
            # Cache writes are told as reads where nothing was read, and else not at all.
            assert sent["cache_read"] <= rise["cache_read"] <= sent["cache_read"] + sent["cache_write"]
        elif "kimi" not in total["credential"]:
            assert rise["uncached"] == sent["uncached"] + sent["cache_write"]
            assert (rise["cache_read"], rise["reasoning"]) == (sent["cache_read"], sent["reasoning"])
        checked += 1
    assert checked == 57
    assert sum(numbers["requests"] for numbers in after.values()) == 2056
