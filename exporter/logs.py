"""The log: one event is one line, and no line holds a configured secret.

Our own events (structlog) and those of libraries (the standard library's logging) take the same path, so every line has
the same form: logfmt, which people and tools such as Loki read without a parser, or JSON. Line breaks and control
characters are escaped: a proxy's answer can neither forge a line nor paint the operator's terminal. Redaction is the
last line of defence, not the first: code must not log secrets at all.
"""

import contextlib
import json
import logging
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_REDACTED = "[redacted]"
_SHORTEST_SECRET = 4
_QUIET_LIBRARIES = ("httpx", "httpcore", "werkzeug")  # they log every request as info
_FIRST = ("ts", "level", "event")
_PLAIN_VALUE = re.compile(r"[^\s\"=\\]+")


class _Redactor:
    """Knows the secrets and replaces them in texts."""

    def __init__(self) -> None:
        self._forms: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secrets: Iterable[str]) -> None:
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                self._forms |= {
                    secret,
                    repr(secret)[1:-1],
                    json.dumps(secret)[1:-1],
                    urllib.parse.quote(secret, safe=""),
                }
        longest_first = sorted(self._forms, key=len, reverse=True)  # else the rest of a longer secret would stay
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def clean(self, text: str) -> str:
        return self._pattern.sub(_REDACTED, text) if self._pattern else text


# The process has one log as it has one standard error, and a secret once known must not be logged by anyone.
_redactor = _Redactor()


def add_secrets(secrets: Iterable[str]) -> None:
    """Replace these texts by ``[redacted]`` in all later lines, also where they appear escaped or URL-encoded.

    Texts of fewer than 4 characters are not replaced: they occur by chance everywhere.
    """
    _redactor.add(secrets)


def configure_logging(level: str, format: str, *, stream: TextIO) -> None:
    """Send all events of at least ``level`` (a value of ``LOG_LEVEL``) to ``stream`` as ``logfmt`` or ``json``.

    Call it again to change level, format or stream; it takes effect at once, for loggers in use too.
    """
    common: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *common,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = _LineHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _redact,
                structlog.processors.JSONRenderer() if format == "json" else _logfmt_line,
            ],
        ),
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _LineHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class TellOnce:
    """Logs the first event of each reason as a warning; the others are counted elsewhere. For one thread."""

    def __init__(self, log: structlog.stdlib.BoundLogger, *, proxy: str) -> None:
        self._log = log
        self._proxy = proxy
        self._told: set[tuple[str, str]] = set()

    def __call__(self, event: str, *, reason: str, **fields: object) -> None:
        """Log ``event`` unless it has been logged for the same reason before."""
        if (event, reason) not in self._told:
            self._told.add((event, reason))
            self._log.warning(event, proxy=self._proxy, reason=reason, **fields)


class _LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines; a record that cannot be formatted is reported without its arguments, which may hold secrets."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the name is the standard library's
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(f'level=error event="a log record could not be written" logger={record.name}\n')


def _redact(_: WrappedLogger, __: str, event: EventDict) -> Mapping[str, object]:
    """The event without secrets; time, level and event come first."""
    return {key: _clean(event[key]) for key in dict.fromkeys((*_FIRST, *event)) if key in event}


def _clean(value: object) -> object:
    """The value as text without secrets; numbers, booleans and None stay as they are unless they are secrets."""
    text = value if isinstance(value, str) else str(value)
    cleaned = _redactor.clean(text)
    return value if isinstance(value, bool | int | float | None) and cleaned == text else cleaned


def _logfmt_line(_: WrappedLogger, __: str, event: EventDict) -> str:
    return " ".join(f"{key}={_logfmt_value(value)}" for key, value in event.items())


def _logfmt_value(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    if _PLAIN_VALUE.fullmatch(text) and text.isprintable():
        return text
    quoted = json.dumps(text, ensure_ascii=False)  # readers of logfmt know the escapes of JSON, and no others
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in quoted)
