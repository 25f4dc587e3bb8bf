"""The windows of the Codex backend, from the headers of its answers. Pure.

The ``x-ratelimit-*`` headers of API keys are left out: they are buckets that refill within a minute or less.
"""

import re
from collections.abc import Iterable, Mapping

from exporter.quotas.reading import (
    LATEST_RESET_MS,
    Answer,
    QuotaProvider,
    Reading,
    fullest,
    header,
    percent,
    reset,
    scope_named,
    window_seconds,
)
from exporter.quotas.values import is_flag, is_instant, is_number, is_title, is_word, number

_PREFIX = "x-codex-"
_RESERVE = "x-base-model-inference-"
"""The reserve beside the backend's own windows."""
_GROUP = r"[a-z0-9][a-z0-9_-]{0,31}"
_STEM = rf"(?:{_PREFIX}(?:{_GROUP}-)?|{_RESERVE})(?:primary|secondary)"
_WINDOW = re.compile(rf"((?:{_PREFIX}(?:({_GROUP})-)?|({_RESERVE}))(?:primary|secondary))-window-minutes").fullmatch


def _read_headers(headers: Mapping[str, str], answer: Answer) -> Iterable[Reading]:
    own: list[Reading] = []
    grouped: list[Reading] = []
    refused, own_scope = _refuses(headers), _scope_of_model(answer.model)
    for match in filter(None, map(_WINDOW, headers)):
        stem, group = match[1], match[2] or (match[3] and _RESERVE[2:-1])
        if group is None:
            scope = own_scope
        else:
            scope = scope_named(header(headers, f"{_PREFIX}{group}-limit-name")) or scope_named(group) or None
        used_ratio = percent(header(headers, f"{stem}-used-percent"))
        seconds = window_seconds(header(headers, match[0]))
        # That the account is refused is said of its own windows; those with a share keep it.
        concluded = used_ratio is None and refused and group is None
        if scope is None or seconds is None or (used_ratio is None and not concluded):
            continue
        resets_ms = reset(header(headers, f"{stem}-reset-at"), answer.observed_ms)
        relative = resets_ms is None
        if resets_ms is None:
            after = number(header(headers, f"{stem}-reset-after-seconds"))
            if after is None or after * 1000 > LATEST_RESET_MS:
                continue
            resets_ms = answer.observed_ms + round(after * 1000)
        status = "rejected" if concluded else ""
        (own if group is None else grouped).append(
            answer.reading(seconds, scope, used_ratio, resets_ms, status=status, inferred=relative)
        )
    if refused and not own and own_scope is not None:
        own.append(answer.reading(None, own_scope, None, answer.observed_ms, status="rejected"))
    # A group says itself whose window it is; of the others that is a conclusion from the model.
    return (fullest(own) | fullest(grouped)).values()


def _scope_of_model(model: str) -> str | None:
    """The scope of the windows without a group, which belong to the limit of the model that answered.

    The Spark model has a limit of its own; without this its 0 % would hide a full main window. None: nobody can tell.
    """
    name = model[:200].rpartition("/")[2].partition("(")[0].strip().lower()
    if not name or name == "unknown":
        return None
    end = name.find("-spark")
    return "" if end < 0 else scope_named(name[: end + len("-spark")]) or None


def _refuses(headers: Mapping[str, str]) -> bool:
    """Whether the backend says that the account's limit is reached."""
    return (
        header(headers, f"{_PREFIX}allowed").lower() == "false"
        or header(headers, f"{_PREFIX}limit-reached").lower() == "true"
    )


CODEX = QuotaProvider(
    prefixes=(_PREFIX, _RESERVE),
    stored={
        rf"{_STEM}-reset-at": is_instant,
        rf"{_STEM}-(?:used-percent|window-minutes|reset-after-seconds)": is_number,
        rf"{_PREFIX}(?:allowed|limit-reached)": is_flag,
        rf"{_PREFIX}(?:plan-type|active-limit)": is_word,
        rf"{_PREFIX}{_GROUP}-limit-name": is_title,
    },
    use_suffix="-used-percent",
    read_headers=_read_headers,
    refuses=_refuses,
    counts=lambda model, scope: _scope_of_model(model) == scope,
)
