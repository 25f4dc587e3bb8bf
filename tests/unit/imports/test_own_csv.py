"""The CSV of our own export: its shown names become clients and credentials again, and no person's name remains."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from exporter import formats
from exporter.errors import ImportFileError
from exporter.imports.items import Item, LeftOut, Misfit
from exporter.imports.own_csv import COLUMNS, Names, read_own_csv
from exporter.ledger.ledger import Ledger
from exporter.ledger.shown_names import ShownNames
from exporter.records import Basis, Billing, Cost, UsageRecord
from exporter.settings.proxies import Aliases, ClientAlias, CredentialAlias
from tests.benches.booking import GOOD, PSEUDONYMS, intake_of, open_ledger, take

LINE: dict[str, Any] = {
    "time": "2026-10-01T12:00:00.250Z",
    "proxy": "p",
    "provider": "claude",
    "model": "claude-sonnet-4-5",
    "credential": "claude-unidentified",
    "client": "anonymous",
    "billing": "subscription",
    "counted": "True",
    "code": "",
    "latency_seconds": "1.5",
    "time_to_first_token_seconds": "0.3",
    "input_tokens": "100",
    "cache_read_tokens": "30",
    "cache_write_tokens": "20",
    "output_tokens": "10",
    "reasoning_tokens": "4",
    "unclassified_tokens": "0",
    "cost_usd": "1.234567891",
    "basis": "exact",
    "unpriced": "",
    "price": "a price",
}
ALIASES = Aliases(
    clients=(ClientAlias(alias="Ann", key=SecretStr("sk-client")), ClientAlias(alias="Bob", key=SecretStr("sk-bob"))),
    credentials=(CredentialAlias(alias="the team's", auth_index=GOOD["auth_index"]),),
)


def _read(folder: Path, *lines: Mapping[str, Any], ledger: Ledger | None = None) -> list[Any]:
    path = folder / "export.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(LINE | dict(line) for line in lines)
    return list(_again(folder, ledger=ledger))


def _again(folder: Path, *, ledger: Ledger | None = None) -> Iterator[Item]:
    ledger = ledger or open_ledger(folder)
    ledger.register("p")
    shown_names = ShownNames(ledger.name_store, ALIASES, PSEUDONYMS.of)
    return read_own_csv(folder / "export.csv", "p", Names(ledger, shown_names, "p", PSEUDONYMS.of))


def _record(folder: Path, *, ledger: Ledger | None = None, **line: Any) -> UsageRecord:
    ((record, _),) = _read(folder, line, ledger=ledger)
    assert isinstance(record, UsageRecord)
    return record


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger with a record of Ann's through the team's account, and one of a client without an alias."""
    ledger = open_ledger(tmp_path)
    take(intake_of(ledger), [GOOD, GOOD | {"api_key": "sk-third", "auth_index": "fedcba9876543210"}])
    return ledger


def test_exports_made_before_a_column_was_added_stay_readable_and_keep_their_identity(tmp_path: Path) -> None:
    """A column that is added to ``Line`` has a default and stays out of the fingerprint."""
    header = (
        "time,proxy,provider,model,credential,client,billing,counted,code,latency_seconds,time_to_first_token_seconds,"
        "input_tokens,cache_read_tokens,cache_write_tokens,output_tokens,reasoning_tokens,unclassified_tokens,cost_usd,"
        "basis,unpriced,price"
    )
    (tmp_path / "export.csv").write_text(f"{header}\n{','.join(LINE.values())}\n", encoding="utf-8")
    (item,) = _again(tmp_path)
    assert isinstance(item, tuple)
    assert isinstance(item[0], UsageRecord)
    assert item[0].fingerprint == 2_090_940_922_085_893_964


def test_a_line_is_the_record_with_its_booked_cost(tmp_path: Path) -> None:
    ((record, cost),) = _read(tmp_path, {})
    assert cost == Cost(1_234_567_891, Basis.EXACT, "a price", "")
    tokens = record.tokens
    assert (tokens.uncached, tokens.cache_read, tokens.cache_write, tokens.output, tokens.reasoning) == (
        50,
        30,
        20,
        10,
        4,
    )
    assert (record.ts_ms, record.latency_ms, record.ttft_ms) == (1_790_856_000_250, 1500, 300)
    assert (record.billing, record.counted, record.code) == (Billing.SUBSCRIPTION, 1, "")


def test_a_text_that_was_made_harmless_gets_its_old_form(tmp_path: Path) -> None:
    assert _record(tmp_path, model="'=cmd|x").model == "=cmd|x"
    for model in ("=cmd|x", "'=cmd|x", "''-x"):
        assert _record(tmp_path, model=formats.harmless(model)).model == model
    assert _record(tmp_path, model="'quoted'").model == "'quoted'"
    assert _record(tmp_path, model="o'-1").model == "o'-1"


def test_names_of_the_ledger_are_its_clients_and_credentials(ledger: Ledger, tmp_path: Path) -> None:
    third = PSEUDONYMS.of("sk-third")
    for shown, client in (("Ann", "sk-client"), (f"client-{third[:10]}", "sk-third"), ("Bob", "sk-bob")):
        assert _record(tmp_path, ledger=ledger, client=shown).client == PSEUDONYMS.of(client)
    for shown, handle in (("the team's", GOOD["auth_index"]), ("claude-fedcba9876", "fedcba9876543210")):
        assert _record(tmp_path, ledger=ledger, credential=shown).auth_index == handle


def test_a_credential_that_records_name_by_its_account_is_that_account(ledger: Ledger, tmp_path: Path) -> None:
    take(intake_of(ledger), [GOOD | {"auth_index": "", "source": "dev@example.com"}])
    (credential,) = (
        each.long_name
        for each in ledger.name_store.credentials.values()
        if PSEUDONYMS.of("dev@example.com")[:6] in each.long_name
    )
    record = _record(tmp_path, ledger=ledger, credential=credential)

    assert (record.auth_index, record.source) == ("", PSEUDONYMS.of("dev@example.com"))


def test_a_client_of_another_ledger_keeps_its_name_and_is_recognized_when_its_key_appears(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    masked = f"client-{PSEUDONYMS.of('sk-client')[:10]}"
    ((record, cost),) = _read(tmp_path, {"client": masked}, ledger=ledger)

    ledger.snapshots.book_details("p", [(record, cost, False)])
    take(intake_of(ledger), [GOOD])

    assert list(ledger.name_store.clients.values()) == [masked]


@pytest.mark.parametrize("column", ["client", "credential"])
@pytest.mark.parametrize("name", ["ann@example.com", "sk-planted-key", "client-of Ann", "client-0123456789 "])
def test_any_other_name_may_be_a_persons_and_becomes_a_pseudonym(column: str, name: str, tmp_path: Path) -> None:
    record = _record(tmp_path, client=name) if column == "client" else _record(tmp_path, credential=name)
    assert name not in repr(record)
    assert PSEUDONYMS.of(name) in (record.client, record.source)


def test_a_line_without_names_gives_a_record_without_names(tmp_path: Path) -> None:
    record = _record(tmp_path)
    assert (record.client, record.source, record.auth_index) == ("", "", "")


def test_lines_of_other_proxies_are_counted(tmp_path: Path) -> None:
    found = _read(tmp_path, {}, {"proxy": "q"}, {"proxy": "r"})
    assert [each.requests for each in found if isinstance(each, LeftOut)] == [1, 1]
    assert len(found) == 3


@pytest.mark.parametrize(
    "line",
    [
        {"time": "2026-10-01T12:00:00"},
        {"time": "yesterday"},
        {"input_tokens": "49"},  # less than the parts that it includes
        {"output_tokens": "-1"},
        {"output_tokens": "many"},
        {"cost_usd": "-1"},
        {"cost_usd": "NaN"},
        {"cost_usd": "1e30"},
        {"code": "a sentence"},
        {"billing": "free"},
        {"model": "m\n"},
        {"counted": "-1"},
        {"counted": "yes"},
        {"price": "a\nprice"},
    ],
    ids=str,
)
def test_a_line_that_no_export_wrote_is_a_misfit(line: Mapping[str, Any], tmp_path: Path) -> None:
    found = _read(tmp_path, line, {})
    assert [isinstance(each, Misfit) for each in found] == [True, False]


def test_a_cut_line_is_a_misfit(tmp_path: Path) -> None:
    _read(tmp_path, {})
    with (tmp_path / "export.csv").open("a", encoding="utf-8") as file:
        file.write("2026-10-01T12:00:00.250Z,p,claude")
    assert [isinstance(each, Misfit) for each in _again(tmp_path)] == [False, True]


def test_a_file_that_a_spreadsheet_saved_may_begin_with_a_mark(tmp_path: Path) -> None:
    saved = _read(tmp_path, {})
    file = tmp_path / "export.csv"
    file.write_text(file.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert list(_again(tmp_path)) == saved


def test_another_file_is_refused(tmp_path: Path) -> None:
    _read(tmp_path)
    (tmp_path / "export.csv").write_text("time,proxy\n", encoding="utf-8")
    with pytest.raises(ImportFileError, match="its header lacks provider, model"):
        list(_again(tmp_path))
