"""How versions are written, and which handle a credential has in which version."""

import pytest

from exporter.simulator.versions import parse_version, version_number
from exporter.simulator.world import CREDENTIALS, Credential


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("6.9", "v6.9.49"),
        ("6.6", "v6.6.96"),
        ("7", "v7.2.140"),
        ("8", "v8.0.3"),
        ("v6.9.38", "v6.9.38"),
        ("6.10.8", "v6.10.8"),
        (" V7.2.140 ", "v7.2.140"),
        ("8.0.11", "v8.0.11"),
    ],
)
def test_a_version_can_be_written_short_or_in_full(text: str, version: str) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize("text", ["", "6", "newest", "dev", "5.1.0", "6.11.0", "7.3.0", "6.9.49.1", "v6.9.x", "9"])
def test_another_version_is_refused_with_what_is_known(text: str) -> None:
    with pytest.raises(ValueError, match=r"It knows 6\.6, 6\.9, .* such as v6\.9\.49"):
        parse_version(text)


@pytest.mark.parametrize("credential", CREDENTIALS, ids=lambda each: each.name)
def test_upgrades_change_the_handles_as_cpa_did(credential: Credential) -> None:
    handle, is_key = credential.auth_index_at, credential.kind == "apikey"

    assert (handle((6, 8, 53)) != handle((6, 8, 54))) is is_key, "the recordings show the same handles of accounts"
    assert handle((6, 8, 54)) == handle((6, 10, 9)) != handle((7, 0, 0)) == handle((7, 2, 140))


def test_versions_compare_as_numbers() -> None:
    assert version_number("v6.10.0") > version_number("v6.9.49")
