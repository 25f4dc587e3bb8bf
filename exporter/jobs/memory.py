"""Gives free memory back to the system. Does nothing with a C library other than glibc."""

import ctypes
from contextlib import suppress

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
"""From glibc's malloc.h."""


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
