"""Snapshots of proxies that strip the details: arithmetic on counts, and changes between both ways."""

import json
from typing import Literal

import pytest

from exporter.ingest.snapshot import SnapshotIngest
from exporter.ledger.history.checkpoint import ExportedLimits, ProxyState
from exporter.normalize.pseudonyms import Pseudonyms
from tests.benches.booking import GOOD, flow_of, intake_of, take
from tests.benches.snapshots import SnapshotBench, false_starts_told, snapshot_intake
from tests.fakes.legacy import Detail, LegacyProxy

# --- counts alone -----------------------------------------------------------------------------------------------------


def test_the_first_contact_is_a_baseline(stripped: SnapshotBench) -> None:
    stripped.request(tokens=900_000_000)
    logged = stripped.poll()
    assert (flow_of(stripped.ledger).booked, stripped.counted) == (0, 0)
    assert not false_starts_told(logged)
    stripped.request(tokens=7)
    stripped.poll()
    assert stripped.counted == 1


def test_counts_are_of_the_provider_that_the_model_suggests(stripped: SnapshotBench) -> None:
    stripped.poll()
    for model in ("claude-sonnet-4-5", "my-alias"):
        stripped.request(model=model)
    stripped.poll()
    routes = stripped.ledger.name_store.routes.values()
    assert {route.model: route.provider for route in routes} == {"claude-sonnet-4-5": "claude", "my-alias": "unknown"}


def test_a_restart_of_the_whole_proxy_counts_what_every_series_has_since(stripped: SnapshotBench) -> None:
    for model, requests in (("a", 100), ("b", 50)):
        for _ in range(requests):
            stripped.request(model=model)
    stripped.poll()
    stripped.proxy.restart()
    for model, requests in (("a", 120), ("b", 10)):
        for _ in range(requests):
            stripped.request(model=model)
    stripped.poll()
    assert stripped.counted == 130


def test_a_restart_after_more_requests_than_before_is_known_by_their_tokens(stripped: SnapshotBench) -> None:
    stripped.poll()
    stripped.request(tokens=9000)
    stripped.poll()
    stripped.proxy.restart()
    for _ in range(3):
        stripped.request(tokens=10)
    stripped.poll()
    assert (stripped.counted, flow_of(stripped.ledger).restarts) == (4, 1)


@pytest.mark.parametrize("missing", ["absent", ""])
def test_another_hash_key_is_no_restart(missing: Literal["absent", ""], stripped: SnapshotBench) -> None:
    """The clients have new pseudonyms, and nothing counts twice."""
    stripped.proxy.stripped = missing
    stripped.request()
    stripped.poll()
    for client in ("sk-a", "sk-b"):
        for _ in range(5):
            stripped.request(client=client, tokens=1000 if client == "sk-b" else 1)
    stripped.poll()
    stripped.restart()
    stripped.intake._pseudonym = Pseudonyms(b"another key").of
    for _ in range(2):  # more requests than the other one, which had more before
        stripped.request(client="sk-b")
    stripped.poll()
    assert (stripped.counted, flow_of(stripped.ledger).restarts) == (12, 0)
    stripped.request()
    stripped.poll()
    assert (stripped.counted, flow_of(stripped.ledger).restarts) == (13, 0)


def test_another_hash_key_is_no_restart_where_there_are_several_models_and_a_new_client(
    stripped: SnapshotBench,
) -> None:
    stripped.request()
    stripped.poll()
    for model, client, tokens in (("a", "sk-a", 1000), ("a", "sk-b", 1), ("b", "sk-a", 1)):
        for _ in range(3):
            stripped.request(model=model, client=client, tokens=tokens)
    stripped.poll()
    stripped.restart()
    stripped.intake._pseudonym = Pseudonyms(b"another key").of
    stripped.request(model="a", client="sk-new")
    stripped.request(model="b")
    stripped.poll()
    assert (stripped.counted, flow_of(stripped.ledger).restarts) == (11, 0)
    assert sum(numbers[-1] for numbers in stripped.ledger.totals.series.values()) == 3000 + 3 + 3 + 2 * 100, "tokens"


def test_another_hash_key_since_an_older_version_is_no_restart(stripped: SnapshotBench) -> None:
    """It did not keep the sign of its key."""
    stripped.poll()
    for client in ("sk-a", "sk-b"):
        for _ in range(15):
            stripped.request(client=client)
    stripped.poll()
    with stripped.ledger._database.transaction() as connection:
        connection.execute("update proxy set marks_key = null")
    stripped.restart()
    stripped.intake._pseudonym = Pseudonyms(b"another key").of
    stripped.request()
    stripped.poll()
    assert (stripped.counted, flow_of(stripped.ledger).restarts) == (31, 0)


def test_another_hash_key_misses_nothing_of_a_fork_that_caps_its_details(stripped: SnapshotBench) -> None:
    stripped.proxy.stripped, stripped.proxy.cap = "", 5
    for _ in range(30):
        stripped.request()
        stripped.poll()
    stripped.restart()
    stripped.intake._pseudonym = Pseudonyms(b"another key").of
    stripped.poll()
    assert (flow_of(stripped.ledger).booked, flow_of(stripped.ledger).missed) == (30, 0)


@pytest.mark.parametrize("exporter_restarts", [False, True])
def test_a_restart_after_which_only_other_clients_come_counts_all_that_they_use(
    stripped: SnapshotBench, *, exporter_restarts: bool
) -> None:
    stripped.poll()
    for _ in range(30):
        stripped.request()
    stripped.poll()
    stripped.proxy.restart()
    if exporter_restarts:
        stripped.restart()
    for _ in range(40):
        stripped.request(client="sk-b")
    stripped.poll()
    assert (stripped.counted, flow_of(stripped.ledger).restarts) == (70, 1)


def test_a_restart_after_which_only_other_clients_come_is_known_after_a_restore_too(stripped: SnapshotBench) -> None:
    for _ in range(30):
        stripped.request()
    stripped.poll()
    stripped.ledger.restoring("p").finish(ExportedLimits())  # the history is new
    state = stripped.ledger.backlog.read("p", limit=1).state
    assert state is not None
    stripped.folder /= "new"
    stripped.restart()
    restoring = stripped.ledger.restoring("p")
    restoring.begin(
        since_ms=0, newest_ms=None, deleted_before_ms=None, snapshots=state.documents["snapshots"], marks=state.marks
    )
    restoring.finish(ExportedLimits())
    stripped.proxy.restart()
    for _ in range(40):
        stripped.request(client="sk-b")
    stripped.poll()
    assert (stripped.counted, flow_of(stripped.ledger).restarts) == (40, 1)


def test_what_another_proxy_counts_is_no_restart(stripped: SnapshotBench) -> None:
    stripped.ledger.register("q")
    other, proxy = snapshot_intake(stripped.ledger, "q", clock=stripped.clock), LegacyProxy()
    proxy.stripped = "absent"
    for ts_ms in range(3):
        stripped.request()
        proxy.record("sk-b", "b", Detail(ts_ms=ts_ms, latency_ms=0, auth_index="a1", tokens=(1, 0)))
        stripped.poll()
        other.take(proxy.body(), taken_ms=stripped.clock.now_ms())
    assert [flow_of(stripped.ledger, name).restarts for name in ("p", "q")] == [0, 0]
    assert stripped.counted == 4


@pytest.mark.parametrize("looks_before", [0, 1])
def test_two_proxies_continue_each_from_its_own_restored_counts(stripped: SnapshotBench, looks_before: int) -> None:
    states: list[tuple[str, ProxyState]] = []
    others: list[SnapshotIngest] = []

    def start() -> None:
        stripped.ledger.register("q")
        others.append(snapshot_intake(stripped.ledger, "q", clock=stripped.clock))

    def look() -> None:
        stripped.poll()
        stripped.proxy.record("sk-other", "n", Detail(ts_ms=0, latency_ms=0, auth_index="a1", tokens=(1, 0)))
        others[-1].take(stripped.proxy.body(), taken_ms=stripped.clock.now_ms())

    start()
    stripped.request()
    look()
    for name in ("p", "q"):
        stripped.ledger.restoring(name).finish(ExportedLimits())  # the history is new
        state = stripped.ledger.backlog.read(name, limit=1).state
        assert state is not None
        states.append((name, state))
    stripped.folder /= "new"
    stripped.restart()
    start()
    for _ in range(looks_before):
        stripped.request()
        look()
    for name, state in states:
        restoring = stripped.ledger.restoring(name)
        snapshots = state.documents["snapshots"]
        restoring.begin(since_ms=0, newest_ms=None, deleted_before_ms=None, snapshots=snapshots, marks=state.marks)
        restoring.finish(ExportedLimits())
    stripped.request()
    look()
    assert [flow_of(stripped.ledger, name).restarts for name in ("p", "q")] == [0, 0]
    with stripped.ledger.reading() as connection:
        counted = connection.execute(
            "select p.name, sum(counted) from entry e join series s on s.id = e.series join route r on r.id = s.route"
            " join proxy p on p.id = r.proxy group by 1"
        )
        new = 2 * (1 + looks_before)  # one of each client for each look since
        assert dict(counted) == {"p": new, "q": new}
    for name in ("p", "q"):
        state = stripped.ledger.backlog.read(name, limit=9).state
        assert state is not None
        assert state.documents["snapshots"].snapshot_ms == stripped.clock.now_ms(), (
            "the next ledger continues from here"
        )


def test_a_proxy_that_begins_anew_leaves_the_counts_of_another_one_alone(stripped: SnapshotBench) -> None:
    """Its own are somebody else's from now on: the history says so."""
    stripped.ledger.register("q")
    other = snapshot_intake(stripped.ledger, "q", clock=stripped.clock)
    for _ in range(2):
        stripped.request()
        stripped.poll()
        other.take(stripped.proxy.body(), taken_ms=stripped.clock.now_ms())
    assert stripped.counted == 2
    stripped.ledger.snapshots.forget("p")
    stripped.request()
    stripped.poll()
    other.take(stripped.proxy.body(), taken_ms=stripped.clock.now_ms())
    assert stripped.counted == 3


def test_counts_that_did_not_fall_continue_after_another_source(stripped: SnapshotBench) -> None:
    """For a while the URL led to another proxy, which has a queue; the first one kept running."""
    for _ in range(100):
        stripped.request()
    stripped.poll()
    stripped.request()
    stripped.poll()
    take(intake_of(stripped.ledger, clock=stripped.clock), [{**GOOD, "timestamp": "2026-11-24T12:00:00Z"}])
    stripped.request()
    stripped.poll()
    assert stripped.counted == 3
    assert flow_of(stripped.ledger).restarts == 0


def test_absurd_counts_stop_no_other_series(stripped: SnapshotBench) -> None:
    for _ in range(2):
        stripped.request()
        body = json.loads(stripped.proxy.body())
        body["usage"]["apis"]["sk-z"] = {"models": {"m": {"total_requests": 2**63, "total_tokens": 10**30}}}
        stripped.intake.take(json.dumps(body).encode(), taken_ms=int(stripped.clock.now() * 1000))
        stripped.clock.advance(60)
    assert stripped.counted == 1


# --- now with details, now without ------------------------------------------------------------------------------------


def test_details_that_appear_later_are_not_counted_again(stripped: SnapshotBench) -> None:
    stripped.poll()
    for _ in range(3):
        stripped.request()
    stripped.poll()
    stripped.proxy.stripped = ""
    stripped.clock.advance(30)
    stripped.request()
    stripped.request(model="new")
    stripped.poll()
    assert (stripped.counted, flow_of(stripped.ledger).booked) == (5, 3), "three at once, two by themselves"
    stripped.proxy.stripped = "empty"
    stripped.request()
    stripped.poll()
    assert stripped.counted == 6


@pytest.mark.parametrize("later", [0, 1])
def test_of_two_requests_that_end_together_only_the_one_that_was_counted_is_left_out(
    stripped: SnapshotBench, later: int
) -> None:
    stripped.poll()
    stripped.request()
    stripped.poll(after_s=0)
    stripped.proxy.stripped = ""
    stripped.request()
    stripped.clock.advance(30)
    for _ in range(later):
        stripped.request()
    stripped.poll()
    assert (stripped.counted, flow_of(stripped.ledger).missed) == (2 + later, 0)


@pytest.mark.parametrize("hours_ago", [5, 0.05])
def test_the_history_of_a_proxy_that_shows_its_details_later_is_in_no_counter(
    stripped: SnapshotBench, hours_ago: float
) -> None:
    stripped.request(hours_ago=hours_ago)
    stripped.poll()
    stripped.proxy.stripped = ""
    stripped.poll()
    flow = flow_of(stripped.ledger)
    assert (stripped.counted, flow.booked, flow.backfilled, flow.missed) == (0, 1, 1, 0)


@pytest.mark.parametrize("details_before", [True, False])
def test_an_import_of_details_that_were_counted_before_books_nothing(
    stripped: SnapshotBench, *, details_before: bool
) -> None:
    """A server that sends details replaces a fork that strips them, and imports the fork's export."""
    stripped.proxy.stripped = "" if details_before else "absent"
    stripped.poll()
    stripped.proxy.stripped = "absent"
    for _ in range(3):
        stripped.clock.advance(10)
        stripped.request()
    stripped.poll()
    stripped.clock.advance(3600)
    export = stripped.proxy.export()
    stripped.proxy.restart()
    stripped.proxy.stripped = ""
    for _ in range(2):
        stripped.request()
        stripped.poll()
        stripped.proxy.import_(export)
        stripped.proxy.zone = 1
    flow = flow_of(stripped.ledger)
    assert (stripped.counted, flow.backfilled) == (5, 0)


@pytest.mark.parametrize("ended_after_poll", [False, True])
def test_a_request_that_ended_in_the_second_of_the_last_look_counts_once(
    stripped: SnapshotBench, *, ended_after_poll: bool
) -> None:
    """The header Date gives only that second as the time of the snapshot."""

    def poll() -> None:
        stripped.intake.take(stripped.proxy.body(), taken_ms=int(stripped.clock.now()) * 1000)

    poll()
    stripped.clock.advance(60.3)
    if ended_after_poll:
        poll()
        stripped.clock.advance(0.2)
        stripped.request()
    else:
        stripped.request()
        stripped.clock.advance(0.2)
        poll()
    stripped.proxy.stripped = ""
    for _ in range(2):
        stripped.clock.advance(60)
        poll()
        assert stripped.counted == 1
