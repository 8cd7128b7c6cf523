"""Memory that is freed and needed again at each step: the C library keeps it for the process."""

from __future__ import annotations

import ctypes
import functools
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
LARGEST = 1 << 25  # bytes of a block that is kept; glibc takes no more


@functools.cache
def keep_freed_memory() -> bool:
    """Set glibc to keep freed blocks of up to 32 MB for the next ones, once for the process.

    By default it returns buffers of some 100 kB to the system when they are freed. Models whose
    steps need such buffers then wait for fresh pages at every step. Up to 64 MB stay with the
    process instead. Where the environment has settings for glibc's malloc, or the C library is
    another one, nothing changes.

    Returns:
        Whether the setting was made.
    """
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
    if any(name in os.environ for name in names) or os.name != "posix":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST)) and bool(mallopt(TRIM_THRESHOLD, 2 * LARGEST))
