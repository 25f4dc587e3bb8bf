"""The JSON of CPA's ``GET /usage/export`` (v6.6.56 to v6.9.49), or of its ``GET /usage``: the same statistics.

Its details have the same identity as in a snapshot: whichever is read first, the other adds nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from exporter.errors import BadAnswerError, ImportFileError
from exporter.imports.items import Item, Misfit
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.snapshot import OTHER_SHAPE, SnapshotSeries, read_details, read_snapshot
from exporter.normalize.wire import UNDECODABLE, Wire

_NEWEST_VERSION = 1


class _Head(msgspec.Struct):
    version: int | None = None


class CpaExport:
    """One such file. After ``read``, ``without_details`` is the number of requests that only the totals have."""

    def __init__(self, path: Path, pseudonym: Pseudonym) -> None:
        self._path = path
        self._pseudonym = pseudonym
        self.without_details = 0

    def read(self) -> Iterator[Item]:
        """The details of the file. Raises ImportFileError if it holds no usage statistics."""
        for series in self._series():
            found = 0
            for detail in read_details(series.details or b"[]", series, self._pseudonym):
                found += 1
                yield detail if isinstance(detail, Wire) else Misfit(detail, OTHER_SHAPE)
            self.without_details += max(0, series.requests - found)

    def left_out(self) -> str:
        """A sentence on requests that cannot be imported, empty for none."""
        number = self.without_details
        return f"Left out, because only the file's totals have them, without a day: {number:,}." if number else ""

    def _series(self) -> list[SnapshotSeries]:
        try:
            body = self._path.read_bytes()
            version = msgspec.json.decode(body, type=_Head).version
            if version is not None and version > _NEWEST_VERSION:
                raise ImportFileError(
                    f"{self._path} is a usage export of version {version}; this exporter knows {_NEWEST_VERSION}."
                )
            return read_snapshot(body, self._pseudonym)
        except (*UNDECODABLE, BadAnswerError) as exc:
            raise ImportFileError(
                f"{self._path} is not the JSON of CPA's /v0/management/usage/export: it needs usage.apis, with models"
                " and their details."
            ) from exc
        except OSError as exc:
            raise ImportFileError(f"{self._path} cannot be read ({exc.strerror}).") from exc
