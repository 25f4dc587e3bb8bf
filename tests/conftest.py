"""The order of the tests: files that take long are begun first, so that none of them is alone at the end."""

from pathlib import Path

import pytest

LONGEST_FIRST = (
    "integration/test_kill.py",
    "integration/test_notification.py",
    "integration/supabase/test_faults.py",
    "integration/test_increase.py",
    "integration/test_any_moment.py",
    "integration/test_dashboards.py",
    "integration/test_upgrade.py",
    "integration/test_limits_command.py",
    "integration/test_prices.py",
    "integration/test_process.py",
    "integration/supabase/test_limits.py",
    "integration/supabase/test_limit_status.py",
    "integration/supabase/test_restore.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    places = {here / name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))
