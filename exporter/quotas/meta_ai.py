"""Meta's windows: a short one, whose length the headers state, and the week. Pure."""

from collections.abc import Iterator

from exporter.quotas.base import Provider
from exporter.quotas.reading import Answer, Reading
from exporter.quotas.values import instant, number, window_seconds

_PREFIX = "x-meta-"


def _read_headers(headers: Answer) -> Iterator[Reading]:
    for stem, minutes in (("window", headers.text(f"{_PREFIX}window-minutes")), ("weekly", "10080")):
        seconds = window_seconds(minutes)
        used_ratio = headers.percent(f"{_PREFIX}{stem}-used-percent")
        if seconds is not None and used_ratio is not None:
            yield headers.reading(seconds, "", used_ratio, headers.get(f"{_PREFIX}{stem}-reset-at"))


META = Provider(
    stored={
        rf"{_PREFIX}(?:window|weekly)-reset-at": instant,
        rf"{_PREFIX}(?:window-minutes|(?:window|weekly)-used-percent)": number,
    },
    use_suffix="-used-percent",
    read_headers=_read_headers,
)
