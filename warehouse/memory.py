"""Give freed memory back to the system, so that the peak is what is in use and not what once was.

Contents of up to some MB come and go by the thousand, and glibc keeps freed blocks of that size in per-thread arenas.
(Arrow's own allocator is replaced in `warehouse/__init__.py`.)
"""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # from malloc.h

LARGE = 128 << 10
"""Blocks from this size (bytes) are mapped singly and unmapped when freed."""


def return_freed_memory() -> None:
    """Set glibc's allocator accordingly for this process, and return what is free now.

    Without effect where there is no glibc.
    """
    gc.collect()
    try:
        libc = ctypes.CDLL(None)
        for parameter, value in ((_M_MMAP_THRESHOLD, LARGE), (_M_TRIM_THRESHOLD, LARGE), (_M_ARENA_MAX, 2)):
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)
    except (AttributeError, OSError, TypeError):
        return
