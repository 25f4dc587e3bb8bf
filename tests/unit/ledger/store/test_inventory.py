"""A new login of an account is the same credential: one name, one budget, in whatever order logins are listed."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from exporter.history.sender import names_to_send
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.store.checksums import number_of_row
from exporter.normalize.inventory import Account, read_auth_files
from exporter.normalize.pseudonyms import Pseudonyms
from exporter.quotas.reading import Reading
from exporter.settings.proxies import Aliases, CredentialAlias
from tests.benches.booking import GOOD, PSEUDONYMS, check_sums, intake_of, open_ledger, take
from tests.fakes.guarding import TurnableClock

_EMAIL = "dev@invented.example"
_ALIASES = Aliases(credentials=(CredentialAlias(email=SecretStr(_EMAIL), alias="dev-account"),))


def _login(plan: str, account_id: str | None = "acc-1", *, email: str | None = _EMAIL, **more: Any) -> dict[str, Any]:
    """A file of a Codex account; each plan has its own file and ``auth_index``."""
    return {
        "name": f"codex-1a2b-{plan}.json",
        "provider": "codex",
        "auth_index": plan[0] * 16,
        "account_type": "oauth",
        "status": "active",
        "success": 10,
        "failed": 0,
        "id_token": {"plan_type": plan, "chatgpt_account_id": account_id},
        "email": email,
    } | more


def _accounts(*files: dict[str, Any]) -> list[Account]:
    return read_auth_files(json.dumps({"files": list(files)}).encode(), PSEUDONYMS.of, received_ms=0).accounts


def _poll(ledger: Ledger, *files: dict[str, Any], whole: bool = True) -> None:
    ledger.take_inventory("p", _accounts(*files), whole=whole)


def _book(ledger: Ledger, *handles: str) -> None:
    """Book one request for each ``auth_index``, given by its first letter."""
    booked = ledger.totals.entries
    records = [
        GOOD
        | {"provider": "codex", "executor_type": "CodexExecutor", "auth_index": each * 16, "request_id": f"{n:08x}"}
        for n, each in enumerate(handles, booked)
    ]
    take(intake_of(ledger), records)


def _shown(ledger: Ledger, aliases: Aliases | None = None) -> dict[str, int]:
    """Requests by shown credential."""
    shown_names, shown = ShownNames(ledger.name_store, aliases or Aliases(), PSEUDONYMS.of), dict[str, int]()
    for series, numbers in ledger.totals.series.items():
        name = shown_names.credential(ledger.name_store.series[series].credential)
        shown[name] = shown.get(name, 0) + numbers[0]
    return shown


def _attempts(ledger: Ledger) -> int:
    return sum(each.success + each.failed for each in ledger.totals.attempts.values())


def _old_ledger(folder: Path, *logins: dict[str, Any]) -> Ledger:
    """A ledger of an older version, which knew a login only by its file: one credential each, named by the e-mail."""
    ledger = open_ledger(folder)
    for login in logins:
        _poll(ledger, login | {"email": None, "id_token": None})
        _book(ledger, login["auth_index"][0])
    ledger.close()
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.create_function("number_of_row", -1, number_of_row)  # triggers keep the checksums
        connection.execute(
            "insert into credential_name (kind, value, credential) select 'email', ?, id from credential",
            (PSEUDONYMS.of(_EMAIL),),
        )
        connection.commit()
    return open_ledger(folder)


_ORDERS = {
    "another file instead": [("free",), ("pro",), ("pro",)],
    "both, the old one first": [("free",), ("free", "pro"), ("pro",)],
    "both, the new one first": [("free",), ("pro", "free"), ("pro",)],
    "the old one comes back": [("free",), ("pro",), ("free",), ("pro", "free")],
}


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("order", _ORDERS.values(), ids=_ORDERS)
@pytest.mark.parametrize("account_id", ["acc-1", None])
def test_a_new_file_of_an_account_is_the_same_credential(
    tmp_path: Path, order: Sequence[tuple[str, ...]], account_id: str | None, restarts: bool
) -> None:
    ledger = open_ledger(tmp_path)
    names = set[str]()
    for number, plans in enumerate(order, 1):
        _poll(ledger, *(_login(plan, account_id) for plan in plans))
        _book(ledger, plans[0][0])
        shown = _shown(ledger)
        assert list(shown.values()) == [number]
        assert _shown(ledger, _ALIASES) == {"dev-account": number}
        names |= shown.keys()
        if restarts:
            ledger.close()
            ledger = open_ledger(tmp_path)
            assert _shown(ledger) == shown
    assert len(names) == 1
    check_sums(ledger)


def test_another_e_mail_address_of_the_same_account_changes_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _poll(ledger, _login("free"))
    _book(ledger, "f")
    _poll(ledger, _login("pro", email="new@invented.example"))
    _book(ledger, "p")
    assert list(_shown(ledger).values()) == [2]


def test_two_workspaces_of_one_address_stay_two_even_if_an_id_is_missing_at_times(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    plus, team = _login("plus"), _login("team", "acc-2")
    for files in ((plus, team), (team, _login("plus", None)), (_login("plus", None), _login("team", None)), (team,)):
        _poll(ledger, *files)
    _book(ledger, "p", "t", "t")
    assert sorted(_shown(ledger).values()) == [1, 2]
    _poll(ledger, plus, team)
    shown = _shown(ledger, _ALIASES)
    assert sorted(shown.values()) == [1, 2]
    assert all(name.startswith("dev-account-codex-") for name in shown)


def test_two_members_of_a_workspace_are_two_accounts_although_they_share_its_id(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    alice = _login("team")
    bob = _login("team", email="bob@invented.example", name="codex-1a2b-bob-team.json", auth_index="b" * 16)
    for files in ((alice,), (alice, bob), (bob, alice)):
        _poll(ledger, *files)
    _book(ledger, "t", "b", "b")
    assert sorted(_shown(ledger).values()) == [1, 2]
    again = alice | {"name": "codex-again.json", "auth_index": "a" * 16, "email": _EMAIL.upper()}
    _poll(ledger, again, bob)
    _book(ledger, "a")
    assert sorted(_shown(ledger).values()) == [2, 2]
    assert _shown(ledger, _ALIASES)["dev-account"] == 2


_BOB = {"email": "bob@invented.example", "name": "codex-1a2b-bob-team.json", "auth_index": "b" * 16}


def _as_older(folder: Path, ledger: Ledger) -> Ledger:
    """The ledger as an older version wrote it: every Codex account is known by its id alone."""
    ledger.close()
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.create_function("number_of_row", -1, number_of_row)  # triggers keep the checksums
        connection.execute(
            "insert into credential_key select proxy, kind, value, min(id) from credential_name"
            " join credential on id = credential where kind = 'account_id' group by 1, 2, 3"
        )
        connection.execute("delete from credential_name where kind = 'account_id'")
        connection.execute("delete from credential_key where kind = 'member_id'")
        connection.commit()
    return open_ledger(folder)


@pytest.mark.parametrize(
    ("again", "first", "second"),
    [({}, "alice", "bob"), ({"name": "codex-again.json", "auth_index": "a" * 16}, "bob", "alice")],
)
def test_the_members_of_a_workspace_in_an_older_ledger_are_separated(
    tmp_path: Path, again: dict[str, Any], first: str, second: str
) -> None:
    """The older ledger had them as one. The first with its old file keeps name and history; each has its own names."""
    ledger = open_ledger(tmp_path)
    alice, bob = _login("team"), _login("team", **_BOB)
    _poll(ledger, alice, bob | {"email": _EMAIL})
    _book(ledger, "t", "b")
    (name,) = _shown(ledger)
    attempts = _attempts(ledger)
    with ledger._database.transaction() as connection:
        ledger.name_store.name(connection, "email", PSEUDONYMS.of(bob["email"]), 1)
    ledger = _as_older(tmp_path, ledger)
    aliases = Aliases(
        credentials=(
            CredentialAlias(email=SecretStr(alice["email"]), alias="alice"),
            CredentialAlias(file=SecretStr(bob["name"]), alias="bob"),
            CredentialAlias(email=SecretStr(bob["email"]), alias="bob"),
        )
    )
    for number in (1, 2):
        _poll(ledger, alice | again, bob)
        _book(ledger, (alice | again)["auth_index"][0], "b")
        shown = _shown(ledger)
        assert (shown.pop(name), list(shown.values())) == (2 + number, [number])
        assert _attempts(ledger) >= attempts
        assert _shown(ledger, aliases) == {first: 2 + number, second: number}
        ledger.close()
        ledger = open_ledger(tmp_path)


def test_the_only_member_left_of_an_older_ledgers_workspace_goes_by_its_own_address(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    alice, bob = _login("team"), _login("team", **_BOB)
    _poll(ledger, alice, bob | {"email": _EMAIL})
    _book(ledger, "t")
    with ledger._database.transaction() as connection:
        ledger.name_store.name(connection, "email", PSEUDONYMS.of(bob["email"]), 1)
    ledger = _as_older(tmp_path, ledger)
    aliases = (CredentialAlias(email=SecretStr(bob["email"]), alias="bob"), *_ALIASES.credentials)
    _poll(ledger, bob, whole=False)
    assert _shown(ledger, Aliases(credentials=aliases)) == {"bob": 1}
    _poll(ledger, bob, alice | {"id_token": None})
    _book(ledger, "t", "t")
    assert _shown(ledger, Aliases(credentials=aliases)) == {"bob": 1, "dev-account": 2}


def test_a_member_whose_file_gets_its_address_later_stays_the_same(tmp_path: Path) -> None:
    """CPA adds the address to a file of another program when it renews the token."""
    ledger = open_ledger(tmp_path)
    for number, email in enumerate((None, _EMAIL, None, _EMAIL), 1):
        _poll(ledger, _login("team", email=email))
        _book(ledger, "t")
        assert list(_shown(ledger).values()) == [number]


def test_a_workspace_of_an_older_ledger_that_is_no_longer_listed_is_not_merged(tmp_path: Path) -> None:
    """The account that stays has its address; counters that took over the other's would jump."""
    ledger = open_ledger(tmp_path)
    _poll(ledger, _login("plus"), _login("team", "acc-2"))
    _book(ledger, "p", "t", "t")
    _poll(ledger, _login("plus"))
    before = _shown(ledger)
    ledger = _as_older(tmp_path, ledger)
    _poll(ledger, _login("plus"))
    assert _shown(ledger) == before


def test_an_older_ledgers_accounts_of_one_address_keep_their_names_with_new_files(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _poll(ledger, _login("plus"), _login("team", "acc-2"))
    _book(ledger, "p", "t", "t")
    before = _shown(ledger)
    ledger = _as_older(tmp_path, ledger)
    plus = _login("plus", name="codex-new-plus.json", auth_index="1" * 16)
    team = _login("team", "acc-2", name="codex-new-team.json", auth_index="2" * 16)
    for number, files in enumerate(((plus, team), (team, plus)), 1):
        _poll(ledger, *files)
        _book(ledger, "1", "2")
        assert _shown(ledger) == {name: requests + number for name, requests in before.items()}


def test_a_member_of_a_workspace_stays_the_same_while_the_plan_is_missing_or_unknown(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for number, plan in enumerate(("team", None, "team", "free", "new", "team"), 1):
        told = {"id_token": {"plan_type": plan, "chatgpt_account_id": "acc-1"}}
        _poll(ledger, _login("team") | told, _login("team", **_BOB) | told)
        _book(ledger, "t", "b")
        assert list(_shown(ledger).values()) == [number, number]


def _claude(name: str, *, email: str = _EMAIL) -> dict[str, Any]:
    """A file of a Claude account; its ``auth_index`` repeats the last letter of its name."""
    return _login(name[-1], None, email=email, name=f"{name}.json", provider="claude", id_token=None)


def test_a_claude_account_belongs_to_one_organization_if_its_file_names_one(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    old, one, other = _claude("claude-d"), _claude("claude-00f765af-d"), _claude("claude-50d86b12-e")
    colleague = _claude("claude-00f765af-f", email="bob@invented.example")
    for files in ((old,), (one,), (other, one), (one, colleague, other)):
        _poll(ledger, *files)
    _book(ledger, "d", "e", "e", "f", "f", "f")
    assert sorted(_shown(ledger).values()) == [1, 2, 3]
    assert len(ledger.name_store.credentials_with("email", PSEUDONYMS.of(_EMAIL))) == 2


def test_a_new_workspace_does_not_replace_the_one_that_is_known_by_its_file(tmp_path: Path) -> None:
    """The older version knew only the file; the new workspace is listed before it."""
    ledger = _old_ledger(tmp_path, _login("plus"))
    before = _shown(ledger)
    _poll(ledger, _login("business", "acc-2"), _login("plus"))
    _book(ledger, "b", "p")
    (name,) = before
    shown = _shown(ledger)
    assert (shown.pop(name), list(shown.values())) == (2, [1])


def test_another_account_in_the_same_file_is_another_credential(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _poll(ledger, _login("plus", success=100))
    _book(ledger, "p")
    before = _shown(ledger)
    other = _login("plus", "acc-2", email="other@invented.example", success=101)
    for _ in range(2):
        _poll(ledger, other)
        _book(ledger, "p")
    assert before.items() < _shown(ledger).items()
    assert sorted(_shown(ledger).values()) == [1, 2]
    assert _shown(ledger, _ALIASES)["dev-account"] == 1


def test_one_address_at_two_providers_is_two_credentials(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _poll(ledger, _login("plus", None), _login("xai", None, provider="xai"))
    _book(ledger, "p", "x")
    assert sorted(_shown(ledger).values()) == [1, 1]


def test_a_retired_credential_leaves_its_alias_to_the_listed_one(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _poll(ledger, _login("plus"))
    _book(ledger, "p")
    _poll(ledger, _login("team", "acc-2"), whole=False)
    assert len(_shown(ledger, _ALIASES)) == 1
    _poll(ledger, _login("team", "acc-2"))
    _book(ledger, "t", "t")
    for _ in range(2):
        shown = _shown(ledger, _ALIASES)
        assert shown.pop("dev-account") == 2
        ((name, requests),) = shown.items()
        assert name.startswith("dev-account-codex-")
        assert requests == 1
        ledger.close()
        ledger = open_ledger(tmp_path)
    _poll(ledger)
    assert _shown(ledger, _ALIASES)["dev-account"] == 2, "an empty list retires nobody"


@pytest.mark.parametrize("last", [0, 1])
def test_the_shown_names_of_deleted_accounts_stay_when_the_last_one_of_that_name_is_deleted(
    last: int, tmp_path: Path
) -> None:
    ledger = open_ledger(tmp_path)
    both, other = [_login("plus"), _login("team", "acc-2")], _login("xai", "acc-3", email="other@invented.example")
    _poll(ledger, *both, other)
    _book(ledger, "p", "t", "t")
    _poll(ledger, both[last], other)
    shown = _shown(ledger, _ALIASES)
    assert shown["dev-account"] == last + 1
    _poll(ledger, other)
    assert _shown(ledger, _ALIASES) == shown


@pytest.mark.parametrize("listed", [("free", "pro"), ("pro", "free"), ("pro",), ("free",)])
def test_two_old_credentials_of_one_account_are_merged(tmp_path: Path, listed: tuple[str, ...]) -> None:
    """A pointer merges them: no total falls, and the older one's name stays."""
    ledger = _old_ledger(tmp_path, _login("free"), _login("pro"))
    before, attempts = _shown(ledger), _attempts(ledger)
    in_history = [credential.long_name for credential in ledger.name_store.credentials.values()]
    assert sorted(before.values()) == [1, 1]
    older = next(iter(before))
    for _ in range(2):
        _poll(ledger, *(_login(plan) for plan in listed))
        assert _shown(ledger) == {older: 2}
        assert _shown(ledger, _ALIASES) == {"dev-account": 2}
        assert _attempts(ledger) == attempts
        shown = names_to_send(ledger, ShownNames(ledger.name_store, _ALIASES, PSEUDONYMS.of), "p")
        credentials = {masked: name for (kind, masked), name in shown.items() if kind == "credential"}
        assert credentials == dict.fromkeys(in_history, "dev-account"), "what is in the history follows"
        ledger.close()
        ledger = open_ledger(tmp_path)
    check_sums(ledger)


def test_two_old_workspaces_stay_two(tmp_path: Path) -> None:
    ledger = _old_ledger(tmp_path, _login("plus"), _login("team"))
    before = _shown(ledger)
    _poll(ledger, _login("team", "acc-2"), _login("plus"))
    assert _shown(ledger) == before


def test_a_single_old_file_keeps_its_name(tmp_path: Path) -> None:
    ledger = _old_ledger(tmp_path, _login("plus"))
    before = _shown(ledger)
    _poll(ledger, _login("plus"))
    assert _shown(ledger) == before


def test_an_account_keeps_its_name_without_the_hash_key_while_its_handle_is_known(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _poll(ledger, _login("plus"), _login("team", "acc-2"))
    _book(ledger, "p", "t")
    before = _shown(ledger)
    body = json.dumps({"files": [_login("plus"), _login("team", "acc-2")]}).encode()
    for _ in range(2):
        accounts = read_auth_files(body, Pseudonyms(b"another key").of, received_ms=0).accounts
        ledger.take_inventory("p", accounts)
    assert _shown(ledger) == before


def test_the_proxys_counts_continue_by_file_and_are_shown_by_account(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    steps = [
        ((("free", 100),), 100),
        ((("free", 105), ("pro", 2)), 107),
        ((("pro", 3),), 108),  # the old file is gone, and no count falls with it
        ((("pro", 1), ("free", 1)), 110),  # the proxy restarted
        ((("free", 4), ("pro", 1)), 113),
    ]
    for files, attempts in steps:
        _poll(ledger, *(_login(plan, success=success) for plan, success in files))
        assert _attempts(ledger) == attempts
        ledger.close()
        ledger = open_ledger(tmp_path)
        assert _attempts(ledger) == attempts


@pytest.mark.parametrize("impossible", [10**12, 2**63 - 1, 10**30])
def test_an_impossible_count_is_as_if_none_were_stated(impossible: int, tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _poll(ledger, _login("plus", success=100))
    _poll(ledger, _login("plus", success=impossible))
    _poll(ledger, _login("plus", success=0, failed=impossible))
    assert _attempts(ledger) == 100
    _poll(ledger, _login("plus", success=102))
    assert _attempts(ledger) == 102


def test_another_account_in_a_file_does_not_take_over_its_counts(tmp_path: Path) -> None:
    """CPA keeps its counts when a file is updated."""
    ledger = open_ledger(tmp_path)
    first = _login("pro", "acc-9", success=50)
    _poll(ledger, first, _login("plus", success=100))
    _poll(ledger, first, _login("plus", "acc-2", success=103))
    assert sorted(each.success for each in ledger.totals.attempts.values()) == [3, 50, 100]
    ledger.close()
    ledger = open_ledger(tmp_path)
    for name in (first["name"], _login("plus")["name"]):
        assert len(ledger.name_store.credentials_with("file", PSEUDONYMS.of(name))) == 1, name
    _poll(ledger, first, _login("plus", "acc-2", success=104))
    assert sorted(each.success for each in ledger.totals.attempts.values()) == [4, 50, 100]


def test_a_window_continues_with_the_next_login(tmp_path: Path) -> None:
    """The first reading of a new file is compared with the account's last one, not with its old file's."""
    clock = TurnableClock()
    now_ms = int(clock.now() * 1000)
    ledger = _old_ledger(tmp_path, _login("free"), _login("pro"))

    def read(handle: str, used: float, at_ms: int) -> None:
        credential = ledger.name_store.find_credential(1, "auth_index", handle * 16)
        assert credential is not None
        reading = Reading(
            window="7d",
            scope="",
            window_seconds=604_800,
            used_ratio=used,
            resets_ms=now_ms + 500_000_000,
            status="",
            observed_ms=at_ms,
            source="headers",
            inferred=False,
        )
        with ledger._database.transaction() as connection:
            noted = ledger.quotas.note(connection, [(credential.id, reading)], now_ms=at_ms)
        ledger.quotas.take_over(noted)

    read("f", 0.97, now_ms)
    read("p", 0.05, now_ms + 1000)
    _poll(ledger, _login("free"), _login("pro"))
    read("p", 0.06, now_ms + 2000)
    ledger.close()
    again = open_ledger(tmp_path)
    for each in (ledger, again):
        (window,) = each.quotas.current().values()
        assert (window.reading.used_ratio, window.early_resets) == (0.06, 0)


_POLLS = st.lists(
    st.tuples(st.permutations(["free", "pro", "max", "team"]), st.integers(0, 4), st.booleans(), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60)
@given(polls=_POLLS)
def test_names_never_flap_and_totals_never_fall(
    tmp_path_factory: pytest.TempPathFactory, polls: list[tuple[list[str], int, bool, bool]]
) -> None:
    """Three files of one account and one of another workspace, listed in any order, or not, or without their ids."""
    folder = tmp_path_factory.mktemp("flap")
    ledger = open_ledger(folder)
    ids = {"free": "acc-1", "pro": "acc-1", "max": "acc-1", "team": "acc-2"}
    _poll(ledger, _login("free"), _login("team", "acc-2"))
    _book(ledger, "f", "t")
    first = _shown(ledger)
    booked, attempts = 2, _attempts(ledger)
    for plans, listed, told, restarts in polls:
        # A new file comes with its id: without it nobody could know which of the two it belongs to.
        files = plans[:listed]
        known = {plan for plan in files if ledger.name_store.is_listed("p", plan[0] * 16)}
        _poll(ledger, *(_login(plan, ids[plan] if told or plan not in known else None) for plan in files))
        _book(ledger, *(plan[0] for plan in files))
        booked += len(files)
        shown = _shown(ledger)
        assert shown.keys() == first.keys()
        assert sum(shown.values()) == booked
        assert _attempts(ledger) >= attempts
        attempts = _attempts(ledger)
        if restarts:
            ledger.close()
            ledger = open_ledger(folder)
    ledger.close()
