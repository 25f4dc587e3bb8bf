"""The user's price file: read at the start, and again when it has changed.

At the start a mistake is an error. Later the exporter goes on with the prices that it has: an edit is rarely perfect at
the first attempt, and between two attempts requests are priced too. ``status`` says so until the file is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from exporter.clock import Clock
from exporter.errors import SettingsError
from exporter.pricing.cost import MatchedBy, Price
from exporter.pricing.engine import DEFAULT_PRICE
from exporter.pricing.lookup import PriceList, override_ways
from exporter.pricing.user_file import DEFAULT_MODEL, PriceFile, by_name, read_price_file
from exporter.pricing.vendors import OPENAI_COMPATIBLE
from exporter.settings.problems import Problem, first_of
from exporter.settings.watched import WatchedFile

SETTING = "EXPORTER_PRICES_FILE"

_log = structlog.get_logger("exporter.pricing")


@dataclass(frozen=True, kw_only=True)
class UserPricesStatus:
    """How the last reading of the file went. ``ok``: its prices are in use.

    ``sentence`` is for the operator, ``since_ms`` is when it became true, ``rows`` is the number of rows in use.
    """

    ok: bool
    sentence: str
    since_ms: int
    rows: int


def check_prices_file(path: Path) -> list[Problem]:
    """All that is wrong with a price file, each with its line."""
    file = read_price_file(path, setting=SETTING)
    return file if isinstance(file, list) else []


class UserPrices:
    """The prices of one file. Safe to use from several threads; one of them calls ``reload``.

    A ``Catalogue``; ``default`` is the default price that the file sets, or the built-in one,
    ``one_hour_writes`` what it says of cache writes.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        """Read the file. Raises SettingsError with all problems, one a line."""
        self._path = path
        self._clock = clock
        self._watched = WatchedFile(path)
        file = read_price_file(path, setting=SETTING)
        if isinstance(file, list):
            raise SettingsError("\n".join(map(str, file)))
        self._take(file)

    def find(self, provider: str, model: str, *, at_ms: int) -> Price | None:
        """See ``Catalogue.find``."""
        return self._list.find(provider, model, at_ms=at_ms)

    def default(self) -> Price:
        """The price of models that no list knows."""
        return self._default

    def one_hour_writes(self, provider: str) -> bool:
        """Whether the file says that a provider's cache writes live for an hour. CPA's name may have its prefix."""
        name = provider.strip().lower()
        return name in self._one_hour_writes or name.removeprefix(OPENAI_COMPATIBLE) in self._one_hour_writes

    def reload(self) -> None:
        """Read the file again if it has changed."""
        if not self._watched.changed():
            return
        file = read_price_file(self._path, setting=SETTING)
        if isinstance(file, list):
            self._keep(file)
        else:
            self._take(file)
            _log.info("prices_reloaded", file=self._path.name, rows=len(file.rows))

    def _take(self, file: PriceFile) -> None:
        name = self._path.name
        self._list = PriceList(by_name(file.rows, list_name=name), ways=override_ways)
        self._one_hour_writes = file.one_hour_writes
        self._default = DEFAULT_PRICE
        if file.default is not None:
            origin = f"{name} {DEFAULT_MODEL}"
            self._default = Price(origin=origin, matched_by=MatchedBy.DEFAULT, tariff=file.default)
        self.status = UserPricesStatus(
            ok=True,
            sentence=f"The price file {name} is in use with {len(file.rows)} rows.",
            since_ms=self._now_ms(),
            rows=len(file.rows),
        )

    def _keep(self, problems: Sequence[Problem]) -> None:
        sentence = f"The last edit of the price file is not used; the prices before it are. {first_of(problems)}"
        self.status = UserPricesStatus(ok=False, sentence=sentence, since_ms=self._now_ms(), rows=self.status.rows)
        _log.error("prices_not_reloaded", message=sentence)

    def _now_ms(self) -> int:
        return int(self._clock.now() * 1000)
