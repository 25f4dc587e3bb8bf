"""Buckets that give the remaining fraction."""

from typing import Any

import pytest

from exporter.quotas.buckets import grouped, one_bucket, read_tier
from exporter.quotas.reading import Answer


def _answer(content: Any) -> Answer:
    return Answer(content, 1_787_306_405_000)


_RESET = "2026-08-21T13:00:00Z"


@pytest.mark.parametrize(
    ("bucket", "used"),
    [
        ({"remainingFraction": 0.8, "resetTime": _RESET}, [0.2]),
        ({"remaining_fraction": "80%", "reset_time": _RESET}, [0.2]),
        ({"remainingFraction": 0, "resetTime": _RESET}, [1]),
        ({"remainingFraction": 0}, []),
        ({"remainingFraction": 0.0, "resetTime": ""}, []),
        ({"remainingFraction": 0.8}, [0.2]),
        ({"resetTime": _RESET}, []),
        ({}, []),
    ],
)
def test_a_bucket_gives_a_share_or_nothing(bucket: Any, used: list[float]) -> None:
    assert [reading.used_ratio for reading in one_bucket(_answer(bucket), scope="")] == used


def test_invalid_groups_and_buckets_are_skipped() -> None:
    groups = [None, {"buckets": 5}, {"displayName": "Gemini", "buckets": ["x", {"remainingFraction": 0.8}]}]

    assert [(reading.window, reading.scope) for reading in grouped(_answer({"groups": groups}))] == [
        ("unknown", "gemini")
    ]


@pytest.mark.parametrize("content", [{}, {"paidTier": None}, {"paidTier": {"id": 5}}, {"currentTier": []}])
def test_a_tier_without_an_id_is_not_a_plan(content: Any) -> None:
    assert read_tier(_answer(content)) is None
