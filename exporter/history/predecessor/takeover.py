"""Takes over the predecessor's counters once. The cumulative rows of ``model_usage`` continue from them."""

from exporter.history.supabase_client import Remote, Row
from exporter.ledger.name_store import NameStore
from exporter.normalize.pseudonyms import Pseudonym

_CLEANED = "old-"
_NO_KEY = "unknown"


def take_over(remote: Remote, name_store: NameStore, pseudonym: Pseudonym, *, proxy: str, owner: str) -> None:
    """Take over the rows of the predecessor's last snapshot, unless that has been done. Raises HistoryError.

    The predecessor's rows are under the client's raw key, ours are under its masked name.
    """
    if remote.first("usage_totals_old", "model", newest="model", where={}) is not None:
        return
    last = remote.first("usage_snapshots", "id", newest="collected_at", where={"slot": None})
    if last is None:
        return
    rows: list[Row] = [
        {
            "client": _masked(str(row["api_endpoint"]), name_store, pseudonym),
            "model": row["model_name"],
            "requests": row["request_count"],
            "tokens": row["total_tokens"],
            "input_tokens": row["input_tokens"],
            "output_tokens": row["output_tokens"],
            "cost_usd": row["estimated_cost_usd"] or 0,
        }
        for row in remote.rows("model_usage", order=("id",), where={"snapshot_id": last["id"]})
    ]
    if rows:
        remote.call("exporter_take_over", p_proxy=proxy, p_owner=owner, p_rows=rows)


def _masked(key: str, name_store: NameStore, pseudonym: Pseudonym) -> str:
    if key == _NO_KEY or key.startswith(_CLEANED):
        return key
    return name_store.masked_client(pseudonym(key))
