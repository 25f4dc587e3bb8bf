"""Answers recorded from real CPA servers: see tests/fixtures/cpa."""

import functools
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1] / "fixtures" / "cpa"


@functools.cache
def recorded(name: str) -> Any:
    """A recorded file, parsed: ``v7.2.140/usage-queue/xai.json``."""
    return json.loads((ROOT / name).read_bytes())


def body_of(name: str) -> bytes:
    """The body of a recorded answer, as bytes on the wire."""
    return json.dumps(recorded(name)["body"]).encode()


def batches(version: str) -> list[str]:
    """The names of the recorded batches of a version that have a truth file, without ``.json``."""
    truths = sorted((ROOT / version / "usage-queue").glob("*.truth.json"))
    return [truth.name.removesuffix(".truth.json") for truth in truths]


def batch_bodies(version: str, batch: str) -> list[bytes]:
    """The bodies of a batch, in the order in which the recording popped them."""
    folder = ROOT / version / "usage-queue"
    parts = sorted(folder.glob(f"{batch}-part*.json")) or [folder / f"{batch}.json"]
    return [body_of(str(part.relative_to(ROOT))) for part in parts]


def secrets() -> list[str]:
    """Every planted secret; none of them may leave the exporter."""
    return (ROOT / "secrets.txt").read_text().split("\n")[:-1]
