"""The errors: every failure that a user can meet has a class here.

The text of an error is a sentence for the operator: what is wrong, and what to do about it. It never holds a key,
an e-mail address or anything else that a proxy or a client sent.
"""

from typing import ClassVar

from exporter.sentences import Sentence, say


class ExporterError(Exception):
    """Base class of all errors that the exporter raises on purpose.

    ``text`` is a sentence, or the pattern of one whose placeholders ``values`` fill.
    """

    def __init__(self, text: str = "", /, **values: object) -> None:
        super().__init__(text if isinstance(text, Sentence) else say(text, **values))


class SettingsError(ExporterError):
    """The settings are wrong; the command line ends with exit code 2."""


class PriceFeedError(ExporterError):
    """The list of prices on the web cannot be fetched or cannot be trusted; earlier prices stay in use."""


class ImportFileError(ExporterError):
    """A file to import cannot be read, or is not of the kind that the user named."""


# --- the ledger -----------------------------------------------------------------------------------------------------


class LedgerError(ExporterError):
    """The ledger cannot be used; nothing was overwritten."""


class LedgerLockedError(LedgerError):
    """Another process has the ledger."""


class LedgerReadOnlyError(LedgerError):
    """The data directory or the ledger file cannot be written."""


class LedgerFullError(LedgerError):
    """The disk is full, or the file has reached its page limit; the transaction was rolled back."""


class LedgerTooNewError(LedgerError):
    """The file was written by a newer version of the exporter."""


class LedgerCorruptError(LedgerError):
    """The file is damaged, or is not a ledger."""


# --- a proxy's Management API -----------------------------------------------------------------------------------------


class ProxyError(ExporterError):
    """A call to a proxy's Management API failed.

    ``reason`` is the state that the failure puts the proxy into, a key of ``exporter.sources.proxy_status.STATES``.
    Each class below has its own.
    """

    reason: ClassVar[str]
    answer_lost = False
    """Whether the request was sent and its answer did not arrive as a whole."""

    def __init_subclass__(cls, reason: str = "") -> None:
        cls.reason = reason


class ProxyUnreachableError(ProxyError, reason="unreachable"):
    """No connection, no answer in time, or the connection broke."""


class ProxyServerError(ProxyError, reason="server_error"):
    """The proxy answered with 5xx, or with a status that the protocol does not know."""


class BadAnswerError(ProxyError, reason="bad_answer"):
    """The answer is not what CPA sends: HTML, a redirect, no JSON, another shape, or too large."""


class KeyRefusedError(ProxyError, reason="key_refused"):
    """401: the management key is missing or wrong. Never retried at once: five failures ban the address."""


class BannedError(ProxyError, reason="banned"):
    """403 with a waiting time: this address is banned. ``retry_after_seconds`` is the time that the proxy stated."""

    def __init__(self, text: str, /, *, retry_after_seconds: float, **values: object) -> None:
        super().__init__(text, **values)
        self.retry_after_seconds = retry_after_seconds


class RemoteDisabledError(ProxyError, reason="remote_disabled"):
    """403: ``remote-management.allow-remote`` is off and we are not local to the proxy."""


class NoManagementKeySetError(ProxyError, reason="no_key_set"):
    """403: the proxy has no management key at all."""


class ManagementOffError(ProxyError, reason="management_off"):
    """404 on every management path: management is off, the server is a Home node, or the URL is not CPA's."""


class UnsupportedProxyError(ProxyError):
    """The proxy answers, but has no usage source that this version can read: one of the next three."""


class RespOnlyError(UnsupportedProxyError, reason="resp_only"):
    """The proxy has only the RESP queue (CPA 6.10.0 to 6.10.7)."""


class UnknownServerError(UnsupportedProxyError, reason="unknown_server"):
    """The server accepts the key and answers, but not as any known CPA does; popping blindly could lose records."""


class SourceGoneError(UnsupportedProxyError, reason="source_gone"):
    """A source that was there answers 404: the proxy was replaced, or its management switched off. Detect again."""


# --- the history in Supabase ------------------------------------------------------------------------------------------


class HistoryError(ExporterError):
    """A call to Supabase failed. Booking, limits and metrics go on without it.

    ``reason`` is the value of the label ``reason`` of ``cliproxy_exporter_history_errors_total``: a key of
    ``exporter.history.state.REASONS``.
    """

    def __init__(self, text: str, /, *, reason: str, **values: object) -> None:
        super().__init__(text, **values)
        self.reason = reason


class HistoryAwayError(HistoryError):
    """Supabase is away, slow or busy. The call may work later, and may have worked already, although no answer came."""


class HistoryMisconfiguredError(HistoryError):
    """The call cannot work until somebody changes something: a key, a grant, a migration, a name."""


class HistoryDataError(HistoryError):
    """The database refuses what was sent; the call wrote nothing."""
