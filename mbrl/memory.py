"""Memory of the machine: a limit for the process, so that a wrong size ends in a message."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/memory.max")  # a container's limit
_STATM = Path("/proc/self/statm")
_SIGNS = (  # of the words of torch and numpy for what is too large to allocate, or even to count
    "allocate memory",  # also MuJoCo's
    "unable to allocate",
    "out of memory",
    "storage size calculation overflowed",
    "multiplication overflow",
    "maximum allowed dimension exceeded",
    "array is too big",
    "maximum supported dimension",
    "overflow when unpacking long",
    "too large to convert",
    "cannot fit 'int' into an index-sized integer",
    "bad_alloc",
)


def total_memory() -> int:
    """Return the machine's memory in bytes, or what a container may take of it; 0 if unknown."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return 0
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        total = min(total, int(_CGROUP.read_text()))
    return total


def in_words(size: float) -> str:
    """Return a number of bytes in words, such as "15.6 GiB".

    Args:
        size: bytes.
    """
    return f"{size / 2**30:.3g} GiB"


@contextlib.contextmanager
def limited_memory(most: int | None = None) -> Iterator[None]:
    """Set the limit of this process to the memory of the machine: an error, in place of its end.

    Without it, the system promises more than there is and ends the process once it is used.
    Linux only; elsewhere nothing is limited.

    Args:
        most: bytes that may be taken in the block, if they are fewer than the machine has.
    """
    total = total_memory()
    if total and most is not None:
        total = min(total, most)
    if not _STATM.exists() or not total:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(_STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    ends = [end for end in (soft, hard, now + total) if end != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(ends), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def is_too_large(error: BaseException) -> bool:
    """Return whether an error says that something was too large for the memory.

    Args:
        error: from torch, numpy or Python.
    """
    if isinstance(error, MemoryError | OverflowError):
        return True
    text = str(error).lower()
    return any(sign in text for sign in _SIGNS)
