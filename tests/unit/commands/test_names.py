"""The part of a key that the exporter shows."""

import pytest

from exporter.commands.names import _end_of


@pytest.mark.parametrize(
    ("key", "shown"), [("sk-demo-client-maria-5b20", "key …5b20"), ("a-short-key", "key …"), ("", "key …")]
)
def test_a_long_key_shows_its_last_four_characters(key: str, shown: str) -> None:
    assert _end_of(key) == shown
