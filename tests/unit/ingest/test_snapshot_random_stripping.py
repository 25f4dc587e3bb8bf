"""A proxy that sends its details at times and strips them at others: each request counts once, either way."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import exporter.ingest.snapshot
from tests.benches.booking import check_sums
from tests.benches.stripping import StrippingLife as _Life

_STEPS = (
    *[_Life.request] * 5,
    *[_Life.poll] * 5,
    *[_Life.time_passes] * 3,
    *[_Life.strips] * 2,
    *[_Life.shows] * 2,
    _Life.restart,
    _Life.exporter_restarts,
    _Life.poll_that_the_ledger_refuses,
)


@settings(max_examples=40)
@given(steps=st.lists(st.sampled_from(_STEPS), min_size=5, max_size=40), seed=st.integers(0, 2**32))
def test_each_request_counts_once_whether_its_details_are_sent_or_stripped(steps: list[Any], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter.ingest.snapshot, "_PER_TRANSACTION", 2)
        life = _Life(Path(folder), seed=seed)
        for step in (*steps, _Life.poll, _Life.shows, _Life.poll, _Life.strips, _Life.poll):
            step(life)
        check_sums(life.ledger)
        life.ledger.close()
