"""Text that every store takes: without NUL, which PostgreSQL refuses in text and jsonb. Pure."""

import re

_ESCAPED_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
"""After an even number of backslashes: an odd one makes it the text ``\\u0000`` itself."""


def without_nul(body: bytes | bytearray) -> bytes:
    """A JSON text with U+FFFD in place of each NUL. A NUL that is not escaped is no JSON anyway."""
    if b"\\u0000" not in body:
        return body  # type: ignore[return-value] # a bytearray is read as bytes are
    return _ESCAPED_NUL.sub(rb"\1\\ufffd", body)
