"""Pseudonyms are stable and keyed, and their key is made once."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from exporter.errors import SettingsError
from exporter.normalize.pseudonyms import Pseudonyms, load_hash_key


def test_equal_values_have_equal_pseudonyms_and_another_key_gives_others() -> None:
    one, other = Pseudonyms(b"1"), Pseudonyms(b"2")
    assert one.of("sk-1") == Pseudonyms(b"1").of("sk-1") != other.of("sk-1")
    assert one.of("sk-1") != one.of("sk-2")
    assert one.of("") == ""
    assert len(one.of("x" * 10_000)) == 16


def test_addresses_ignore_case_and_keys_do_not() -> None:
    pseudonyms = Pseudonyms(b"1")
    assert pseudonyms.of("Dev@Example.com") == pseudonyms.of(" dev@example.com")
    assert pseudonyms.of("sk-Key") != pseudonyms.of("sk-key")
    assert pseudonyms.of("sk@Key") != pseudonyms.of("sk@key")


def test_it_handles_more_values_than_it_remembers() -> None:
    pseudonyms = Pseudonyms(b"1")
    first = pseudonyms.of("0")
    for number in range(50_000):
        pseudonyms.of(str(number))
    assert pseudonyms.of("0") == first


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "hash.key"
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(load_hash_key(None, path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_hash_key(None, path) == found[0]
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_that_cannot_be_written_leaves_nothing_behind_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match="No space left on device"):
        load_hash_key(None, tmp_path / "hash.key")
    assert list(tmp_path.iterdir()) == []


def test_a_configured_key_needs_no_file(tmp_path: Path) -> None:
    assert load_hash_key("a" * 100, tmp_path / "hash.key") == load_hash_key("a" * 100, tmp_path / "other")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "no hex", "abcd", "é"])
def test_a_damaged_key_is_not_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / "hash.key"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"hash\.key is damaged"):
        load_hash_key(None, path)
    assert path.read_text(encoding="utf-8") == content
