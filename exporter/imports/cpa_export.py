"""The JSON of CPA's ``GET /usage/export`` (v6.6.56 to v6.9.49), or of its ``GET /usage``.

Its details have the same identity as in a snapshot: whichever is read first, the other adds nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from exporter.errors import BadAnswerError, ImportFileError
from exporter.imports.items import Item, LeftOut, Misfit
from exporter.normalize.pseudonyms import Pseudonym
from exporter.normalize.snapshot import OTHER_SHAPE, SnapshotSeries, read_details, read_snapshot
from exporter.normalize.wire_record import UNDECODABLE, Wire

_NEWEST_VERSION = 1


class _Head(msgspec.Struct):
    version: int | None = None


def read_cpa_export(path: Path, pseudonym: Pseudonym) -> Iterator[Item]:
    """The details of the file. Raises ImportFileError if it holds no usage statistics."""
    for series in _series(path, pseudonym):
        found = 0
        for detail in read_details(series.details or b"[]", series, pseudonym):
            found += 1
            yield detail if isinstance(detail, Wire) else Misfit(detail, OTHER_SHAPE)
        if series.requests > found:
            yield LeftOut("only the file's totals have them, without a day", series.requests - found)


def _series(path: Path, pseudonym: Pseudonym) -> list[SnapshotSeries]:
    try:
        body = path.read_bytes()
        version = msgspec.json.decode(body, type=_Head).version
        if version is not None and version > _NEWEST_VERSION:
            raise ImportFileError(
                f"{path} is a usage export of version {version}; this exporter knows {_NEWEST_VERSION}."
            )
        return read_snapshot(body, pseudonym)
    except (*UNDECODABLE, BadAnswerError) as exc:
        raise ImportFileError(
            f"{path} is not the JSON of CPA's /v0/management/usage/export: it needs usage.apis, with models and their"
            " details."
        ) from exc
    except OSError as exc:
        raise ImportFileError(f"{path} cannot be read ({exc.strerror}).") from exc
