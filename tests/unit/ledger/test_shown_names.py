"""Aliases: whom each one names, what changes when their file is edited, and those that fit nobody or several."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import Misfit, ShownNames
from exporter.normalize.inventory import read_auth_files
from exporter.normalize.pseudonyms import Pseudonyms, sign_of_key
from exporter.settings.load import read_aliases
from exporter.settings.proxies import Aliases
from tests.benches.booking import GOOD, PSEUDONYMS, intake_of, open_ledger, take

_KEY = "sk-client-of-a-test"


class Bench:
    """A ledger that has met an account and a client, and names with aliases in a file."""

    def __init__(self, folder: Path) -> None:
        self.ledger: Ledger = open_ledger(folder)
        self.file = folder / "exporter.yaml"
        self.file.write_text("")
        self.meet(_file("alice@example.com"))
        take(intake_of(self.ledger), [GOOD | {"auth_index": "aa11", "api_key": _KEY}])
        self.shown_names = ShownNames(
            self.ledger.name_store,
            Aliases(),
            PSEUDONYMS.of,
            file=self.file,
            nearest_pseudonym=PSEUDONYMS.nearest,
        )

    def meet(self, *files: dict[str, Any]) -> None:
        read = read_auth_files(json.dumps({"files": list(files)}).encode(), PSEUDONYMS.of, received_ms=0)
        self.ledger.take_inventory("p", read.accounts)

    def edit(self, text: str) -> None:
        self.file.write_text(text)
        for _ in range(2):  # the exporter leaves a file alone while it is being written
            self.shown_names.reload()

    def edit_aliases(self, *, clients: str = "", credentials: str = "") -> None:
        self.edit(f"aliases:\n  clients: [{clients}]\n  credentials: [{credentials}]\n")

    @property
    def shown(self) -> tuple[str, str]:
        """The names of the account and the client in use."""
        (series,) = self.ledger.name_store.series
        labels = self.shown_names.series(series)
        return labels.credential, labels.client

    def misfits(self) -> list[Misfit]:
        self.shown_names.note_misfits()
        return list(self.shown_names.misfits)


def _file(email: str, *, name: str = "", auth_index: str = "aa11", provider: str = "claude") -> dict[str, Any]:
    name = name or f"{provider}-{email}.json"
    return {"name": name, "provider": provider, "email": email, "auth_index": auth_index, "account_type": "oauth"}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.ledger.close()


def test_an_edit_of_the_aliases_shows_at_once_and_changes_the_version(bench: Bench) -> None:
    masked, version = bench.shown, bench.shown_names.version
    with capture_logs() as logs:
        bench.edit_aliases(clients=f"{{key: {_KEY}, alias: ci}}", credentials="{email: alice@example.com, alias: team}")
    assert bench.shown == ("team", "ci")
    assert bench.shown_names.version > version
    assert [(line["event"], line["file"], line["aliases"]) for line in logs] == [
        ("aliases_reloaded", "exporter.yaml", 2)
    ]
    bench.edit("")
    assert bench.shown == masked


def test_a_bad_edit_is_not_used_and_is_reported_until_it_is_corrected(bench: Bench) -> None:
    bench.edit_aliases(clients=f"{{key: {_KEY}, alias: ci}}")
    bench.edit("aliases:\n  clients:\n  - {key: planted-secret, alias: ci, kye: x}\n")
    assert bench.shown[1] == "ci"
    assert bench.shown_names.file_problem.startswith(
        "The last edit of the configuration file is not in use; the aliases from before it are. aliases.clients[0].kye"
        " (exporter.yaml:3): 'kye' is unknown here. Did you mean key?"
    )
    assert "planted" not in bench.shown_names.file_problem
    bench.edit("")
    assert bench.shown_names.file_problem == ""


def test_an_alias_may_be_for_a_masked_name(bench: Bench) -> None:
    account, client = bench.shown
    bench.edit_aliases(clients=f"{{label: {client}, alias: ci}}", credentials=f"{{label: {account}, alias: team}}")
    assert bench.shown == ("team", "ci")
    assert bench.shown_names.aliases_of_clients() == {PSEUDONYMS.of(_KEY): "ci"}
    assert bench.misfits() == []


@pytest.mark.parametrize(
    "credential",
    [
        "email: alise@example.com",
        "file: claude-alice@example.org.json",
        "auth_index: aa12",
        "label: MASKED0",
    ],
)
def test_an_alias_that_names_no_account_is_reported_with_the_nearest_name(bench: Bench, credential: str) -> None:
    account, _ = bench.shown
    bench.edit_aliases(credentials=f"{{{credential.replace('MASKED', account)}, alias: team}}")
    with capture_logs() as logs:
        assert bench.misfits() == [Misfit("team", False, (account,))]
        bench.misfits()
    assert [(line["event"], line["alias"], line["nearest"]) for line in logs] == [
        ("alias_names_nothing", "team", account)
    ]


@pytest.mark.parametrize(("client", "near"), [("key: sk-client-of-a-tesd", True), ("key: quite-another", False)])
def test_an_alias_that_names_no_client_is_reported_with_the_nearest_name(bench: Bench, client: str, near: bool) -> None:
    masked = bench.shown[1]
    bench.edit_aliases(clients=f"{{{client}, alias: ci}}")
    assert bench.misfits() == [Misfit("ci", False, (masked,) if near else ())]


def test_an_alias_for_two_accounts_is_reported_until_one_is_gone(bench: Bench) -> None:
    alice, again = _file("alice@example.com"), _file("alice@example.com", provider="codex", auth_index="bb22")
    bench.meet(alice, again)
    bench.edit_aliases(credentials="{email: alice@example.com, alias: alice}")
    with capture_logs() as logs:
        assert bench.misfits() == [Misfit("alice", True, ("alice-claude", "alice-codex"))]
    assert [(line["event"], line["shown"]) for line in logs] == [("alias_names_several", "alice-claude, alice-codex")]
    bench.meet(alice)
    assert bench.misfits() == []


def test_nothing_is_reported_before_anything_was_met(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    (tmp_path / "c.yaml").write_text("aliases: {clients: [{key: k, alias: a}], credentials: [{file: f, alias: b}]}")
    aliases = read_aliases(tmp_path / "c.yaml")
    shown_names = ShownNames(ledger.name_store, aliases, PSEUDONYMS.of)
    shown_names.note_misfits()
    assert shown_names.misfits == ()
    ledger.close()


def test_of_several_aliases_for_one_account_or_client_the_last_one_counts(bench: Bench) -> None:
    (masked,) = bench.ledger.name_store.clients.values()
    clients = [f"{{key: {_KEY}, alias: by-key}}", f"{{label: {masked}, alias: by-label}}"]
    credentials = ["{email: alice@example.com, alias: by-email}", "{auth_index: aa11, alias: by-index}"]
    bench.edit_aliases(clients=", ".join(clients), credentials=", ".join(credentials))
    assert bench.shown == ("by-index", "by-label")
    bench.edit_aliases(clients=", ".join(reversed(clients)), credentials=", ".join(reversed(credentials)))
    assert bench.shown == ("by-email", "by-key")


def test_a_name_in_use_without_an_alias_is_noticed(bench: Bench) -> None:
    assert bench.shown_names.without_alias
    bench.edit_aliases(clients=f"{{key: {_KEY}, alias: ci}}")
    assert bench.shown_names.without_alias
    bench.edit_aliases(clients=f"{{key: {_KEY}, alias: ci}}", credentials="{auth_index: aa11, alias: team}")
    assert not bench.shown_names.without_alias


def test_a_listed_account_without_an_alias_is_noticed_before_its_first_use(bench: Bench) -> None:
    aliases = "{auth_index: aa11, alias: team}, {email: bob@example.com, alias: bob}"
    bench.edit_aliases(clients=f"{{key: {_KEY}, alias: ci}}", credentials=aliases)
    bench.meet(_file("bob@example.com", auth_index="bb22"), _file("eve@example.com", auth_index="ee55"))
    assert bench.shown_names.without_alias
    bench.meet(_file("bob@example.com", auth_index="bb22"))
    assert not bench.shown_names.without_alias


def _noted(bench: Bench, aliases: str, pseudonyms: Pseudonyms) -> ShownNames:
    """The names that a start with these aliases and this hash key shows."""
    bench.file.write_text(f"aliases: {{clients: [{aliases}]}}")
    shown_names = ShownNames(bench.ledger.name_store, read_aliases(bench.file), pseudonyms.of)
    bench.ledger.note_aliases(shown_names.aliases_of_clients(), key_sign=sign_of_key(pseudonyms.of))
    return shown_names


def test_a_client_keeps_its_alias_under_another_hash_key(bench: Bench) -> None:
    aliases, (client,) = f"{{key: {_KEY}, alias: ci}}, {{key: k2, alias: new}}", bench.ledger.name_store.clients
    for pseudonyms in (PSEUDONYMS, Pseudonyms(b"another key"), Pseudonyms(b"a third key")):
        assert _noted(bench, aliases, pseudonyms).client(client) == "ci"
        assert bench.ledger.name_store.client_ids == {pseudonyms.of(_KEY): client}
    bench.ledger.close()
    reopened = open_ledger(bench.file.parent)
    assert reopened.name_store.client_ids == {pseudonyms.of(_KEY): client}
    reopened.close()


def test_an_alias_that_goes_to_another_key_leaves_its_client(bench: Bench) -> None:
    masked, (client,) = bench.shown[1], bench.ledger.name_store.clients
    _noted(bench, f"{{key: {_KEY}, alias: ci}}", PSEUDONYMS)
    assert _noted(bench, "{key: k2, alias: ci}", PSEUDONYMS).client(client) == masked
    assert _noted(bench, "{key: k2, alias: ci}", Pseudonyms(b"another key")).client(client) == masked
