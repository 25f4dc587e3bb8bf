"""What is shown of a key."""

import pytest

from exporter.commands.names import _end_of


@pytest.mark.parametrize(
    ("key", "shown"), [("sk-demo-client-maria-5b20", "key …5b20"), ("a-short-key", "key …"), ("", "key …")]
)
def test_of_a_key_its_last_four_characters_are_shown_if_it_is_long(key: str, shown: str) -> None:
    assert _end_of(key) == shown
