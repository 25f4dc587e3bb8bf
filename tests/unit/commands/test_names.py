"""The part of a key that the exporter shows, and which accounts have an alias already."""

from pathlib import Path

import pytest

from exporter.commands.names import _end_of, _Owners
from exporter.ledger.shown_names import ShownNames
from exporter.normalize.inventory import Account
from exporter.records import CredentialFacts
from exporter.settings.proxies import Aliases, CredentialAlias
from exporter.sources.inventory import Names
from tests.benches.booking import GOOD, PSEUDONYMS, intake_of, open_ledger, take


@pytest.mark.parametrize(
    ("key", "shown"), [("sk-demo-client-maria-5b20", "key …5b20"), ("a-short-key", "key …"), ("", "key …")]
)
def test_a_long_key_shows_its_last_four_characters(key: str, shown: str) -> None:
    assert _end_of(key) == shown


def test_accounts_that_share_an_email_address_are_told_apart_by_their_files(tmp_path: Path) -> None:
    """An alias by the address would name both."""
    emails = {"a": "team@example.com", "b": "team@example.com", "c": "own@example.com"}
    accounts = [
        Account(
            facts=CredentialFacts(provider="claude"),
            identity=("file", PSEUDONYMS.of(f"{handle}.json")),
            names=(("email", PSEUDONYMS.of(email)), ("file", PSEUDONYMS.of(f"{handle}.json"))),
            auth_index=handle * 16,
            auth_type="oauth",
            account_id=handle,
        )
        for handle, email in emails.items()
    ]
    raw = {PSEUDONYMS.of(text): text for text in (*emails.values(), *(f"{handle}.json" for handle in emails))}
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    ledger.take_inventory("p", accounts)
    shown_names = ShownNames(ledger.name_store, Aliases(), PSEUDONYMS.of)
    found = _Owners(ledger, shown_names).credentials("p", Names(accounts, raw=raw))
    ledger.close()

    suggested = [each.suggestion for each in found if each.suggestion is not None]
    assert [(each.kind, each.value) for each in suggested] == [
        ("file", "a.json"),
        ("file", "b.json"),
        ("email", "own@example.com"),
    ]


def test_an_alias_by_the_label_of_a_merged_account_is_the_accounts(tmp_path: Path) -> None:
    email = PSEUDONYMS.of("dev@example.com")
    account, another = (
        Account(
            facts=CredentialFacts(provider="claude"),
            identity=("file", PSEUDONYMS.of(f"{handle}.json")),
            names=(("email", email),),
            auth_index=handle * 16,
            auth_type="oauth",
        )
        for handle in ("a", "b")
    )
    ledger = open_ledger(tmp_path)
    ledger.register("p")
    ledger.take_inventory("p", [account])
    take(intake_of(ledger), [GOOD | {"auth_index": another.auth_index}])  # it is not listed yet
    aliases = Aliases(credentials=(CredentialAlias(label="claude-bbbb", alias="mine"),))
    shown_names = ShownNames(ledger.name_store, aliases, PSEUDONYMS.of)
    for _ in range(2):
        ledger.take_inventory("p", [account, another])
    (named,) = _Owners(ledger, shown_names).credentials("p", Names([account, another], raw={email: "dev@example.com"}))
    ledger.close()
    assert (named.shown, named.suggestion) == ("mine", None)
