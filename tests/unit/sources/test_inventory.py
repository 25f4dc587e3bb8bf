"""A credential stays itself over upgrades of CPA, restarts and renames, whichever source names it first."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from exporter.errors import BadAnswerError
from exporter.ledger.database import FILE_NAME
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.normalize.inventory import Account, read_account_ids, read_auth_files, read_key_list, read_key_uses
from exporter.records import Billing, CredentialFacts
from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias
from tests.benches.booking import GOOD, PSEUDONYMS, check_sums, intake_of, open_ledger, take
from tests.fakes.recordings import ROOT, body_of, recorded, secrets

_KEY_LISTS = ("gemini-api-key", "claude-api-key", "codex-api-key", "openai-compatibility", "vertex-api-key")


def _accounts(version: str, moment: str = "after") -> list[Account]:
    uses = read_key_uses(body_of(f"{version}/api-key-usage-{moment}.json"), PSEUDONYMS.of)
    accounts = list(
        read_auth_files(body_of(f"{version}/auth-files-{moment}.json"), PSEUDONYMS.of, received_ms=0).accounts
    )
    for endpoint in (*_KEY_LISTS, "xai-api-key"):
        if (ROOT / f"{version}/management/{endpoint}.json").exists():
            body = body_of(f"{version}/management/{endpoint}.json")
            accounts += read_key_list(endpoint, body, uses=uses, pseudonym=PSEUDONYMS.of).accounts
    return accounts


def _files(*files: dict[str, Any]) -> list[Account]:
    return read_auth_files(json.dumps({"files": list(files)}).encode(), PSEUDONYMS.of, received_ms=0).accounts


def _keys(endpoint: str, *entries: dict[str, Any], uses: dict[str, Any] | None = None) -> list[Account]:
    body = json.dumps({endpoint: list(entries), "further": 5}).encode()
    known = read_key_uses(json.dumps(uses or {}).encode(), PSEUDONYMS.of)
    return read_key_list(endpoint, body, uses=known, pseudonym=PSEUDONYMS.of).accounts


_ALICE = {
    "name": "claude-alice@example.com.json",
    "provider": "claude",
    "email": "Alice@Example.com",
    "auth_index": "aaaaaaaaaaaaaaaa",
    "account_type": "oauth",
    "status": "active",
    "success": 5,
    "failed": 1,
}


# --- reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v7.1.0", "v7.2.140"])
def test_recorded_inventories_are_read(version: str) -> None:
    accounts = _accounts(version)
    providers = {account.facts.provider for account in accounts}
    assert {"claude", "codex", "antigravity", "kimi", "xai", "gemini", "vertex"} <= providers
    assert "openai-compatible-openrouter-fake" in providers
    for account in accounts:
        expected = Billing.METERED if account.auth_type == "api_key" else Billing.SUBSCRIPTION
        assert account.facts.billing is expected
        assert account.success is not None
    plans = {account.plan for account in accounts if account.facts.provider == "codex" and account.status}
    assert plans == {"plus", "team"}


def test_every_auth_index_of_the_records_is_in_the_inventory() -> None:
    known = {account.auth_index for account in _accounts("v7.2.140")}
    for batch in ("seeded-part1", "failures-by-status", "openai-compat", "kimi-oauth"):
        records = recorded(f"v7.2.140/usage-queue/{batch}.json")["body"]
        assert {record["auth_index"] for record in records} <= known


@pytest.mark.parametrize("odd", ["Dev@Example.com", "sk-live-5f", "free plan of Dev", "x" * 33])
def test_a_plan_that_is_no_word_of_a_provider_is_not_kept(odd: str) -> None:
    (account,) = _files(_ALICE | {"id_token": {"plan_type": odd}})
    assert account.plan == "other"


@pytest.mark.parametrize("body", [b"[]", b"<html>", b'{"files": 5}', b'{"files": {}}', b""])
def test_another_shape_is_an_error_that_quotes_nothing(body: bytes) -> None:
    with pytest.raises(BadAnswerError, match="shape"):
        read_auth_files(body, PSEUDONYMS.of, received_ms=0)


def test_a_malformed_use_of_keys_does_not_name_the_key() -> None:
    with pytest.raises(BadAnswerError) as raised:
        read_key_uses(b'{"claude": {}, "https://x|sk-secret": ["sk-secret"]}', PSEUDONYMS.of)
    assert "sk-secret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_nulls_and_missing_fields_are_harmless_anywhere() -> None:
    assert read_auth_files(b'{"files": null}', PSEUDONYMS.of, received_ms=0).accounts == []
    assert _files({"name": None}, {}) == []
    (account,) = _files(
        {"name": "x.json", "provider": None, "status": None, "next_retry_after": "0001-01-01T00:00:00Z"}
    )
    assert (account.facts.provider, account.status, account.retry_ms) == ("unknown", "other", None)
    assert _keys("claude-api-key", {"api-key": None, "auth-index": None}) == []


@pytest.mark.parametrize(
    "odd",
    [{"id_token": "text"}, {"success": 1.5}, {"status": [1]}, {"email": ["a", "b"]}, {"name": {}}, {"provider": 5}],
)
def test_an_odd_entry_costs_only_itself(odd: dict[str, Any]) -> None:
    read = read_auth_files(json.dumps({"files": [_ALICE, _ALICE | odd, 5]}).encode(), PSEUDONYMS.of, received_ms=0)
    assert (len(read.accounts), read.unread) == (1, 2)
    keys = json.dumps({"claude-api-key": [{"api-key": "sk-1"}, {"api-key": [1]}, "x"]}).encode()
    read = read_key_list("claude-api-key", keys, uses={}, pseudonym=PSEUDONYMS.of)
    assert (len(read.accounts), read.unread) == (1, 2)


@pytest.mark.parametrize("endpoint", ["claude-api-key", "openai-compatibility"])
@pytest.mark.parametrize(
    ("lists", "unread"),
    [
        pytest.param({}, 0, id="no list"),
        pytest.param({"LIST": None}, 0, id="null"),
        pytest.param({"LIST": [{}]}, 0, id="an entry without anything"),
        pytest.param({"LIST": [None, "x"]}, 2, id="no entries"),
    ],
)
def test_a_list_without_keys_costs_nothing(endpoint: str, lists: dict[str, Any], unread: int) -> None:
    body = json.dumps(lists).replace("LIST", endpoint).encode()
    read = read_key_list(endpoint, body, uses={}, pseudonym=PSEUDONYMS.of)
    assert (read.accounts, read.unread) == ([], unread)


def test_the_use_of_one_key_at_two_providers_is_kept_apart() -> None:
    uses = {"claude": {"u|sk-1": {"success": 5}}, "codex": {"u|sk-1": {"success": 7}, "v|sk-1": {"failed": 2}}}
    (claude,) = _keys("claude-api-key", {"api-key": "sk-1"}, uses=uses)
    (codex,) = _keys("codex-api-key", {"api-key": "sk-1"}, uses=uses)
    assert (claude.success, claude.failed, codex.success, codex.failed) == (5, 0, 7, 2)


def test_the_use_of_a_key_that_one_provider_has_is_found_under_another_name() -> None:
    """Before CPA 7.2.26 the use of a compatible upstream stands below a name that is not in its list."""
    entry = {"name": "relay", "api-key-entries": [{"api-key": "sk-1"}]}
    (account,) = _keys("openai-compatibility", entry, uses={"openai-compatibility": {"u|sk-1": {"success": 5}}})
    assert account.success == 5


def test_a_file_without_a_name_is_known_by_its_id() -> None:
    one, other = _files({"id": "a.json"}, {"id": "b.json"})
    assert one.identity != other.identity


def test_keys_of_the_interactions_api_have_the_provider_that_records_have() -> None:
    (account,) = _keys("interactions-api-key", {"api-key": "sk-1"})
    assert account.facts.provider == "gemini-interactions"


def test_an_upstream_that_needs_no_key_is_known_by_its_own_handle() -> None:
    local = {"name": "ollama", "base-url": "http://localhost:11434/v1", "models": [], "auth-index": "c" * 16}
    (account,) = _keys("openai-compatibility", local, uses={"ollama": {"http://other|": {"success": 1, "failed": 0}}})
    assert (account.auth_index, account.facts.provider) == ("c" * 16, "openai-compatible-ollama")
    assert (account.identity, account.names, account.success) == (None, (), None)


def test_the_use_of_one_key_at_two_upstreams_is_kept_apart_whatever_their_capitals() -> None:
    uses = {name: {"u|sk-1": {"success": number}} for name, number in (("relay", 5), ("openrouter", 7))}
    (account,) = _keys(
        "openai-compatibility", {"name": "OpenRouter", "api-key-entries": [{"api-key": "sk-1"}]}, uses=uses
    )
    assert (account.facts.provider, account.success) == ("openai-compatible-openrouter", 7)


def test_a_vertex_service_account_is_charged_although_it_is_a_file() -> None:
    (account,) = _files({"name": "vertex.json", "provider": "vertex", "account_type": "oauth"})
    assert account.facts.billing is Billing.METERED


# --- in the ledger ------------------------------------------------------------------------------------------------


def _shown_names(ledger: Ledger, aliases: Aliases | None = None) -> ShownNames:
    return ShownNames(ledger.name_store, aliases or Aliases(), PSEUDONYMS.of)


def _shown(ledger: Ledger, aliases: Aliases | None = None) -> dict[str, int]:
    """Requests by shown credential."""
    shown_names, shown = _shown_names(ledger, aliases), dict[str, int]()
    for series, numbers in ledger.totals.series.items():
        name = shown_names.credential(ledger.name_store.series[series].credential)
        shown[name] = shown.get(name, 0) + numbers[0]
    return shown


def _request(auth_index: str, number: int, **more: Any) -> dict[str, Any]:
    return GOOD | {"auth_index": auth_index, "request_id": f"{number:08x}"} | more


@pytest.mark.parametrize("first", ["record", "inventory"])
def test_record_and_inventory_find_one_credential_whichever_comes_first(tmp_path: Path, first: str) -> None:
    ledger = open_ledger(tmp_path)
    if first == "inventory":
        ledger.take_inventory("p", _files(_ALICE))
    take(intake_of(ledger), [_request("aaaaaaaaaaaaaaaa", 1)])
    ledger.take_inventory("p", _files(_ALICE))
    take(intake_of(ledger), [_request("aaaaaaaaaaaaaaaa", 2)])
    assert list(_shown(ledger).values()) == [2]


def test_an_upgrade_that_changes_every_auth_index_changes_no_name(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.take_inventory("p", _files(_ALICE))
    take(intake_of(ledger), [_request("aaaaaaaaaaaaaaaa", 1)])
    ledger.take_inventory("p", _files(_ALICE | {"auth_index": "bbbbbbbbbbbbbbbb"}))
    take(intake_of(ledger), [_request("bbbbbbbbbbbbbbbb", 2)])
    assert list(_shown(ledger).values()) == [2]

    ledger.close()
    assert list(_shown(open_ledger(tmp_path)).values()) == [2]


def test_two_findings_of_one_account_are_merged_under_one_name(tmp_path: Path) -> None:
    """The account was known; then a record with its new auth_index arrived before the next inventory."""
    ledger = open_ledger(tmp_path)
    ledger.take_inventory("p", _files(_ALICE))
    take(intake_of(ledger), [_request("aaaaaaaaaaaaaaaa", 1)])
    take(intake_of(ledger), [_request("bbbbbbbbbbbbbbbb", 2)])
    assert sorted(_shown(ledger).values()) == [1, 1]
    ledger.take_inventory("p", _files(_ALICE | {"auth_index": "bbbbbbbbbbbbbbbb"}))
    assert list(_shown(ledger).values()) == [2]
    check_sums(ledger)
    ledger.close()
    assert list(_shown(open_ledger(tmp_path)).values()) == [2]


def test_one_key_under_two_addresses_is_one_credential(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    entries = [{"api-key": "sk-1", "base-url": f"http://{n}", "auth-index": n * 16} for n in "ab"]
    ledger.take_inventory("p", _keys("claude-api-key", *entries))
    take(intake_of(ledger), [_request("a" * 16, 1), _request("b" * 16, 2)])
    assert list(_shown(ledger).values()) == [2]


def test_two_accounts_of_one_address_stay_two(tmp_path: Path) -> None:
    """A plus and a team account of one person, for example."""
    ledger = open_ledger(tmp_path)
    plus = _ALICE | {"name": "codex-plus.json", "provider": "codex", "auth_index": "b" * 16, "success": 100}
    plus["id_token"] = {"chatgpt_account_id": "acc-1"}
    team = plus | {"name": "codex-team.json", "auth_index": "c" * 16, "success": 30}
    team["id_token"] = {"chatgpt_account_id": "acc-2"}
    for _ in range(3):
        ledger.take_inventory("p", _files(plus, team))
        assert sorted(count.success for count in ledger.totals.attempts.values()) == [30, 100]
    take(intake_of(ledger), [_request("b" * 16, 1), _request("c" * 16, 2)])
    alias = CredentialAlias(email=SecretStr("alice@example.com"), alias="Alice")
    shown = _shown(ledger, Aliases(credentials=(alias,)))
    assert sorted(shown.values()) == [1, 1]
    assert all(name.startswith("Alice-codex-") for name in shown)


def test_one_key_at_two_providers_is_two_credentials(tmp_path: Path) -> None:
    """The key of a relay: each record must be read and priced by its own provider."""
    ledger = open_ledger(tmp_path)
    ledger.take_inventory(
        "p",
        [
            *_keys("claude-api-key", {"api-key": "sk-relay", "auth-index": "a" * 16}),
            *_keys(
                "openai-compatibility",
                {"name": "relay", "api-key-entries": [{"api-key": "sk-relay", "auth-index": "b" * 16}]},
            ),
        ],
    )
    old = {name: value for name, value in _request("a" * 16, 1).items() if name != "executor_type"}
    take(intake_of(ledger), [old | {"tokens": {"input_tokens": 1000, "cache_read_tokens": 50_000}}])
    (numbers,) = ledger.totals.series.values()
    assert (numbers[1], numbers[3]) == (51_000, 50_000)
    assert {route.provider for route in ledger.name_store.routes.values()} == {"claude"}
    named = CredentialAlias(key=SecretStr("sk-relay"), alias="relay")
    assert set(_shown(ledger, Aliases(credentials=(named,)))) == {"relay-claude"}


@pytest.mark.parametrize("name", ["relay", "Relay", "openai-compatible-relay"])
def test_a_handle_of_two_credentials_finds_each_in_any_spelling_of_its_provider(tmp_path: Path, name: str) -> None:
    ledger = open_ledger(tmp_path)
    both = [
        *_keys("claude-api-key", {"api-key": "sk-relay", "auth-index": "a" * 16}),
        *_keys(
            "openai-compatibility",
            {"name": "relay", "api-key-entries": [{"api-key": "sk-relay", "auth-index": "a" * 16}]},
        ),
    ]
    for number in range(5):
        ledger.take_inventory("p", both)
        take(intake_of(ledger), [_request("a" * 16, number, provider=name, executor_type="OpenAICompatExecutor")])
    assert list(_shown(ledger).values()) == [5]
    assert len(ledger.name_store.series) == 1
    assert ledger.name_store.is_listed("p", "a" * 16)
    named = CredentialAlias(auth_index="a" * 16, alias="relay")
    assert set(_shown(ledger, Aliases(credentials=(named,)))) == {"relay-openai-compatible-relay"}


def test_an_incomplete_inventory_makes_no_account_new(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.take_inventory("p", _keys("claude-api-key", {"api-key": "sk-1"}), whole=False)
    ledger.take_inventory("p", _files(_ALICE | {"success": 250_000}))
    assert not ledger.births.pending, "it had counted before we met it"


_SHARED = {"api-key": "sk-relay", "base-url": "https://relay.example", "auth-index": "a" * 16}
_SHARED_USES = {
    "claude": {"https://relay.example|sk-relay": {"success": 5, "failed": 0}},
    "codex": {"https://relay.example|sk-relay": {"success": 9, "failed": 1}},
}


def test_one_handle_at_two_providers_is_two_credentials_and_each_record_finds_its_own(tmp_path: Path) -> None:
    """From CPA 7.0.0 on, entries with the same base URL and key have the same auth_index, in whichever list."""
    ledger = open_ledger(tmp_path)
    claude, codex = (_keys(f"{name}-api-key", _SHARED, uses=_SHARED_USES) for name in ("claude", "codex"))
    ledger.take_inventory("p", claude)  # the other entry is added later
    records = [
        _request("a" * 16, 1, auth_type="apikey"),
        _request("a" * 16, 2, auth_type="apikey", provider="codex", executor_type="CodexExecutor", model="gpt-5"),
        _request("a" * 16, 3, auth_type="apikey", provider="codex", executor_type="CodexExecutor", model="gpt-5"),
    ]
    take(intake_of(ledger), records[:1])
    ledger.take_inventory("p", [*claude, *codex])
    take(intake_of(ledger), records[1:2])
    ledger.take_inventory("p", claude, whole=False)  # one list could not be read
    ledger.close()
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), records[2:])

    assert {(route.provider, route.model) for route in ledger.name_store.routes.values()} == {
        ("claude", "claude-sonnet-4-5"),
        ("codex", "gpt-5"),
    }
    named = CredentialAlias(key=SecretStr("sk-relay"), alias="relay")
    assert _shown(ledger, Aliases(credentials=(named,))) == {"relay-claude": 1, "relay-codex": 2}
    assert sorted((count.success, count.failed) for count in ledger.totals.attempts.values()) == [(5, 0), (9, 1)]
    check_sums(ledger)


def test_a_kimi_account_named_like_claude_is_a_kimi_account_read_like_claude(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.take_inventory("p", _files({"name": "kimi-frank.json", "provider": "kimi", "auth_index": "k" * 16}))
    tokens = {"input_tokens": 10, "cache_read_tokens": 100, "output_tokens": 1}
    take(intake_of(ledger), [_request("k" * 16, 1, model="kimi-k2.5", tokens=tokens)])
    (numbers,) = ledger.totals.series.values()
    assert numbers[1] == 110, "Claude counts cache reads beside the input"
    assert {route.provider for route in ledger.name_store.routes.values()} == {"kimi"}


def test_a_compatible_upstream_named_claude_is_not_claude(tmp_path: Path) -> None:
    """Before CPA 7.1.38 the record has no executor, and before 7.2.21 its provider is the upstream's bare name."""
    ledger = open_ledger(tmp_path)
    upstream = {"name": "claude", "api-key-entries": [{"api-key": "sk-1", "auth-index": "c" * 16}]}
    ledger.take_inventory("p", _keys("openai-compatibility", upstream))
    old = {name: value for name, value in _request("c" * 16, 1).items() if name != "executor_type"}
    take(intake_of(ledger), [old | {"auth_type": "apikey", "tokens": {"input_tokens": 110, "cached_tokens": 100}}])
    (numbers,) = ledger.totals.series.values()
    assert (numbers[1], numbers[3]) == (110, 100), "cached tokens are inside the input"
    assert {route.provider for route in ledger.name_store.routes.values()} == {"openai-compatible-claude"}
    assert {billing for _, _, billing in ledger.totals.costs} == {Billing.METERED}


def test_an_upstream_has_one_name_before_and_after_it_is_listed(tmp_path: Path) -> None:
    """CPA's records have it in small letters, the list of keys as it was typed."""
    ledger = open_ledger(tmp_path)
    upstream = {"name": " OpenRouter", "api-key-entries": [{"api-key": "sk-1", "auth-index": "c" * 16}]}
    record = {
        "provider": "openai-compatible-openrouter",
        "executor_type": "OpenAICompatExecutor",
        "auth_type": "apikey",
    }
    take(intake_of(ledger), [_request("c" * 16, 1, **record)])
    ledger.take_inventory("p", _keys("openai-compatibility", upstream))
    take(intake_of(ledger), [_request("c" * 16, 2, **record)])
    assert {route.provider for route in ledger.name_store.routes.values()} == {"openai-compatible-openrouter"}


def test_an_upstream_that_an_older_version_knew_with_its_capitals_keeps_name_and_counts(tmp_path: Path) -> None:
    """Its handle may have changed meanwhile, as with an update of CPA."""
    ledger = open_ledger(tmp_path)
    (listed,) = _keys("openai-compatibility", {"name": "OpenRouter", "api-key-entries": [{"api-key": "sk-1"}]})
    typed = CredentialFacts(provider="openai-compatible-OpenRouter", billing=Billing.METERED, openai_compatible=True)
    place = ("key", f"{PSEUDONYMS.of('sk-1')}/openai-compatible-OpenRouter")
    ledger.take_inventory("p", [replace(listed, facts=typed, identity=place, auth_index="c" * 16, success=5)])
    ledger.take_inventory("p", [replace(listed, auth_index="d" * 16, success=7)])
    (known,) = ledger.name_store.credentials.values()
    assert known.provider == "openai-compatible-openrouter"
    assert ledger.totals.attempts[known.id].success == 7


def test_records_without_a_handle_go_by_their_account_unless_it_is_the_clients_key(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    take(
        intake_of(ledger),
        [
            _request("", 1, provider="plugin", source="one@example.com"),
            _request("", 2, provider="plugin", source="two@example.com"),
            _request("", 3, provider="plugin", source="sk-client"),
            _request("", 4, provider="plugin", source="sk-other", api_key="sk-other"),
        ],
    )
    assert sorted(_shown(ledger).values()) == [1, 1, 2]
    assert _shown(ledger)["plugin-unidentified"] == 2


# --- the proxy's own counts ---------------------------------------------------------------------------------------


def _attempts(ledger: Ledger, success: int, failed: int, **more: Any) -> tuple[int, int]:
    ((id_, _),) = ledger.take_inventory("p", _files(_ALICE | {"success": success, "failed": failed} | more))
    counted = ledger.totals.attempts[id_]
    return counted.success, counted.failed


def test_attempts_continue_over_restarts_of_both(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert _attempts(ledger, 100, 10) == (100, 10), "what the proxy had counted before we met it"
    assert _attempts(ledger, 103, 10) == (103, 10)
    ledger.close()
    ledger = open_ledger(tmp_path)
    assert _attempts(ledger, 105, 11) == (105, 11)
    assert _attempts(ledger, 2, 0) == (107, 11), "the proxy started anew"
    assert _attempts(ledger, 2, 0) == (107, 11)
    assert _attempts(ledger, 200, 0) == (305, 11)
    assert _attempts(ledger, 300, -5) == (405, 11), "no proxy counts below 0"


def test_the_accounts_of_another_proxy_stay_listed(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for proxy in ("p", "q"):
        ledger.take_inventory(proxy, _files(_ALICE))
    assert [credential.gone for credential in ledger.name_store.credentials.values()] == [False, False]


def test_an_account_is_born_only_at_a_known_proxy(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.take_inventory("p", _files(_ALICE))
    assert not ledger.births.pending
    bob = _ALICE | {"name": "claude-bob.json", "auth_index": "b" * 16, "success": 3}
    ledger.take_inventory("p", _files(_ALICE, bob))
    assert [key[0] for key in ledger.births.pending] == ["a"]


# --- names --------------------------------------------------------------------------------------------------------


def test_an_alias_is_found_by_key_email_file_and_auth_index(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.take_inventory("p", _files(_ALICE))
    ledger.take_inventory("p", _keys("claude-api-key", {"api-key": "sk-1", "auth-index": "c" * 16}))
    take(intake_of(ledger), [_request("a" * 16, 1), _request("c" * 16, 2)])
    masked = set(_shown(ledger))
    assert not any("alice" in name or "sk-1" in name for name in masked)
    for who in (
        CredentialAlias(email=SecretStr("alice@example.com"), alias="Alice"),
        CredentialAlias(file=SecretStr("claude-alice@example.com.json"), alias="Alice"),
        CredentialAlias(auth_index="a" * 16, alias="Alice"),
    ):
        shown = _shown(ledger, Aliases(credentials=(who, CredentialAlias(key=SecretStr("sk-1"), alias="team"))))
        assert shown == {"Alice": 1, "team": 1}
    assert set(_shown(ledger)) == masked, "without the alias the masked name is what it was"


def test_one_account_at_two_proxies_has_its_alias_at_both(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for proxy in ("p", "q"):
        ledger.take_inventory(proxy, _files(_ALICE))
        take(intake_of(ledger, proxy), [_request("a" * 16, 1)])
    alice = CredentialAlias(email=SecretStr("alice@example.com"), alias="Alice")
    assert _shown(ledger, Aliases(credentials=(alice,))) == {"Alice": 2}


def test_one_address_at_two_providers_gives_two_names(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    codex = _ALICE | {"name": "codex-alice.json", "provider": "codex", "auth_index": "d" * 16}
    ledger.take_inventory("p", _files(_ALICE, codex))
    take(intake_of(ledger), [_request("a" * 16, 1), _request("d" * 16, 2)])
    alias = CredentialAlias(email=SecretStr("alice@example.com"), alias="Alice")
    assert _shown(ledger, Aliases(credentials=(alias,))) == {"Alice-claude": 1, "Alice-codex": 1}


def test_clients_are_aliased_by_key_masked_otherwise_and_anonymous_without_one(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    take(
        intake_of(ledger),
        [_request("a", 1, api_key="sk-1"), _request("a", 2, api_key="sk-2"), _request("a", 3, api_key="")],
    )
    shown_names = _shown_names(ledger, Aliases(clients=(ClientAlias(key=SecretStr("sk-1"), alias="laptop"),)))
    shown = {shown_names.client(series.client) for series in ledger.name_store.series.values()}
    masked = shown - {"laptop", "anonymous"}
    assert len(masked) == 1
    assert masked.pop() == f"client-{PSEUDONYMS.of('sk-2')[:10]}"


# --- secrets ------------------------------------------------------------------------------------------------------


def test_no_planted_secret_is_in_the_file_after_all_recordings(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    intake = intake_of(ledger)
    for version in ("v7.1.0", "v7.2.140"):
        for moment in ("before", "cooldown", "after"):
            ledger.take_inventory("p", _accounts(version, moment))
        for answer in sorted((ROOT / version / "usage-queue").glob("*.json")):
            name = str(answer.relative_to(ROOT))
            if "truth" not in name and isinstance(recorded(name).get("body"), list):
                intake.take(body_of(name))
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    ledger.close()
    content += (tmp_path / FILE_NAME).read_bytes()
    assert [secret for secret in secrets() if secret.encode() in content] == []


# --- what a call about an account needs -------------------------------------------------------------------------------


def test_the_facts_of_a_call_are_those_of_the_account_and_are_not_shown() -> None:
    body = body_of("v7.2.140/auth-files-after.json")
    files = {each["type"]: each for each in recorded("v7.2.140/auth-files-after.json")["body"]["files"]}

    codex = read_account_ids(body, files["codex"]["auth_index"])
    google = read_account_ids(body, files["antigravity"]["auth_index"])

    assert codex is not None
    assert codex.account_id == files["codex"]["id_token"]["chatgpt_account_id"]
    assert google is not None
    assert google.project_id == files["antigravity"]["project_id"]
    assert not any(secret in f"{codex!r} {google!r}" for secret in secrets())


@pytest.mark.parametrize(
    "files",
    [
        pytest.param([], id="none"),
        pytest.param(None, id="null"),
        pytest.param([{"auth_index": "b", "project_id": "p"}], id="another"),
        pytest.param([{"auth_index": "a", "disabled": True}], id="disabled"),
        pytest.param([5, {"auth_index": ["a"]}], id="no accounts"),
    ],
)
def test_an_account_that_is_not_listed_has_no_ids(files: Any) -> None:
    assert read_account_ids(json.dumps({"files": files}).encode(), "a") is None


def test_an_account_is_listed_without_a_readable_project_and_called_without_readable_counts() -> None:
    file = {"name": "a.json", "auth_index": "a", "project_id": ["p"]}
    read = read_auth_files(json.dumps({"files": [file]}).encode(), PSEUDONYMS.of, received_ms=0)
    assert (len(read.accounts), read.unread) == (1, 0)

    ids = read_account_ids(json.dumps({"files": [file | {"project_id": "p", "success": 1.5}]}).encode(), "a")
    assert ids is not None
    assert ids.project_id == "p"


def test_ids_of_another_shape_are_left_out() -> None:
    with pytest.raises(BadAnswerError):
        read_account_ids(b"[]", "a")
