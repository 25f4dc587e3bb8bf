"""One test of many things, because pytest's own work for a test takes longer than a look at a panel, file or rule."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import TypeVar

Item = TypeVar("Item")


def of_each(named: Iterable[tuple[str, Item]]) -> Callable[[Callable[[Item], None]], Callable[[], None]]:
    """Turn a check of one item into a test of all. It fails with the name of every item that fails, and why."""
    items = list(named)

    def decorate(check: Callable[[Item], None]) -> Callable[[], None]:
        @wraps(check)
        def test() -> None:
            failures: list[Exception] = []
            for name, item in items:
                try:
                    check(item)
                except Exception as exc:  # noqa: BLE001 - raised below, with those of the other items
                    exc.add_note(name)
                    failures.append(exc)
            if failures:
                raise ExceptionGroup(", ".join(name for exc in failures for name in exc.__notes__), failures)
            assert items, "there is nothing to check"

        del test.__wrapped__  # whose argument pytest would take for a fixture
        return test

    return decorate
