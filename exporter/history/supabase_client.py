"""Calls the Supabase project, and says in plain words what went wrong.

The client is imported with the first call: it costs 40 MB and a fifth of a second, which an exporter without a history
should not pay. Nothing is retried here; callers know whether and when.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from exporter import __version__
from exporter.errors import HistoryAwayError, HistoryDataError, HistoryError, HistoryMisconfiguredError
from exporter.sentences import pattern, say
from exporter.sources.cancellation import Cancellation

if TYPE_CHECKING:
    from supabase import Client

Row = dict[str, Any]
_T = TypeVar("_T")

PAGE_ROWS = 1000
"""Most rows in one answer: what a hosted project allows."""

_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 20.0
"""A hosted project gives up after 8 s; the rest is for the network and for a body of a thousand records."""
_WHOLE_SECONDS = 60.0
"""For a whole call, because an answer may trickle in."""

MIGRATE = say("Apply the files in supabase/migrations/ to the project: docs/supabase.md.")
"""What to do if a project lacks something."""
_MINIMAL: Any = "minimal"
"""``postgrest.types.ReturnMethod.minimal``, without its import."""
_NO_API = say("The server at SUPABASE_URL is not a Supabase project. Use the URL that the project's page shows.")

# Codes of PostgreSQL (SQLSTATE), of PostgREST (PGRST...), and of HTTP where a gateway answered in their place.
_ERRORS: tuple[tuple[re.Pattern[str], type[HistoryError], str, str], ...] = (
    (
        re.compile(r"401|403|PGRST30[123]"),
        HistoryMisconfiguredError,
        "key_refused",
        pattern("Supabase refuses the key. Put the project's secret key (sb_secret_...) into SUPABASE_SECRET_KEY."),
    ),
    (
        re.compile("42501"),
        HistoryMisconfiguredError,
        "no_grant",
        pattern("The key may not do this: it is not the secret key, or a grant is missing. {advice}"),
    ),
    (
        re.compile(r"PGRST20[245]|42703|42P01|42883"),
        HistoryMisconfiguredError,
        "not_migrated",
        pattern("A table or function of the exporter is missing in the project ({code}). {advice}"),
    ),
    (
        re.compile(r"2[23]...|21000|42804"),
        HistoryDataError,
        "bad_data",
        pattern("The database refuses what was sent ({code})."),
    ),
    (re.compile("429"), HistoryAwayError, "too_many_requests", pattern("Supabase asks to slow down (429).")),
    (
        re.compile(r"57014|40001|40P01|53...|08...|57P0.|PGRST00[0-3]|408|5\d\d"),
        HistoryAwayError,
        "server_error",
        pattern("Supabase answers with a server error ({code})."),
    ),
    (re.compile(r"PGRST106|404|405|3\d\d"), HistoryMisconfiguredError, "wrong_address", _NO_API),
)


class Remote:
    """A Supabase project, for one thread. Any thread may ``cut``."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self._http = httpx.Client(
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            # The hosted service refuses a secret key from what looks like a browser.
            headers={"User-Agent": f"cliproxy-exporter/{__version__}"},
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            event_hooks={
                "request": [lambda request: request.extensions.update(trace=self._cancellation.trace)],
                "response": [self._note_status],
            },
        )
        self._status = 0
        self._cancellation = Cancellation()

    def cut(self) -> None:
        """End a call in progress. Later calls fail."""
        self._cancellation.cancel()

    def close(self) -> None:
        """Close the connection. No call may be in progress."""
        self._http.close()

    def call(self, function: str, **parameters: object) -> Any:
        """The answer of a database function. Raises HistoryError."""
        return self._run(lambda client: client.rpc(function, dict(parameters)))

    def rows(
        self, table: str, columns: str = "*", *, order: Sequence[str], where: Mapping[str, object] | None = None
    ) -> Iterator[Row]:
        """All rows of a table whose columns have the values in ``where``, page by page.

        The columns in ``order`` must be unique together, so that no row is read twice or missed. Raises HistoryError.
        """
        start = 0
        while page := self.some(table, columns, order=order, where=where, start=start):
            yield from page
            start += len(page)  # a short page is not the end: a project may have a lower limit

    def first(self, table: str, columns: str, *, newest: str, where: Mapping[str, object]) -> Row | None:
        """The row with the greatest value in the column ``newest``, None if there is none. Raises HistoryError."""
        return next(iter(self.some(table, columns, order=(f"-{newest}",), where=where, limit=1)), None)

    def some(
        self,
        table: str,
        columns: str,
        *,
        where: Mapping[str, object] | None = None,
        filters: Sequence[tuple[str, str, str]] = (),
        order: Sequence[str] = (),
        start: int = 0,
        limit: int | None = None,
    ) -> list[Row]:
        """At most ``limit`` or ``PAGE_ROWS`` of the rows, after the first ``start``. Raises HistoryError.

        ``filters`` are the API's: column, operator, value. A minus before a column of ``order`` reverses it.
        """

        def query(client: "Client") -> Any:
            found = _where(client.table(table).select(columns), where or {})
            for column, operator, value in filters:
                found = found.filter(column, operator, value)
            for column in order:
                found = found.order(column.removeprefix("-"), desc=column.startswith("-"))
            return found.range(start, start + (limit or PAGE_ROWS) - 1)

        return expect(list, self._run(query))

    def has_rows(self, table: str) -> bool | None:
        """Whether a table has rows, None if there is no such table. Raises HistoryError."""
        try:
            return bool(self.some(table, "*", limit=1))
        except HistoryError as exc:
            if exc.reason != "not_migrated":
                raise
            return None

    def upsert(self, table: str, rows: Sequence[Row], *, on: str, only_new: bool = False) -> None:
        """Write rows, which must all have the same keys. Raises HistoryError.

        They replace rows with the same value in ``on``; ``only_new`` leaves those as they are.
        """
        self._run(
            lambda client: client.table(table).upsert(
                list(rows), on_conflict=on, ignore_duplicates=only_new, returning=_MINIMAL
            )
        )

    def update(self, table: str, values: Row, *, where: Mapping[str, object]) -> None:
        """Change the rows whose columns have these values. Raises HistoryError."""
        self._run(lambda client: _where(client.table(table).update(values, returning=_MINIMAL), where))

    def _run(self, query: "Callable[[Client], Any]") -> Any:
        if self._cancellation.cancelled:
            raise HistoryAwayError("Supabase is not called any more: the exporter is stopping.", reason="unreachable")
        client = self._client
        try:
            with self._cancellation.limited(_WHOLE_SECONDS):
                return query(client).execute().data
        except Exception as exc:
            raise _error_of(exc, self._status) from exc

    def _note_status(self, response: httpx.Response) -> None:
        self._status = response.status_code

    @cached_property
    def _client(self) -> "Client":
        from supabase import ClientOptions, create_client  # noqa: PLC0415 - see the module's text

        options = ClientOptions(
            httpx_client=self._http,
            postgrest_client_retry=False,
            auto_refresh_token=False,
            persist_session=False,
        )
        return create_client(self._url, self._key, options)


def _where(query: Any, where: Mapping[str, object]) -> Any:
    """The query for the rows whose columns have these values."""
    for column, value in where.items():
        query = query.is_(column, "null") if value is None else query.eq(column, value)
    return query


def expect(kind: type[_T], data: object) -> _T:
    """The answer, if it is of this kind. Raises HistoryError otherwise: another server's web page comes as text."""
    if not isinstance(data, kind):
        raise HistoryMisconfiguredError(_NO_API, reason="wrong_address")
    return data


def _error_of(exc: Exception, status: int) -> HistoryError:
    """Our error for an error of the client. Its text may repeat what was sent, so only its code is kept.

    A ``postgrest.APIError`` is known by its attributes, to spare the import. If it has no code, as from a gateway, the
    answer's ``status`` is its code.
    """
    if isinstance(exc, httpx.TransportError):
        kind = type(exc).__name__
        return HistoryAwayError(
            "Supabase cannot be reached, or does not answer ({kind}).", kind=kind, reason="unreachable"
        )
    code = str((exc.code or status) if hasattr(exc, "code") else "")
    if code == "P0001" and getattr(exc, "message", "") == "proxy_not_claimed":
        return HistoryMisconfiguredError(
            "This exporter no longer owns a proxy's name in the project: the name was given back, deleted or taken over"
            " there. It is claimed again.",
            reason="name_taken",
        )
    for codes, make, reason, text in _ERRORS:
        if codes.fullmatch(code):
            return make(say(text, code=code, advice=MIGRATE), reason=reason)
    what = say("code {code}", code=code) if code else type(exc).__name__
    return HistoryAwayError("A call to Supabase failed ({what}).", what=what, reason="other")
