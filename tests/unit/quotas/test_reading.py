"""What windows and their scopes are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.quotas.reading import MAX_SLUG, slugged, window_name


@pytest.mark.parametrize(
    ("seconds", "name"),
    [(18_000, "5h"), (604_800, "7d"), (86_400, "1d"), (28 * 86_400, "month"), (31 * 86_400, "month"), (90, "90s")],
)
def test_a_window_is_named_in_the_largest_unit_that_fits(seconds: int, name: str) -> None:
    assert window_name(seconds) == name


@given(st.text(max_size=60))
def test_a_slug_is_a_harmless_label(text: str) -> None:
    slug = slugged(text)

    assert len(slug) <= MAX_SLUG
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-")
    assert slugged(slug) == slug
