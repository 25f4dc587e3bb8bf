"""The generated pages say what the code says."""

import re
from pathlib import Path

import pytest

from exporter.metrics.credentials import CREDENTIAL_ROOM, QUOTA_FETCHES, QUOTAS
from exporter.metrics.exporter import HISTORY
from exporter.metrics.limits import CAPACITY, POOL_EMPTY
from exporter.metrics.prices import PRICE_FEED
from tests.stack.pages.reference import FAMILIES, PAGES, main, pages

ROOT = Path(__file__).resolve().parent.parent.parent.parent
GOLDEN = ROOT / "tests" / "golden" / "metrics.txt"


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_up_to_date(page: str) -> None:
    path = ROOT / page
    assert path.read_text(encoding="utf-8") == pages(ROOT)[path], "run make docs"


def test_the_command_writes_the_compared_pages(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    rows = r"^(\| `(internal_error|cliproxy_up|LOG_LEVEL|poller\.py)` \||#LOG_LEVEL=).*\n"
    for page, text in pages(ROOT).items():
        stale = re.sub(rows, "", text, flags=re.MULTILINE)
        assert stale != text
        (tmp_path / page.relative_to(ROOT)).write_text(stale, encoding="utf-8")
    main([str(tmp_path / "docs")])
    written = {file.relative_to(tmp_path): file.read_text(encoding="utf-8") for file in pages(tmp_path)}
    assert written == {path.relative_to(ROOT): content for path, content in pages(ROOT).items()}


def test_every_metric_has_one_line_on_its_page() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    for family in FAMILIES:
        assert page.count(f"| `{family.sample_name}` |") == 1


def test_every_declared_metric_has_a_sample_in_the_recorded_scrape() -> None:
    samples = [line for line in GOLDEN.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    names = {line.partition("{")[0].partition(" ")[0] for line in samples}
    names.add(PRICE_FEED.sample_name)  # exists only after a list was read: tests/integration/test_prices.py
    names |= {each.sample_name for each in CAPACITY}  # takes hours of readings: tests/unit/metrics/test_limits.py
    names |= {each.sample_name for each in HISTORY}  # needs a project: tests/integration/supabase/test_metrics.py
    # needs EXPORTER_QUOTAS=active: tests/integration/test_quotas.py
    names |= {each.sample_name for each in (QUOTA_FETCHES, *QUOTAS)}
    # needs a pace, or a break, that the recording lacks: tests/unit/metrics/test_limits_pools.py
    names |= {POOL_EMPTY.sample_name, CREDENTIAL_ROOM.sample_name}
    for family in FAMILIES:
        wanted = f"{family.name}_count" if family.kind == "histogram" else family.sample_name
        assert wanted in names, f"{family.sample_name} is in no scrape of the whole program"
