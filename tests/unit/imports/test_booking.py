"""Which records of a file are new: each request counts once, whoever read it, in whatever order files come."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from exporter.commands.export import write_csv
from exporter.errors import ImportFileError
from exporter.imports.booking import Findings, PastImport
from exporter.imports.cpa_export import read_cpa_export
from exporter.imports.items import Item, misfit
from exporter.imports.own_csv import Names, read_own_csv
from exporter.imports.peer_files import CpampRow, KeeperRow, read_peer
from exporter.ingest.queue import QueueIngest
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.normalize.wire_record import Wire, WireTokens
from exporter.pricing.catalogue import load_catalogue
from exporter.pricing.pricer import Pricer
from exporter.settings.proxies import Aliases
from tests.benches.booking import GOOD, PSEUDONYMS, adds_up, check_sums, flow_of, open_ledger, parts_of, take
from tests.benches.peers import cpa_export_file, cpamp_file, keeper_file, requests_in
from tests.benches.snapshots import snapshot_intake
from tests.fakes.guarding import TurnableClock
from tests.fakes.steered.traffic import Traffic

PRICER = Pricer(load_catalogue())
NOW = TurnableClock().now()
DAY = 86_400
Records = Sequence[Mapping[str, Any]]


@pytest.fixture(scope="module")
def sent() -> Records:
    """What a proxy sent in the three days before the present of the tests, for all providers.

    Requests that the proxy could not break down are left out, because no other program stores that fact.
    """
    batch = Traffic(seed=5, zone=UTC).batch(620, ending=NOW - DAY, span_seconds=3 * DAY)
    plain = [attempt.record for attempt in batch if attempt.record["token_breakdown"]["quality"] == "complete"]
    return plain[:600]


def _ledger(folder: Path, read: Records = (), *, proxies: Iterable[str] = ("p",)) -> Ledger:
    """A ledger that has booked ``read`` as popped records."""
    folder.mkdir(exist_ok=True)
    ledger = open_ledger(folder)
    for proxy in proxies:
        ledger.register(proxy)
    if read:
        take(QueueIngest("p", parts_of(ledger, pricer=PRICER)), read)
    return ledger


def _import(ledger: Ledger, items: Iterable[Item], *, proxy: str = "p", dry_run: bool = False) -> Findings:
    past = PastImport(proxy, ledger=ledger, pricer=PRICER, clock=TurnableClock(), zone=UTC, dry_run=dry_run)
    return past.take(items)


def _keeper(path: Path, records: Records) -> Iterable[Item]:
    return read_peer(keeper_file(path, records, archived=len(records) // 3), KeeperRow, PSEUDONYMS.of)


def _cpamp(path: Path, records: Records) -> Iterable[Item]:
    return read_peer(cpamp_file(path, records), CpampRow, PSEUDONYMS.of)


def _csv(folder: Path, ledger: Ledger, target: Ledger, *, proxy: str = "p") -> Iterable[Item]:
    written = io.StringIO()
    with ledger.reading() as connection:
        shown_names = ShownNames(ledger.name_store, Aliases(), PSEUDONYMS.of)
        write_csv(connection, shown_names, (0, 2**62), written)
    path = folder / "export.csv"
    path.write_text(written.getvalue(), "utf-8")
    shown_names = ShownNames(target.name_store, Aliases(), PSEUDONYMS.of)
    return read_own_csv(path, proxy, Names(target, shown_names, proxy, PSEUDONYMS.of))


PEERS = {"keeper": _keeper, "cpamp": _cpamp}


@pytest.mark.parametrize("peer", PEERS)
def test_a_peers_file_gives_the_requests_and_costs_that_the_exporter_would_have_read(
    peer: str, sent: Records, tmp_path: Path
) -> None:
    read = _ledger(tmp_path / "read", sent)
    ledger = _ledger(tmp_path / "imported")

    findings = _import(ledger, PEERS[peer](tmp_path / "peer.db", sent))

    assert (findings.new, findings.known, findings.rejected) == (len(sent), 0, {})
    # CPAMP does not store which requests are prewarms, so the last column (counted) differs.
    end = -1 if peer == "cpamp" else None
    assert [row[:end] for row in requests_in(ledger)] == [row[:end] for row in requests_in(read)]
    assert adds_up(flow_of(ledger))
    check_sums(ledger)


def test_our_own_csv_gives_the_same_entries_with_the_costs_that_were_booked(sent: Records, tmp_path: Path) -> None:
    read = _ledger(tmp_path / "read", sent)
    ledger = _ledger(tmp_path / "imported")

    findings = _import(ledger, _csv(tmp_path, read, ledger))

    assert (findings.new, findings.rejected) == (len(sent), {})
    assert requests_in(ledger) == requests_in(read)
    check_sums(ledger)


def test_our_own_csv_keeps_the_largest_records_the_longest_prices_and_counts_of_several_requests(
    tmp_path: Path,
) -> None:
    huge = {"input_tokens": 9_000_000_000, "output_tokens": 3_000_000_000}
    tiered = {"provider": "qwen", "model": "qwen3-coder-flash"}
    read = _ledger(tmp_path / "read", [GOOD | {"tokens": huge}, GOOD | tiered])
    intake = snapshot_intake(read, usd=1e9)
    for requests in (1, 20):
        counts = {"total_requests": requests, "total_tokens": requests * 1_000_000_000}
        intake.take(json.dumps({"usage": {"apis": {"sk-a": {"models": {"m": counts}}}}}).encode(), taken_ms=0)
    ledger = _ledger(tmp_path / "imported")

    findings = _import(ledger, _csv(tmp_path, read, ledger))

    assert (findings.new, findings.rejected) == (3, {})
    assert requests_in(ledger) == requests_in(read)
    assert [row[-1] for row in requests_in(read)] == [1, 1, 19]
    assert max(len(price) for price in read.name_store._price_ids) > 300
    check_sums(ledger)


def test_imported_requests_raise_no_counter(sent: Records, tmp_path: Path) -> None:
    ledger = _ledger(tmp_path, sent[:10])
    before = dict(ledger.totals.series), dict(ledger.totals.costs)

    _import(ledger, _keeper(tmp_path / "peer.db", sent))

    assert (dict(ledger.totals.series), dict(ledger.totals.costs)) == before
    flow = flow_of(ledger)
    assert (flow.received, flow.booked, flow.backfilled, flow.duplicate) == (610, 600, 590, 10)
    check_sums(ledger)


@pytest.mark.parametrize("peer", [*PEERS, "csv"])
def test_repeated_and_overlapping_imports_add_each_request_once(peer: str, sent: Records, tmp_path: Path) -> None:
    """The exporter has read the middle; the file has the first two thirds, then everything."""
    read = _ledger(tmp_path / "read", sent)
    ledger = _ledger(tmp_path / "mixed", sent[200:500])

    def once(records: Records, name: str) -> Findings:
        if peer == "csv":
            return _import(ledger, _csv(tmp_path, _ledger(tmp_path / name, records), ledger))
        return _import(ledger, PEERS[peer](tmp_path / name, records))

    first, again, whole = once(sent[:400], "a"), once(sent[:400], "b"), once(sent, "c")

    assert (first.new, first.known) == (200, 200)
    assert (again.new, again.known) == (0, 400)
    assert (whole.new, whole.known) == (100, 500)
    assert [row[:-1] for row in requests_in(ledger)] == [row[:-1] for row in requests_in(read)]
    assert adds_up(flow_of(ledger))
    check_sums(ledger)


def test_overlapping_exports_in_one_file_add_each_request_once(sent: Records, tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "mixed", sent[200:500])
    joined = ""
    for name, records in (("a", sent[:400]), ("b", sent)):
        items = _csv(tmp_path, _ledger(tmp_path / name, records), ledger)
        joined += (tmp_path / "export.csv").read_text("utf-8")
    (tmp_path / "export.csv").write_text(joined, "utf-8")
    lines = list(items)

    dry, findings = (_import(ledger, lines, dry_run=dry_run) for dry_run in (True, False))

    assert (findings.new, findings.known, findings.rejected) == (300, 700, {})
    assert dry == findings
    assert len(requests_in(ledger)) == 600
    check_sums(ledger)


def test_files_of_different_programs_add_each_request_once(sent: Records, tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l")
    _import(ledger, _keeper(tmp_path / "keeper.db", sent[:400]))
    _import(ledger, _cpamp(tmp_path / "cpamp.db", sent[200:]))
    last = _import(ledger, _csv(tmp_path, _ledger(tmp_path / "read", sent), ledger))

    assert (last.new, last.known) == (0, 600)
    assert len(requests_in(ledger)) == 600


def test_equal_requests_are_counted_and_not_merged(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l", [GOOD])

    findings = _import(ledger, _keeper(tmp_path / "a", [GOOD, GOOD, GOOD]))
    again = _import(ledger, _keeper(tmp_path / "b", [GOOD, GOOD, GOOD]))

    assert (findings.new, findings.known) == (2, 1)
    assert (again.new, again.known) == (0, 3)


@pytest.mark.parametrize(
    "other",
    [
        {"timestamp": "2026-10-01T12:00:00.001Z"},
        {"model": "claude-opus-4-5"},
        {"failed": True},
        {"latency_ms": 1501},
        {"latency_ms": 0, "tokens": {"input_tokens": 101, "output_tokens": 10}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_request_of_the_same_moment_is_new(other: dict[str, Any], tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l", [GOOD])
    assert _import(ledger, _keeper(tmp_path / "a", [GOOD | other])).new == 1


@pytest.mark.parametrize(
    "other",
    [
        {"latency_ms": 0},  # a program that did not store the duration
        {"tokens": {"input_tokens": 100, "output_tokens": 10, "reasoning_tokens": 3, "total_tokens": 113}},
        {"api_key": "sk-another", "source": "someone@example.com"},  # each program has its own names for them
        {"timestamp": "2026-10-01T14:00:00.000400+02:00"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_differences_in_storage_do_not_make_another_request(other: dict[str, Any], tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l", [GOOD])
    assert _import(ledger, _keeper(tmp_path / "a", [GOOD | other])).known == 1


def test_the_nearest_entry_is_taken_first(tmp_path: Path) -> None:
    """Two requests share a moment and a duration; the ledger has only the second, the file has both."""
    second = GOOD | {"tokens": {"input_tokens": 7, "output_tokens": 1}}
    ledger = _ledger(tmp_path / "l", [second])

    findings = _import(ledger, _keeper(tmp_path / "a", [GOOD, second]))

    assert (findings.new, findings.known) == (1, 1)
    assert sorted(row[5] for row in requests_in(ledger)) == [7, 100]


def test_an_import_that_broke_off_continues_the_next_time(
    sent: Records, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.imports.booking._PER_TRANSACTION", 70)
    ledger, read = _ledger(tmp_path / "l"), _ledger(tmp_path / "read", sent)

    def breaking() -> Iterator[Item]:
        yield from islice(_keeper(tmp_path / "a", sent), 250)
        raise ImportFileError("the disk is gone")

    with pytest.raises(ImportFileError):
        _import(ledger, breaking())
    findings = _import(ledger, _keeper(tmp_path / "b", sent))

    assert (findings.known, findings.new) == (210, 390)
    assert requests_in(ledger) == requests_in(read)
    check_sums(ledger)


def test_records_of_one_proxy_are_new_to_another(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l", [GOOD], proxies=("p", "q"))
    assert _import(ledger, _keeper(tmp_path / "a", [GOOD]), proxy="q").new == 1


def test_a_dry_run_counts_by_day_and_writes_nothing(sent: Records, tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l", sent[:100])
    bad = misfit("keeper", "?")
    before, flow = requests_in(ledger), flow_of(ledger)

    dry = _import(ledger, [*_keeper(tmp_path / "a", sent), bad], dry_run=True)

    assert requests_in(ledger) == before
    assert flow_of(ledger) == flow
    real = _import(ledger, [*_keeper(tmp_path / "b", sent), bad])
    assert dry.days == real.days
    assert (dry.new, dry.known, dry.rejected) == (500, 100, {"malformed_record": 1})
    assert len(dry.days) > 2
    with ledger.reading() as connection:
        (tokens,) = connection.execute(
            "select sum(uncached + cache_read + cache_write + output) from entry where not live"
        ).fetchone()
    assert sum(day.tokens for day in dry.days.values()) == tokens


def test_days_are_those_of_the_users_zone(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l")
    zone = ZoneInfo("Asia/Tokyo")
    past = PastImport("p", ledger=ledger, pricer=PRICER, clock=TurnableClock(), zone=zone, dry_run=True)

    findings = past.take(_keeper(tmp_path / "a", [GOOD | {"timestamp": "2026-10-01T23:30:00Z"}]))

    assert list(findings.days) == [date(2026, 10, 2)]


def test_records_that_cannot_be_booked_are_kept_once_and_counted(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l")
    records = [
        GOOD | {"timestamp": "2026-10-01T12:00:00"},  # without a zone, nobody knows when that was
        GOOD | {"timestamp": "2999-01-01T00:00:00Z"},
    ]
    items: list[Item] = [Wire(model="m"), Wire(timestamp="nonsense"), misfit("keeper", "?")]
    wanted = {"missing_timestamp": 1, "bad_timestamp": 1, "malformed_record": 1, "impossible_time": 1}

    def once(name: str) -> Findings:
        return _import(ledger, [*_keeper(tmp_path / name, records[1:]), *items])

    assert once("a").rejected == wanted
    assert once("b").rejected == wanted
    flow = flow_of(ledger)
    assert (flow.rejected, flow.duplicate) == (wanted, 4)
    assert adds_up(flow)


def test_requests_that_the_ledger_has_deleted_are_left_out_and_counted(sent: Records, tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l", sent)
    before_ms = int((NOW - 3 * DAY) * 1000)
    ledger.retention.prune(entries_before_ms=before_ms, rejected_before_ms=0, stopping=lambda: False)
    left = len(requests_in(ledger))
    assert 0 < left < len(sent)

    findings = _import(ledger, _keeper(tmp_path / "a", sent))

    assert (findings.new, findings.known, findings.deleted) == (0, left, len(sent) - left)
    assert len(requests_in(ledger)) == left


# --- snapshots --------------------------------------------------------------------------------------------------------


def _usage(details: int) -> dict[str, Any]:
    found = [
        {
            "timestamp": f"2026-11-01T12:00:{number:02d}.123456789+08:00",
            "latency_ms": 1000 + number,
            "source": "dev@example.com",
            "auth_index": "4f1c0a9be2d37718",
            "failed": False,
            "tokens": {
                "input_tokens": 10 + number,
                "output_tokens": 5,
                "reasoning_tokens": 0,
                "cached_tokens": 0,
                "total_tokens": 15 + number,
            },
        }
        for number in range(details)
    ]
    model = {"total_requests": details, "total_tokens": 0, "details": found}
    return {"apis": {"sk-client-1": {"models": {"gpt-5": model}}}}


def _body(usage: Mapping[str, Any]) -> bytearray:
    return bytearray(json.dumps({"usage": usage}).encode())


@pytest.mark.parametrize("read_first", [True, False])
def test_an_export_and_the_statistics_that_the_proxy_still_shows_count_once(read_first: bool, tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l")
    export = cpa_export_file(tmp_path / "usage.json", _usage(20))

    def read() -> None:
        snapshot_intake(ledger).take(_body(_usage(30)), taken_ms=int(NOW * 1000))

    def import_() -> Findings:
        return _import(ledger, read_cpa_export(export, PSEUDONYMS.of))

    if read_first:
        read()
    assert import_().new == (0 if read_first else 20)
    assert import_().new == 0
    read()
    assert len(requests_in(ledger)) == 30
    assert adds_up(flow_of(ledger))


@pytest.mark.parametrize("peer", PEERS)
def test_imported_requests_that_the_proxy_shows_later_add_nothing(peer: str, tmp_path: Path) -> None:
    """This happens after CPA's own /usage/import of an old export."""
    ledger, usage = _ledger(tmp_path / "l"), _usage(20)
    details = usage["apis"]["sk-client-1"]["models"]["gpt-5"]["details"]
    records = [detail | {"model": "gpt-5", "provider": "", "api_key": "sk-client-1"} for detail in details]
    assert _import(ledger, PEERS[peer](tmp_path / "peer.db", records)).new == 20

    snapshot_intake(ledger).take(_body(usage), taken_ms=int(NOW * 1000))

    assert len(requests_in(ledger)) == 20


def test_requests_that_a_proxy_counted_without_details_are_not_added_again(tmp_path: Path) -> None:
    """A fork strips the details; the exporter booked its counts while another program stored each request."""
    ledger = _ledger(tmp_path / "l")
    intake, usage = snapshot_intake(ledger), _usage(20)
    start = datetime(2026, 11, 1, 3, 59, tzinfo=UTC).timestamp()
    for taken, total in ((start, 0), (start + 600, 20)):
        model = usage["apis"]["sk-client-1"]["models"]["gpt-5"] | {"total_requests": total, "total_tokens": 100}
        del model["details"]
        stripped = {"apis": {"sk-client-1": {"models": {"gpt-5": model}}}}
        intake.take(_body(stripped), taken_ms=int(taken * 1000))
    assert sum(row[-1] for row in requests_in(ledger)) == 20

    findings = _import(ledger, read_cpa_export(cpa_export_file(tmp_path / "u.json", usage), PSEUDONYMS.of))

    assert (findings.new, findings.known) == (0, 20)


def test_a_record_without_provider_is_attributed_as_those_of_snapshots_are(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path / "l")
    wire = Wire(timestamp="2026-11-01T00:00:00Z", model="claude-opus-4-5", tokens=WireTokens(input_tokens=3))

    _import(ledger, [wire])

    ((_, provider, model, *_),) = requests_in(ledger)
    assert (provider, model) == ("claude", "claude-opus-4-5")
