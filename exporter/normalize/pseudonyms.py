"""Keyed hashes in place of keys, e-mail addresses and file names.

A keyed hash replaces whatever names a person or grants access before it is stored, logged or shown. Each installation
makes its own key once, so the hashes mean nothing elsewhere, and equal values stay equal here.
"""

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from exporter.errors import SettingsError
from exporter.settings.problems import nearest

Pseudonym = Callable[[str], str]
"""Turns a value into its pseudonym: ``Pseudonyms.of``."""
NearestPseudonym = Callable[[str, Collection[str]], str]
"""``Pseudonyms.nearest``."""

_CACHE_LIMIT = 20_000
_KEY_BYTES = 32
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def sign_of_key(pseudonym: Pseudonym) -> str:
    """A text that changes only with the hash key of the pseudonyms, and reveals nothing else."""
    return pseudonym("the hash key")


def load_hash_key(configured: str | None, path: Path) -> bytes:
    """The key of all pseudonyms: ``EXPORTER_HASH_KEY`` if set, else the content of ``path``, created if missing.

    Raises SettingsError if the file cannot be read or created, or holds no key.
    """
    if configured:
        return hashlib.sha256(configured.encode()).digest()
    try:
        if not path.exists():
            _write_new_key(path)
        content = path.read_bytes()
    except OSError as exc:
        raise SettingsError(
            f"The hash key {path} cannot be used ({exc.strerror}). Give the exporter read and write access to its data"
            " directory, or set EXPORTER_HASH_KEY."
        ) from exc
    key = b""
    with suppress(ValueError):
        key = bytes.fromhex(content.decode("ascii"))
    if len(key) != _KEY_BYTES:
        raise SettingsError(
            f"The hash key {path} is damaged: it must hold {_KEY_BYTES * 2} hexadecimal digits. Restore it from a"
            " backup, or delete it (clients and credentials without an alias then get new names)."
        )
    return key


def _write_new_key(path: Path) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)  # unlike rename, never replaces a key that another process has just made
    finally:
        os.unlink(temporary)


class Pseudonyms:
    """Turns values into pseudonyms: 16 hexadecimal digits, equal for equal values, empty for an empty value."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cache: dict[str, str] = {}

    def of(self, value: str) -> str:
        """The pseudonym of a key, an e-mail address (in any case) or a file name."""
        if (known := self._cache.get(value)) is not None:
            return known
        if not value:
            return ""
        text = value.strip()
        if _EMAIL.fullmatch(text):
            text = text.lower()
        digest = self.of_bytes(text.encode("utf-8", "surrogatepass"))
        if len(self._cache) >= _CACHE_LIMIT:
            self._cache.clear()  # a source may send a new value in every record
        self._cache[value] = digest
        return digest

    def nearest(self, value: str, among: Collection[str]) -> str:
        """The pseudonym in ``among`` whose recently seen value looks most like ``value``; empty if none does."""
        met = {text: hidden for text, hidden in list(self._cache.items()) if hidden in among}
        return met.get(nearest(value, met), "")

    def of_bytes(self, value: bytes) -> str:
        """The pseudonym of exactly these bytes."""
        return hashlib.blake2b(value, key=self._key, digest_size=8).hexdigest()
