"""Merging the history into a ledger: names in any order, windows, and records that are already there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exporter.ledger.columns import ENTRY
from exporter.ledger.history.checkpoint import (
    ExportedClient,
    ExportedCredential,
    ExportedLimits,
    ExportedSession,
    ExportedSnapshots,
)
from exporter.ledger.history.restoring import Progress
from exporter.ledger.labels import OF_ROUTE
from exporter.ledger.ledger import Ledger
from exporter.ledger.views.limit_windows import Session
from exporter.normalize.inventory import Account
from exporter.normalize.snapshot import Mark
from exporter.quotas.reading import Reading
from exporter.records import CredentialFacts
from tests.benches.booking import GOOD, PSEUDONYMS, adds_up, flow_of, intake_of, open_ledger, take
from tests.benches.snapshots import snapshot_intake
from tests.fakes.guarding import TurnableClock
from tests.fakes.legacy import Detail, LegacyProxy

_QUARTER = 2_000_000 * 900_000
"""The beginning of a quarter of an hour after ``GOOD``."""
_FILE = ("file", PSEUDONYMS.of("a.json"))
_INDEX = GOOD["auth_index"]
_PSEUDONYM = PSEUDONYMS.of("sk-client")
_CLIENT = ExportedClient(_PSEUDONYM, f"client-{_PSEUDONYM[:10]}")
_KEPT = ExportedCredential(("claude-old", "claude-older"), "claude", 2, False, (("auth_index", _INDEX), _FILE), ())
_ACCOUNT = Account(
    facts=CredentialFacts(provider="claude"), identity=_FILE, auth_index=_INDEX, auth_type="oauth", names=()
)


def _restore_names(ledger: Ledger) -> None:
    ledger.restoring("p").take_names(credentials=[_KEPT], clients=[(_CLIENT, _CLIENT.pseudonym)])


def _take_record(ledger: Ledger) -> None:
    take(intake_of(ledger), [GOOD])


def _take_inventory(ledger: Ledger) -> None:
    ledger.take_inventory("p", [_ACCOUNT])


def _past(n: int, credential: str) -> dict[str, Any]:
    names = {"provider": "claude", "model": "claude-sonnet-4-5", "credential": credential, "client": _CLIENT.masked}
    words = {"price": "a price", "basis": "exact", "billing": "subscription", "code": "", "unpriced": ""}
    known = {"ts_ms": 1_759_000_000_000 + n, "fingerprint": str(n), "requests": 1, "uncached": 1, "nano_usd": 5}
    return dict.fromkeys(ENTRY, 0) | dict.fromkeys(OF_ROUTE, "") | names | words | known


def _begin(ledger: Ledger) -> Progress:
    return ledger.restoring("p").begin(
        since_ms=0, newest_ms=None, deleted_before_ms=None, snapshots=ExportedSnapshots(), marks={}
    )


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_a_credential_is_one_in_whatever_order_its_names_come(order: tuple[int, ...], tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    steps = (_restore_names, _take_record, _take_inventory)
    for step in order:
        steps[step](ledger)
    ledger.restoring("p").add_records([_past(1, "claude-old"), _past(2, "claude-older")], _begin(ledger))

    roots = {ledger.name_store.resolved(series.credential).long_name for series in ledger.name_store.series.values()}
    assert roots == {"claude-old"}, "it keeps the name that it has in the history"
    assert len({series.client for series in ledger.name_store.series.values()}) == 1
    ledger.close()


@pytest.mark.parametrize("restored_first", [True, False])
def test_a_restored_account_is_known_by_its_id_and_gets_no_other_accounts_history(
    restored_first: bool, tmp_path: Path
) -> None:
    """Meanwhile it has another file, and its old file belongs to another account."""
    email = ("email", PSEUDONYMS.of("dev@example.com"))
    kept = [
        ExportedCredential((f"codex-{n}",), "codex", 2, False, (("account_id", f"{n}/codex"), ("file", n)), (email,))
        for n in ("1", "2")
    ]
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    accounts = [
        Account(
            facts=CredentialFacts(provider="codex"),
            identity=("file", file),
            account_id=f"{id_}/codex",
            auth_index=file,
            auth_type="oauth",
            names=(email,),
        )
        for file, id_ in (("1", "3"), ("new", "1"))
    ]
    steps: list[Callable[[], object]] = [
        lambda: ledger.restoring("p").take_names(credentials=kept, clients=[]),
        lambda: ledger.take_inventory("p", accounts),
    ]
    for step in steps if restored_first else steps[::-1]:
        step()
    (third, _), (first, _) = ledger.take_inventory("p", accounts)
    names = {
        name: ledger.name_store.credential_named(ledger.name_store.proxies["p"], name)
        for name in ("codex-1", "codex-2")
    }
    assert names["codex-1"] is not None
    assert names["codex-1"].id == first
    assert names["codex-2"] is not None
    assert names["codex-2"].retired
    assert len({third, first, names["codex-2"].id}) == 3
    ledger.close()


@pytest.mark.parametrize("restored_first", [True, False])
def test_accounts_get_back_the_labels_that_they_had_before_the_loss(restored_first: bool, tmp_path: Path) -> None:
    """Meanwhile one has another plan, and the proxy no longer lists two others."""

    def account(number: int, plan: str) -> Account:
        return msgspec.structs.replace(
            _ACCOUNT,
            identity=("file", str(number)),
            auth_index=str(number) * 16,
            account_id=str(number) * 40,
            plan=plan,
        )

    folders = tmp_path / "lost", tmp_path / "new"
    for folder in folders:
        folder.mkdir()
    lost = open_ledger(folders[0])
    take(intake_of(lost), [GOOD | {"auth_index": "9" * 16}])
    lost.take_inventory("p", [account(1, "pro"), account(2, "pro")])
    lost.take_inventory("p", [msgspec.structs.replace(account(1, "max"), auth_index="9" * 16)])
    state = lost.backlog.read("p", limit=10).state
    lost.close()
    assert state is not None

    ledger = open_ledger(folders[1])
    ledger.register("p")
    steps: list[Callable[[], object]] = [
        lambda: ledger.restoring("p").take_names(credentials=state.documents["credentials"], clients=[]),
        lambda: ledger.take_inventory("p", [account(1, "max")]),
    ]
    for step in steps if restored_first else steps[::-1]:
        step()
    roots = {each for id_ in ledger.name_store.credentials if (each := ledger.name_store.resolved(id_))}
    assert {each.masked for each in roots} == {"claude-9999", "claude-pro-2222"}
    for label, masked in (("claude-9999", "claude-9999"), ("claude-pro-1111", "claude-9999")):
        (found,) = ledger.name_store.credentials_with("label", label)
        assert found.masked == masked, "an alias by the label of a merged account still fits"
    ledger.close()


def test_restored_entries_are_in_no_flow_and_no_counter_and_are_never_sent(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _take_record(ledger)
    before = ledger.backlog.size("p")
    _restore_names(ledger)
    progress = _begin(ledger)
    for _ in range(2):  # the second time they are already there
        ledger.restoring("p").add_records([_past(n, "claude-old") for n in range(5)], progress)
    ledger.restoring("p").finish(ExportedLimits())

    assert ledger.totals.entries == 6
    assert (flow_of(ledger).booked, flow_of(ledger).received, adds_up(flow_of(ledger))) == (1, 1, True)
    assert sum(sums[0] for sums in ledger.totals.series.values()) == 1
    assert ledger.backlog.size("p") == before == 1
    assert len(ledger.backlog.read("p", limit=10).entries) == 1
    with ledger.reading() as connection:
        assert connection.execute("select sum(requests) from rollup").fetchone() == (6,)
    ledger.close()


def test_a_ledger_that_has_pruned_keeps_its_roll_up(tmp_path: Path) -> None:
    """It was connected to another project in between, and comes back."""
    ledger = open_ledger(tmp_path)
    _take_record(ledger)
    ledger.retention.prune(entries_before_ms=2**60, rejected_before_ms=0, stopping=lambda: False)
    progress = _begin(ledger)
    assert progress.rollups is None
    assert progress.from_ms == 2**60
    with ledger.reading() as connection:
        assert connection.execute("select sum(requests) from rollup").fetchone() == (1,)
    ledger.close()


@pytest.mark.parametrize("polled_meanwhile", [True, False])
@pytest.mark.parametrize(("last_ms", "booked"), [(1_000, 3), (None, 0)])
def test_what_a_fork_counted_since_its_last_snapshot_is_booked_even_if_that_was_empty(
    last_ms: int | None, booked: int, polled_meanwhile: bool, tmp_path: Path
) -> None:
    proxy, ledger = LegacyProxy(), open_ledger(tmp_path)
    proxy.stripped = "absent"
    for _ in range(3):
        proxy.record("sk-client", "m", Detail(ts_ms=1_500, latency_ms=0, auth_index="a1", tokens=(7, 3)))
    ledger.register("p")
    intake = snapshot_intake(ledger)
    intake.take(proxy.body(), taken_ms=2_000)

    restoring = ledger.restoring("p")
    snapshots = ExportedSnapshots(snapshot_ms=last_ms)
    restoring.begin(since_ms=0, newest_ms=None, deleted_before_ms=None, snapshots=snapshots, marks={})
    if polled_meanwhile:
        intake.take(proxy.body(), taken_ms=3_000)
    restoring.finish(ExportedLimits())
    intake.take(proxy.body(), taken_ms=4_000)

    assert sum(sums[0] for sums in ledger.totals.series.values()) == booked
    ledger.close()


@pytest.mark.parametrize(
    ("at_the_loss", "marks"),
    [
        (None, Mark(1, 10)),
        (Mark(1, 10), Mark(2, 20)),  # nothing was counted between the loss and the first look
        (Mark(5, 50), Mark(1, 10)),  # the proxy restarted in between, so all of the first look is new
    ],
)
def test_after_a_second_loss_nothing_is_booked_again_and_nothing_is_left_out(
    at_the_loss: Mark | None, marks: Mark, tmp_path: Path
) -> None:
    """The next ledger books what was counted before the first look, but not what the second one has booked."""
    proxy, ledger = LegacyProxy(), open_ledger(tmp_path)
    proxy.stripped = "absent"
    detail = Detail(ts_ms=1_500, latency_ms=0, auth_index="a1", tokens=(7, 3))
    ledger.register("p")
    intake = snapshot_intake(ledger)
    for taken_ms in (2_000, 3_000):
        proxy.record("sk-client", "m", detail)
        intake.take(proxy.body(), taken_ms=taken_ms)
    ((key, _),) = ledger.snapshots.last("p").marks.items()
    restoring, snapshots = ledger.restoring("p"), ExportedSnapshots(snapshot_ms=1_000)
    restored = {} if at_the_loss is None else {key: at_the_loss}
    restoring.begin(since_ms=0, newest_ms=None, deleted_before_ms=None, snapshots=snapshots, marks=restored)
    restoring.finish(ExportedLimits())

    outgoing = ledger.backlog.read("p", limit=10)

    assert len(outgoing.entries) == 1
    assert outgoing.state is not None
    assert outgoing.state.marks == {key: marks}
    ledger.close()


@pytest.mark.parametrize(("lost", "both"), [((500, 2_500), (500, 3_000)), ((2_500, 5_000), (2_000, 5_000))])
def test_details_of_usage_counted_before_or_after_a_loss_are_not_booked_as_well(
    lost: tuple[int, int], both: tuple[int, int], tmp_path: Path
) -> None:
    proxy, ledger = LegacyProxy(), open_ledger(tmp_path)
    proxy.stripped = "absent"
    ledger.register("p")
    intake = snapshot_intake(ledger)
    for taken_ms in (2_000, 3_000):
        proxy.record("sk-client", "m", Detail(ts_ms=1_500, latency_ms=0, auth_index="a1", tokens=(7, 3)))
        intake.take(proxy.body(), taken_ms=taken_ms)
    assert ledger.snapshots.last("p").counted_ms == (2_000, 3_000)

    snapshots = ExportedSnapshots(1_000, *lost)
    ledger.restoring("p").begin(since_ms=0, newest_ms=None, deleted_before_ms=None, snapshots=snapshots, marks={})

    assert ledger.snapshots.last("p").counted_ms == both
    ledger.close()


@pytest.mark.parametrize(
    ("deleted_before_ms", "from_ms"), [(None, _QUARTER), (_QUARTER - 1, _QUARTER), (_QUARTER + 1, _QUARTER + 900_000)]
)
@pytest.mark.parametrize("has_pruned", [True, False])
def test_records_come_back_from_the_moment_at_which_the_roll_up_ends(
    has_pruned: bool, deleted_before_ms: int | None, from_ms: int, tmp_path: Path
) -> None:
    """Otherwise, a record of that very moment is missing, or one from before it counts twice."""
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    if has_pruned:
        _take_record(ledger)
        ledger.retention.prune(entries_before_ms=_QUARTER, rejected_before_ms=0, stopping=lambda: False)
    progress = ledger.restoring("p").begin(
        since_ms=_QUARTER + 5,
        newest_ms=None,
        deleted_before_ms=deleted_before_ms,
        snapshots=ExportedSnapshots(),
        marks={},
    )
    ledger.close()

    assert progress.from_ms == from_ms
    assert progress.after == (from_ms - 1, 2**63 - 1)
    assert (progress.rollups is None) is has_pruned


@pytest.mark.parametrize("name", ["other", "anonymous"])
@pytest.mark.parametrize("has_document", [True, False])
def test_folded_and_anonymous_usage_comes_back_under_its_name(has_document: bool, name: str, tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    pseudonym = "" if name == "anonymous" else name
    clients = [(ExportedClient(pseudonym, name), pseudonym)] if has_document else []
    restoring = ledger.restoring("p")
    restoring.take_names(credentials=[], clients=clients)
    restoring.add_records([_past(1, "claude-old") | {"client": name}], _begin(ledger))

    assert list(ledger.name_store.clients.values()) == [name]
    assert ledger.name_store.client_ids.keys() == {pseudonym}
    ledger.close()


def test_an_account_does_not_take_a_name_that_another_one_has_here(tmp_path: Path) -> None:
    """Records came back without a document on accounts; a later restore has the document."""
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    _take_inventory(ledger)
    ledger.restoring("p").add_records([_past(1, "claude-old")], _begin(ledger))
    before = [each.long_name for each in ledger.name_store.credentials.values()]
    _restore_names(ledger)

    assert [each.long_name for each in ledger.name_store.credentials.values()] == before
    assert len(set(before)) == 2
    ledger.close()


@pytest.mark.parametrize("key_is_lost", [True, False])
def test_a_client_keeps_its_name_and_session_unless_the_hash_key_was_lost_too(
    key_is_lost: bool, tmp_path: Path
) -> None:
    """With a new key, its alias shows which client it is. The name is from a version that made longer ones."""
    kept = ExportedClient(_PSEUDONYM, f"client-{_PSEUDONYM[:12]}")
    pseudonym = PSEUDONYMS.of("sk-client, under the new key") if key_is_lost else _PSEUDONYM
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    restoring = ledger.restoring("p")
    restoring.take_names(credentials=[], clients=[(kept, pseudonym)])
    restoring.add_records([_past(1, "claude-old") | {"client": kept.masked}], _begin(ledger))
    restoring.finish(ExportedLimits(sessions=(ExportedSession("s", ("client", _PSEUDONYM), 1, 2),)))

    ((id_, name),) = ledger.name_store.clients.items()
    assert name == (f"client-{pseudonym[:10]}" if key_is_lost else kept.masked)
    assert ledger.name_store.client_ids == {pseudonym: id_}
    assert _sessions(ledger) == {("s", f"client:{id_}", 1, 2)}
    ledger.close()


def _sessions(ledger: Ledger) -> set[tuple[object, ...]]:
    with ledger.reading() as connection:
        return set(connection.execute("select * from limit_session"))


@pytest.mark.parametrize(
    ("precedes", "here", "there", "kept"),
    [
        (True, (0, 500), (100, 200), (100, 200)),  # this ledger saw only the first record after the loss
        (True, (900, 950), (100, 200), (100, 200)),  # it took long; later sessions are computed again from there
        (False, (900, 950), (100, 200), (900, 950)),  # this ledger's own, from before it was at another project
        (False, (100, None), (100, 200), (100, 200)),
    ],
)
def test_sessions_from_before_the_loss_replace_later_ones(
    precedes: bool,
    here: tuple[int, int | None],
    there: tuple[int, int | None],
    kept: tuple[int, int | None],
    tmp_path: Path,
) -> None:
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    _restore_names(ledger)
    credential = ledger.name_store.find_credential(ledger.name_store.proxies["p"], *_FILE)
    assert credential is not None
    scope = f"credential:{credential.id}"
    _begin(ledger)
    with ledger.windows.look() as look:
        look.moved["s", scope] = Session(*here)
    past = ExportedLimits(
        sessions=(
            ExportedSession("s", ("credential", "claude-older"), *there),
            ExportedSession("t", ("client", _PSEUDONYM), 1, 2),
            ExportedSession("u", ("model", "m"), 1, 2),
            ExportedSession("v", ("", ""), 1, None),
        ),
        anchors={"a": 5, "b": 7},
    )
    ledger.limits.set_anchor("a", 9)
    ledger.restoring("p").finish(past, precedes=precedes)

    client = ledger.name_store.client_ids.get(_PSEUDONYM)
    expected = {("s", scope, *kept), ("t", f"client:{client}", 1, 2), ("u", "model:m", 1, 2), ("v", "", 1, None)}
    assert _sessions(ledger) == expected
    assert ledger.limits.anchors() == {"a": 9, "b": 7}, "the newer reset, and the only one"
    state = ledger.backlog.read("p", limit=10).state
    assert state is not None
    assert {session.scope for session in state.documents["limits"].sessions} == {
        ("credential", "claude-old"),
        ("client", _PSEUDONYM),
        ("model", "m"),
        ("", ""),
    }
    ledger.close()


def test_of_two_proxies_the_newer_session_of_the_past_applies(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for proxy, ended_ms in (("p", 500), ("q", 100)):
        ledger.register(proxy)
        ledger.restoring(proxy).take_names(credentials=[], clients=[])
        past = ExportedLimits(sessions=(ExportedSession("s", ("", ""), ended_ms, None),))
        ledger.restoring(proxy).finish(past, precedes=True)
    assert _sessions(ledger) == {("s", "", 500, None)}
    ledger.close()


def test_what_is_read_during_a_long_restore_is_newer_than_what_is_restored(tmp_path: Path) -> None:
    clock = TurnableClock()
    ledger = open_ledger(tmp_path, clock=clock)
    ledger.register("p")
    _restore_names(ledger)
    restoring = ledger.restoring("p")
    _begin(ledger)
    resets_ms = clock.now_ms() + 3_600_000
    restored, read = (
        Reading("5h", "", 18_000, share, resets_ms, "", clock.now_ms() + ms, inferred=False, source="auth_files")
        for share, ms in ((0.2, -60_000), (0.3, 600_000))
    )
    clock.advance(600)
    ledger.take_inventory("p", [msgspec.structs.replace(_ACCOUNT, readings=(read,))])
    restoring.finish(ExportedLimits(), readings=[("claude-old", restored)])

    assert [quota.reading for quota in ledger.quotas.current().values()] == [read]
    ledger.close()
