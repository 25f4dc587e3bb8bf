"""The labels of usage metrics, each listed once.

A new label of all usage metrics is a field of ``Route``, with the name of a field of ``UsageRecord``. A file in
``exporter/ledger/migrations/`` adds it to ``route``. Supabase needs the same as for a new column (``columns.py``), and
the label in ``usage_rollups``, too.
"""

from collections.abc import Iterator

import msgspec
from msgspec.structs import astuple

from exporter.normalize.wire_record import Text


class Route(msgspec.Struct, frozen=True, gc=False):
    """The labels of all usage metrics, which also split sums, history and exports. A new label has a default."""

    proxy: Text
    provider: Text
    model: Text

    def __iter__(self) -> Iterator[str]:
        return iter(astuple(self))


class SeriesLabels(Route, frozen=True, kw_only=True, gc=False):
    """The labels of a series: those of its route, its credential and its client."""

    credential: Text
    client: Text


OF_ROUTE = Route.__struct_fields__[1:]
"""The labels of a route that are fields of a record, and columns of the table ``route``."""
