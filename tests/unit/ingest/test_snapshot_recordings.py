"""Every recorded snapshot of CPA 6.6.96 and 6.9.49: what the vendors served is booked, in any order of polls."""

import gzip
import io
import itertools
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.logs import configure_logging
from tests.benches.booking import PSEUDONYMS, check_sums, flow_of, open_ledger
from tests.benches.snapshots import details_of, snapshot_intake, take_accounts, totals_add_up
from tests.fakes.guarding import TurnableClock
from tests.fakes.recordings import ROOT, secrets
from tests.stack.running import secrets_found

VERSIONS = ("v6.9.49", "v6.6.96")
LIFE = (
    "usage-empty",
    "usage-1",
    "usage-2",
    "usage-after-restart",
    "usage-after-restart-1",
    "usage-after-import",
)
"""The states of one proxy in order, and then the biggest one."""
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
    """The parts of the exporter that a snapshot passes through, and its ledger. It may restart between two polls."""

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
"""Time, client, handle of the credential, model, failed, latency."""


def _shown(version: str, names: Iterable[str]) -> Seen:
    """The details in these answers, each once."""
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
    """What the vendors served, as far as this version of CPA reports it.

    It reports no cache writes: for OpenAI's wire formats they are part of the input; for Anthropic's they are missing,
    or count as reads if there were no reads. Anthropic's reasoning is part of the output. CPA 6.6.96 lists a model with
    an alias under the alias; the truth lacks the handles of its keys.
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
        # Its list of keys has no handles, so the alias "vertex-pro" does not reveal that its output excludes reasoning.
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
            # Cache writes count as reads if there were no reads, and otherwise not at all.
            assert sent["cache_read"] <= rise["cache_read"] <= sent["cache_read"] + sent["cache_write"]
        elif "kimi" not in total["credential"]:
            assert rise["uncached"] == sent["uncached"] + sent["cache_write"]
            assert (rise["cache_read"], rise["reasoning"]) == (sent["cache_read"], sent["reasoning"])
        checked += 1
    assert checked == 57
    assert sum(numbers["requests"] for numbers in after.values()) == 2056


# --- in every order ---------------------------------------------------------------------------------------------------


def _orders(version: str) -> list[tuple[str, ...]]:
    """The polled states, in order: all of them, some pairs, some longer ones, and repetitions."""
    life = (*LIFE, BIGGEST[version])
    some = random.Random(6)
    longer = [
        tuple(itertools.chain.from_iterable([name] * some.choice((0, 1, 1, 2)) for name in life)) for _ in range(5)
    ]
    pairs = some.sample(list(itertools.combinations_with_replacement(life[:-1], 2)), 7)
    return [life, *pairs, *longer]


@pytest.mark.parametrize("version", VERSIONS)
def test_each_detail_is_booked_once_whatever_the_order_of_polls_and_restarts(tmp_path: Path, version: str) -> None:
    some = random.Random(7)
    for number, order in enumerate(_orders(version)):
        folder = tmp_path / str(number)
        folder.mkdir()
        exporter = Exporter(folder, version)
        for name in order:
            exporter.poll(name)
            if some.random() < 0.3:
                exporter.restart()
        exporter.end().close()
        assert _entries(folder) == _shown(version, order), order


def _flow_after(folder: Path, version: str, order: Sequence[str]) -> tuple[int, int, int]:
    """Booked, restarts, missed."""
    exporter = Exporter(folder, version)
    for name in order:
        exporter.poll(name)
    flow = flow_of(exporter.end())
    return flow.booked, flow.restarts, flow.missed


@pytest.mark.parametrize("version", VERSIONS)
def test_a_restart_is_counted_once_and_an_import_is_not_a_restart(tmp_path: Path, version: str) -> None:
    booked, restarts, missed = _flow_after(tmp_path, version, [*LIFE, "usage-after-import"])
    assert booked == details_of(body(version, "usage-after-import"))
    assert (restarts, missed) == (1, 0)


def test_details_that_a_capped_proxy_dropped_before_they_were_read_are_missed(tmp_path: Path) -> None:
    """It shows 1,000 of 1,154 requests of one client and model."""
    order = [*LIFE, BIGGEST["v6.6.96"], BIGGEST["v6.6.96"]]
    booked, restarts, missed = _flow_after(tmp_path, "v6.6.96", order)
    usage = answer("v6.6.96", "usage-capped")["body"]["usage"]
    assert usage["total_requests"] - details_of(body("v6.6.96", "usage-capped")) == 154
    # Four of them had been read before.
    assert (restarts, missed, booked) == (1, 150, usage["total_requests"] - 150)


def test_a_capped_proxy_that_is_read_in_time_misses_nothing(tmp_path: Path) -> None:
    """The first poll sees the oldest 154, which are dropped before the second."""
    capped = answer("v6.6.96", "usage-capped")["body"]
    early = json.loads(json.dumps(capped))
    (series,) = [
        model
        for api in early["usage"]["apis"].values()
        for model in api["models"].values()
        if model["total_requests"] > len(model["details"])
    ]
    dropped = [
        {**series["details"][0], "timestamp": f"2026-11-24T23:24:10.{number:06d}+08:00"} for number in range(154)
    ]
    series["details"] = dropped + series["details"][:400]
    series["total_requests"] = 554
    exporter = Exporter(tmp_path, "v6.6.96")
    exporter._intake.take(json.dumps(early).encode(), taken_ms=taken_ms("v6.6.96", "usage-2"))
    exporter.poll("usage-capped")
    flow = flow_of(exporter.end())
    assert (flow.missed, flow.booked, flow.restarts) == (0, 1188, 0)


# --- people and secrets -----------------------------------------------------------------------------------------------


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("debug", "logfmt", stream=stream)
    yield stream
    configure_logging("info", "logfmt", stream=io.StringIO())


@pytest.mark.parametrize("version", VERSIONS)
def test_an_open_proxy_has_an_anonymous_client(tmp_path: Path, version: str) -> None:
    exporter = Exporter(tmp_path, version)
    exporter.poll("usage-open-proxy")
    exporter.end()
    assert [client for _, client, *_ in _entries(tmp_path)] == [""]
    assert list(exporter.ledger.name_store.clients.values()) == ["anonymous"]


@pytest.mark.parametrize("version", VERSIONS)
def test_no_planted_secret_is_in_the_ledger_or_the_log(tmp_path: Path, version: str, log: io.StringIO) -> None:
    exporter = Exporter(tmp_path, version)
    for name in (*LIFE, BIGGEST[version], "usage-open-proxy"):
        exporter.poll(name)
    broken = json.loads(body(version, "usage-2"))
    for api in broken["usage"]["apis"].values():
        for model in api["models"].values():
            model["details"] = [{**detail, "tokens": detail["source"]} for detail in model["details"]]
    exporter._intake.take(json.dumps(broken).encode(), taken_ms=taken_ms(version, "usage-2"))
    assert flow_of(exporter.ledger).rejected["malformed_record"] > 30
    exporter.end().close()
    assert "record_rejected" in log.getvalue()
    assert secrets_found(secrets(), texts={"log": log.getvalue()}, data_dir=tmp_path) == []
