"""The user's price file: read at the start, and again when it changes."""

from functools import partial
from pathlib import Path

import structlog

from exporter.pricing.cost import MatchedBy, Price
from exporter.pricing.dated_rows import by_name
from exporter.pricing.lookup import PriceList, override_ways
from exporter.pricing.price_file import DEFAULT_MODEL, PriceFile, read_price_file
from exporter.pricing.pricer import DEFAULT_PRICE
from exporter.pricing.vendors import OPENAI_COMPATIBLE
from exporter.sentences import say
from exporter.settings.watched import WatchedFile

_log = structlog.get_logger("exporter.pricing")


class UserPrices:
    """The prices of one file: a ``Catalogue``. Thread-safe; one thread calls ``reload``."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ProblemsError."""
        self._file: WatchedFile[PriceFile] = WatchedFile(
            path,
            partial(read_price_file, setting="EXPORTER_PRICES_FILE"),
            kind=say("price file"),
            name=say("prices"),
            log=_log,
            size=lambda file: {"rows": len(file.rows)},
        )
        self._take()

    @property
    def problem(self) -> str:
        """A sentence if the last edit could not be used, else empty."""
        return self._file.problem

    def find(self, provider: str, model: str, *, at_ms: int) -> Price | None:
        """See ``Catalogue.find``."""
        return self._list.find(provider, model, at_ms=at_ms)

    def default(self) -> Price:
        """The price of models that no list knows: the file's, else the built-in one."""
        return self._default

    def one_hour_writes(self, provider: str) -> bool:
        """Whether the file says that a provider's cache writes live for an hour. CPA's name may have its prefix."""
        name, found = provider.strip().lower(), self._file.content.one_hour_writes
        return name in found or name.removeprefix(OPENAI_COMPATIBLE) in found

    def reload(self, *, now: bool = False) -> None:
        """Read the file again if it has changed, or ``now``."""
        if self._file.reload(now=now) and not self.problem:
            self._take()

    def _take(self) -> None:
        name, file = self._file.path.name, self._file.content
        self._list = PriceList(by_name(file.rows, list_name=name), ways=override_ways)
        self._default = DEFAULT_PRICE
        if file.default is not None:
            origin = f"{name} {DEFAULT_MODEL}"
            self._default = Price(origin=origin, matched_by=MatchedBy.DEFAULT, tariff=file.default)
