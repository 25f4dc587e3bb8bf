"""How a proxy's stated version is read."""

import pytest

from exporter.sources.base import parse_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param("v7.2.140", (7, 2, 140), id="image"),
        pytest.param("7.2.140", (7, 2, 140), id="release binary"),
        pytest.param("v7.2.140-3-gabc1234-dirty", (7, 2, 140), id="own build on top of a release"),
        pytest.param("v6.9.8-0", (6, 9, 8), id="fork"),
        pytest.param("v8.0.3+build.7", (8, 0, 3), id="build metadata"),
        pytest.param(" v6.10.8 ", (6, 10, 8), id="spaces"),
        pytest.param("dev", None, id="dev"),
        pytest.param("unknown", None, id="unknown"),
        pytest.param("none", None, id="none"),
        pytest.param("", None, id="empty"),
        pytest.param("7.2", None, id="two numbers"),
        pytest.param("7.2.x", None, id="letters"),
        pytest.param("v7.2.1400000000000000000000", None, id="absurd number"),
        pytest.param("7.2.٣", None, id="other digits"),
    ],
)
def test_a_stated_version_is_read_as_numbers(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version
