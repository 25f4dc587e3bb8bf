"""A test of many things tries them all, and names those that fail."""

import pytest

from tests.benches.checks import of_each


@of_each([("two", 2), ("one", 1), ("none", 0), ("three", 3)])
def _is_less_than_two(number: int) -> None:
    assert 2 // number > 0
    assert number < 2, "too much"


def test_every_item_that_fails_is_named_with_its_reason() -> None:
    with pytest.raises(ExceptionGroup, match=r"^two, none, three$") as raised:
        _is_less_than_two()

    reasons = [str(exc).partition("\n")[0] for exc in raised.value.exceptions]
    assert reasons[:2] == ["too much", "integer division or modulo by zero"]
    assert [exc.__notes__ for exc in raised.value.exceptions] == [["two"], ["none"], ["three"]]


def test_nothing_to_check_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="nothing to check"):
        of_each(())(lambda _item: None)()
