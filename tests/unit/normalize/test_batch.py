"""What is kept of a record that this version cannot read, so that a later version can."""

import json
from typing import Any

import pytest

from exporter.normalize.batch import read_batch

_UNREADABLE: dict[str, Any] = {
    "timestamp": "2026-11-24T15:00:00Z",
    "model": "m",
    "tokens": "many",
    "source": "someone@example.org",
    "api_key": "sk-planted-client-1",
}


def _kept(**fields: Any) -> Any:
    batch = read_batch(json.dumps([_UNREADABLE | fields]).encode(), pseudonym=lambda value: f"hash{len(value)}")
    (line,) = batch.lines
    return json.loads(line)


def test_its_client_and_credential_are_kept_as_hashes() -> None:
    kept = _kept()
    assert (kept["source"], kept["api_key"]) == ("hash19", "hash19")


@pytest.mark.parametrize(
    ("fail", "kept"),
    [
        ({"status_code": 500, "body": "context canceled"}, {"status_code": 500, "cause": "canceled"}),
        ({"status_code": 500, "body": '{"error": "sk-planted"}'}, {"status_code": 500, "cause": "upstream"}),
        ({"status_code": 500, "body": ["sk-planted"]}, {"status_code": 500, "cause": ""}),
        ({"status_code": "sk-planted"}, {"status_code": ["<str>"], "cause": ""}),
    ],
    ids=[
        "a client that left",
        "an error of the upstream",
        "a body that is no text",
        "a status that is no number: its type",
    ],
)
def test_why_it_failed_is_kept_without_the_error_text(fail: dict[str, Any], kept: dict[str, Any]) -> None:
    assert _kept(fail=fail)["fail"] == kept
