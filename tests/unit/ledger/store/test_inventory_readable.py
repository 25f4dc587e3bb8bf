"""The name of a credential without an alias describes the credential, and never changes."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.ledger.store.checksums import number_of_row
from exporter.normalize.inventory import Account, read_auth_files, read_key_list
from exporter.settings.proxies import Aliases
from tests.benches.booking import GOOD, PSEUDONYMS, check_sums, intake_of, open_ledger, take


def _login(email: str = "dev@example.com", *, provider: str = "codex", plan: str = "plus", **more: Any) -> Account:
    told = {"name": f"{provider}-{email}.json", "provider": provider, "email": email, "auth_index": "aaaaaaaaaaaaaaaa"}
    file = told | {"account_type": "oauth", "id_token": {"plan_type": plan}} | more
    (account,) = read_auth_files(json.dumps({"files": [file]}).encode(), PSEUDONYMS.of, received_ms=0).accounts
    return account


def _key(endpoint: str, entry: dict[str, Any]) -> Account:
    body = json.dumps({endpoint: [entry]}).encode()
    (account,) = read_key_list(endpoint, body, uses={}, pseudonym=PSEUDONYMS.of).accounts
    return account


def _shown(ledger: Ledger) -> list[str]:
    shown_names = ShownNames(ledger.name_store, Aliases(), PSEUDONYMS.of)
    return [shown_names.credential(id_) for id_ in ledger.name_store.credentials]


def _book(ledger: Ledger, number: int = 1) -> None:
    take(intake_of(ledger), [GOOD | {"provider": "codex", "auth_index": "a" * 16, "request_id": f"{number:08x}"}])


@pytest.mark.parametrize(
    ("account", "begins"),
    [
        (_login(), "codex-plus-"),
        (_login(provider="claude", plan=""), "claude-"),
        (_login(plan="self_serve_business"), "codex-self-serve-business-"),
        (_login(plan='Team "EU"\n{x}'), "codex-other-"),
        (_login(plan="x" * 300), "codex-other-"),
        (_login(plan="dev@example.com"), "codex-other-"),
        (_key("claude-api-key", {"api-key": "sk-1", "auth-index": "b"}), "claude-key-"),
        (
            _key("openai-compatibility", {"name": "openrouter", "api-key-entries": [{"api-key": "sk-1"}]}),
            "openrouter-key-",
        ),
    ],
    ids=["plan", "no plan", "plan of words", "odd plan", "long plan", "address", "key", "compatible"],
)
def test_the_name_names_provider_and_plan(tmp_path: Path, account: Account, begins: str) -> None:
    ledger = open_ledger(tmp_path)
    ledger.take_inventory("p", [account])
    (name,) = _shown(ledger)
    assert name.startswith(begins)
    digits = name.removeprefix(begins)
    assert len(digits) == 4
    assert int(digits, 16) >= 0
    assert "dev" not in name
    ledger.close()


def test_the_same_hash_key_gives_the_same_name(tmp_path: Path) -> None:
    names = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        ledger = open_ledger(tmp_path / name)
        ledger.take_inventory("p", [_login()])
        names += _shown(ledger)
        ledger.close()
    assert names[0] == names[1]


def test_a_plan_that_changes_or_becomes_known_changes_no_name(tmp_path: Path) -> None:
    for first, then in (("plus", "pro"), ("", "plus")):
        folder = tmp_path / f"from-{first}"
        folder.mkdir()
        ledger = open_ledger(folder)
        ledger.take_inventory("p", [_login(plan=first)])
        before = _shown(ledger)
        for _ in range(2):
            ledger.take_inventory("p", [_login(plan=then)])
            assert _shown(ledger) == before
            ledger.close()
            ledger = open_ledger(folder)
        ledger.close()


def test_a_credential_first_named_by_a_record_keeps_that_name(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    _book(ledger)
    assert _shown(ledger) == ["codex-aaaa"]
    ledger.take_inventory("p", [_login()])
    assert _shown(ledger) == ["codex-aaaa"]
    ledger.close()


def test_names_of_one_proxy_are_distinct(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for digits in ("aaaa1", "aaaa2", "aaaa12"):
        take(intake_of(ledger), [GOOD | {"provider": "codex", "auth_index": digits.ljust(16, "0")}])
    assert _shown(ledger) == ["codex-aaaa", "codex-aaaa2", "codex-aaaa1"]
    ledger.close()


def _as_before(folder: Path) -> None:
    """Take the readable names out of a ledger, as older versions left it without any."""
    with closing(sqlite3.connect(folder / FILE_NAME)) as connection:
        connection.create_function("number_of_row", -1, number_of_row)
        connection.execute("update credential set readable = ''")
        connection.commit()


def test_an_old_ledger_gets_readable_names_once_and_keeps_its_totals(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.take_inventory("p", [_login(), _login("gone@example.com", auth_index="b" * 16)])
    _book(ledger)
    new = _shown(ledger)
    ledger.close()
    _as_before(tmp_path)
    ledger = open_ledger(tmp_path)
    old = _shown(ledger)
    assert [len(name) for name in old] == [len("codex-0123456789")] * 2
    for _ in range(2):
        ledger.take_inventory("p", [_login(plan="plus")])
        assert _shown(ledger) == [new[0], old[1]], "what the proxy lists no more keeps its name"
        _book(ledger, 2)
        ledger.close()
        ledger = open_ledger(tmp_path)
    assert [numbers[0] for numbers in ledger.totals.series.values()] == [3]
    check_sums(ledger)
    ledger.close()
