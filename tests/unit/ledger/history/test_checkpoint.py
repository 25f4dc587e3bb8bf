"""The exporter sends the parts of a proxy's state that changed since the last time, and nothing that names anybody."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec

from exporter.ledger.history.checkpoint import CLIENTS, ExportedLimits, ExportedSnapshots, ProxyState, checkpoint
from exporter.ledger.views.limit_windows import Session
from exporter.normalize.inventory import Account
from exporter.normalize.snapshot import Mark
from exporter.records import CredentialFacts
from tests.benches.booking import GOOD, PSEUDONYMS, intake_of, open_ledger, take
from tests.benches.snapshots import snapshot_intake

_BODY = b'{"usage": {"apis": {"sk-client": {"models": {"%s": {"total_requests": %d, "total_tokens": 5}}}}}}'


def _state(folder: Path) -> ProxyState:
    """The state of a proxy with a client, a credential, a limit, and a snapshot of one series."""
    ledger = open_ledger(folder)
    take(intake_of(ledger), [GOOD])
    ledger.limits.set_anchor("day", 5)
    snapshot_intake(ledger).take(_BODY % (b"a", 3), taken_ms=7)
    state = ledger.backlog.read("p", limit=10).state
    ledger.close()
    assert state is not None
    return state


def test_the_first_checkpoint_is_whole_and_later_ones_have_only_changes(tmp_path: Path) -> None:
    state = _state(tmp_path)
    first = checkpoint(state, None, key_sign="a key")
    assert first is not None
    assert first["whole"]
    assert {"credentials", "limits", "snapshots", "hash_key", "clients/0"} == first["state"].keys()
    assert checkpoint(state, state, key_sign="a key") is None

    ((key, mark),) = state.marks.items()
    moved = ProxyState(
        state.documents | {"limits": ExportedLimits({"day": 6})},
        marks={key: Mark(mark.requests + 1, 9), ("c", "b"): mark},
    )
    assert checkpoint(moved, state, key_sign="a key") == {
        "state": {"limits": {"anchors": {"day": 6}, "sessions": []}},
        "baselines": [
            {"client": key[0], "model": "a", "requests": 4, "tokens": 9, "length": None, "sha256": None},
            {"client": "c", "model": "b", "requests": 3, "tokens": 5, "length": None, "sha256": None},
        ],
        "gone": [],
        "whole": False,
    }
    back = checkpoint(replace(moved, marks={("c", "b"): mark}), moved, key_sign="a key")
    assert back is not None
    assert (back["state"], back["baselines"], back["gone"]) == ({}, [], [{"client": key[0], "model": "a"}])


def test_what_is_sent_of_a_proxy_has_nothing_of_another_one(tmp_path: Path) -> None:
    """Restored, its state would make the other one's accounts appear twice."""
    ledger = open_ledger(tmp_path)
    for proxy, number in (("q", "1"), ("p", "2"), ("r", "3")):
        take(intake_of(ledger, proxy), [GOOD | {"auth_index": number * 16, "api_key": f"sk-{number}"}])
    snapshot_intake(ledger, "q").take(_BODY % (b"a", 3), taken_ms=7)
    outgoing = ledger.backlog.read("p", limit=10)
    state = outgoing.state
    ledger.close()
    (entry,) = outgoing.entries
    assert json.loads(entry[1])["credential"] == "claude-2222222222"
    assert state is not None
    assert (state.marks, state.documents["snapshots"]) == ({}, ExportedSnapshots())
    assert [each.long_names for each in state.documents["credentials"]] == [("claude-2222222222",)]
    clients = [
        client.pseudonym for kind, part in state.documents.items() if kind.startswith(CLIENTS) for client in part
    ]
    assert clients == [PSEUDONYMS.of("sk-2")]


def test_a_credential_is_stored_with_everything_that_was_merged_into_it(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD, GOOD | {"auth_index": "fedcba9876543210", "request_id": "2"}])
    account = Account(
        facts=CredentialFacts(provider="claude"),
        identity=("file", PSEUDONYMS.of("a.json")),
        names=(("email", PSEUDONYMS.of("dev@example.com")),),
        auth_index="0123456789abcdef",
        auth_type="oauth",
    )
    ledger.take_inventory("p", [account])
    # The proxy was upgraded, and the file has another index, which seems to be a separate credential.
    ledger.take_inventory("p", [msgspec.structs.replace(account, auth_index="fedcba9876543210")])
    state = ledger.backlog.read("p", limit=10).state
    ledger.close()
    assert state is not None
    (kept,) = state.documents["credentials"]
    assert kept.long_names == ("claude-0123456789", "claude-fedcba9876")
    assert set(kept.keys) == {
        ("file", PSEUDONYMS.of("a.json")),
        ("auth_index", "0123456789abcdef"),
        ("auth_index", "fedcba9876543210"),
    }
    assert kept.names == (("email", PSEUDONYMS.of("dev@example.com")),)


def test_no_session_of_a_merged_credential_is_stored(tmp_path: Path) -> None:
    """The account's own session covers the usage of both."""
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD, GOOD | {"auth_index": "fedcba9876543210", "request_id": "2"}])
    account = Account(
        facts=CredentialFacts(provider="codex"),
        identity=("file", "free"),
        account_id="acc/codex",
        auth_index="0123456789abcdef",
        auth_type="oauth",
    )
    with ledger.windows.look() as look:
        look.moved = {("limit", f"credential:{id_}"): Session(id_, id_) for id_ in (1, 2)}
    again = msgspec.structs.replace(account, identity=("file", "pro"), auth_index="fedcba9876543210")
    ledger.take_inventory("p", [account, again])
    state = ledger.backlog.read("p", limit=10).state
    ledger.close()
    assert state is not None
    (kept,) = state.documents["credentials"]
    assert ("account_id", "acc/codex") in kept.keys
    sessions = state.documents["limits"].sessions
    assert [session.scope for session in sessions] == [("credential", kept.long_names[0])]
    assert sessions[0].started_ms == 1
