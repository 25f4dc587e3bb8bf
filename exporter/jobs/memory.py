"""Keeps memory small: leaves out what is never used, and gives back what is free. The latter works with glibc only."""

import ctypes
import sys
from contextlib import suppress
from types import ModuleType

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
"""From glibc's malloc.h."""


def load_less() -> None:
    """Let libraries go without what they would load for features that the exporter never uses. Saves 2 MB.

    httpx then does without HTTP/2. Only genai-prices uses httpx2, to fetch prices, which the exporter never asks of it.
    """
    sys.modules.setdefault("h2", None)  # type: ignore[arg-type] # as if it were not installed
    sys.modules.setdefault("httpx2", ModuleType("httpx2"))


def use_one_heap() -> None:
    """Let all threads share one heap, and return the memory of large texts at once.

    By default each web thread has a heap of its own, which keeps the memory of its largest scrape.
    """
    with suppress(OSError, AttributeError):  # another C library knows no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


def give_back() -> None:
    """Return free memory inside the heap: by default only its end goes back. Takes well under a millisecond."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
