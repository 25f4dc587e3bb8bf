"""The readings in a usage record's headers, and in the signals that newer proxies list for a credential. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from exporter.quotas.header_allowlist import allowed_headers
from exporter.quotas.providers import PROVIDERS
from exporter.quotas.reading import Answer, Reading, fullest
from exporter.quotas.values import LATEST_RESET_MS, plausible, text

_MAX_MODELS = 256


def read_headers(
    headers: Mapping[str, str],
    *,
    provider: str,
    model: str,
    started_ms: int,
    ttft_ms: int,
    latency_ms: int,
    received_ms: int,
) -> list[Reading]:
    """The windows in the allowed headers of one record: ``model`` at ``provider`` answered.

    The fuller of two windows with the same name and scope wins. A window that is not mentioned is "not said". Never
    raises.
    """
    observed_ms = plausible(text(headers.get("date")), received_ms)
    if observed_ms is None:
        # The request's start is from the proxy's clock, which can be wrong; a moment in our future would shut out all
        # readings until then.
        observed_ms = min(started_ms + (ttft_ms or latency_ms), received_ms)
    return fullest(_readings(headers, provider, Answer(model, observed_ms, "header")))


def read_signals(entry: Mapping[str, Any], *, received_ms: int) -> list[Reading]:
    """The windows that newer proxies keep for a credential: ``entry`` is from auth-files. Never raises.

    Signals are the same headers, with the time at which the proxy saw them. Signals without a time are left out: they
    would look new at every poll.
    """
    provider = entry.get("provider") or entry.get("type")
    if not isinstance(provider, str):
        return []
    readings: list[Reading] = []
    for model, block in _blocks(entry):
        signals = block.get("signals")
        if not isinstance(signals, Mapping):
            continue
        allowed = allowed_headers(signals)
        observed_ms = plausible(block.get("observed_at"), received_ms, oldest_ms=LATEST_RESET_MS)
        if observed_ms is None:
            observed_ms = plausible(allowed.get("date"), received_ms, oldest_ms=LATEST_RESET_MS)
        if observed_ms is None:
            continue
        readings += _readings(allowed, provider, Answer(model, observed_ms, "auth_files"))
    return fullest(readings)


def _readings(headers: Mapping[str, str], provider: str, answer: Answer) -> Iterable[Reading]:
    reads = PROVIDERS.get(provider)
    return reads.read_headers(headers, answer) if reads else ()


def _blocks(entry: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The blocks of signals, each with its model; the account's own has the model ""."""
    account = entry.get("quota")
    if isinstance(account, Mapping):
        yield "", account
    models = entry.get("model_quotas")
    if isinstance(models, Mapping):
        for model, block in islice(models.items(), _MAX_MODELS):
            if isinstance(model, str) and isinstance(block, Mapping):
                yield model, block
