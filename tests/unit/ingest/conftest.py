from pathlib import Path

import pytest

from tests.benches.snapshots import SnapshotBench


@pytest.fixture
def stripped(tmp_path: Path) -> SnapshotBench:
    """A proxy that strips its details. At 0.15 USD per million input tokens, 10 USD buy 66.7 million."""
    bench = SnapshotBench(tmp_path)
    bench.proxy.stripped = "absent"
    return bench
