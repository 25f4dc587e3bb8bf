"""The JSON of CPA's /usage/export."""

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.errors import ImportFileError
from exporter.imports.cpa_export import read_cpa_export
from exporter.imports.items import Item, LeftOut, Misfit
from exporter.normalize.wire_record import Wire
from tests.benches.booking import PSEUDONYMS
from tests.fakes.recordings import body_of

DETAIL = {"timestamp": "2026-04-01T09:15:02.5+08:00", "source": "dev@example.com", "tokens": {"input_tokens": 1}}


def _file(folder: Path, models: Any, **head: Any) -> list[Item]:
    path = folder / "usage.json"
    path.write_text(json.dumps({"version": 1, **head, "usage": {"apis": {"sk-client-1": {"models": models}}}}), "utf-8")
    return list(read_cpa_export(path, PSEUDONYMS.of))


@pytest.mark.parametrize("version", ["v6.6.96", "v6.9.49"])
def test_the_recorded_export_is_read(version: str, tmp_path: Path) -> None:
    path = tmp_path / "usage.json"
    path.write_bytes(body_of(f"{version}/usage/export.json"))
    body = json.loads(path.read_bytes())

    found = list(read_cpa_export(path, PSEUDONYMS.of))

    assert len(found) == body["usage"]["total_requests"]
    assert all(isinstance(each, Wire) for each in found)


def test_keys_and_accounts_become_pseudonyms(tmp_path: Path) -> None:
    (wire,) = _file(tmp_path, {"m": {"details": [DETAIL]}})
    assert isinstance(wire, Wire)
    assert (wire.api_key, wire.source) == (PSEUDONYMS.of("sk-client-1"), PSEUDONYMS.of("dev@example.com"))


def test_a_detail_of_another_shape_is_a_misfit(tmp_path: Path) -> None:
    found = _file(tmp_path, {"m": {"details": [DETAIL, {"tokens": "sk-planted"}, 7]}})
    assert [type(each) for each in found] == [Wire, Misfit, Misfit]
    assert b"sk-planted" not in b"".join(each.line for each in found if isinstance(each, Misfit))


@pytest.mark.parametrize("details", [[], None, [DETAIL]])
def test_requests_that_only_the_totals_contain_are_counted(details: Any, tmp_path: Path) -> None:
    *found, left_out = _file(tmp_path, {"m": {"total_requests": 5, "details": details}})
    assert isinstance(left_out, LeftOut)
    assert len(found) + left_out.requests == 5


@pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"version": 1}', '{"usage": {"apis": [1]}}', '{"usage": 3}'])
def test_other_files_are_refused_without_quoting_them(text: str, tmp_path: Path) -> None:
    path = tmp_path / "usage.json"
    path.write_text(text + " ", "utf-8")
    with pytest.raises(ImportFileError, match="is not the JSON of CPA"):
        list(read_cpa_export(path, PSEUDONYMS.of))


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFileError, match="version 2"):
        _file(tmp_path, {}, version=2)
