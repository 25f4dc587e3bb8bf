"""Refused keys in the ledger."""

from contextlib import closing
from pathlib import Path

from exporter.sources.auth_guard import RefusedKey
from tests.benches.booking import open_ledger


def test_a_refusal_is_kept_once_and_until_it_is_replaced(tmp_path: Path) -> None:
    """Kept for each proxy, it would count as several tries."""
    refused, other = RefusedKey("a", 1, 5, also=("b",)), RefusedKey("c", 2, 7)
    with closing(open_ledger(tmp_path)) as ledger:
        for proxy in ("p", "q"):
            ledger.register(proxy)
        ledger.refusals.replace(["a", "b"], "q", refused)
        ledger.refusals.replace(["c"], "p", other)
    with closing(open_ledger(tmp_path)) as ledger:
        assert ledger.refusals.load() == (other, refused)
        assert ledger.refusals.replace(["b"], "q") == (other,)
        assert ledger.refusals.load() == (other,)
