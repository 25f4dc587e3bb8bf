"""The web application over an empty ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benches.web import WebBench


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebBench]:
    bench = WebBench.at(tmp_path)
    yield bench
    bench.ledger.close()
