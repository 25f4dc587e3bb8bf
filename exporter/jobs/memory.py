"""Memory that is free goes back to the system. With a C library other than glibc nothing happens."""

import ctypes
from contextlib import suppress

_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3
"""From glibc's malloc.h."""


def use_one_heap() -> None:
    """Have all threads served from one heap, and the room of large texts returned at once.

    By default each web thread keeps a heap of its own, and the room of its largest scrape in it.
    """
    with suppress(OSError, AttributeError):  # another C library knows no mallopt
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, 128 * 1024)


def give_back() -> None:
    """Return what is free amid the heap: by default only its end is. Takes well under a millisecond."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
