"""Locks on files, and folders that appear whole: two processes do not write into the same folder.

The lock is the operating system's (fcntl), so it ends with its process, however that ends. A file
that a dead process has left behind locks nothing. Where the file system has no locks, as some
network file systems, a line of the log says that nothing guards the folder.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import final

from mbrl.errors import BadInput

_log = logging.getLogger(__name__)


@final
class Lock:
    """Lock on a file, held by this process until it ends, release(), or this object is gone.

    Child processes do not hold the lock. A process may lock a file that it has locked already; the
    first release ends both.

    Args:
        file: made if it is missing; it stays when the lock ends.
        what: what it guards, for the message.

    Raises:
        BadInput: naming the process that holds the lock.
        OSError: if the file cannot be made.
    """

    def __init__(self, file: Path, what: str):
        """Open the file, lock it, and write into it who holds it."""
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        self._release = weakref.finalize(self, os.close, descriptor)
        try:
            import fcntl

            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # the two answers that POSIX allows
            holder = _holder(descriptor)
            self.release()
            raise BadInput(f"{what}: in use by {holder}; wait for it, or end it") from None
        except (ImportError, OSError) as error:
            _log.warning("%s: not locked (%s); no other process may write there", what, error)
        since = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        except OSError:  # a full disk: the lock holds, its holder has no name
            _log.debug("%s: the lock's file was not written", what)

    def release(self) -> None:
        """Release the lock."""
        self._release()


def _holder(descriptor: int) -> str:
    """Return the words for the process that holds the lock, as far as its file says."""
    try:
        holder = json.loads(os.pread(descriptor, 1000, 0))
        words = f"process {holder['pid']:d} on {holder['host']!s:.80} since {holder['since']!s:.40}"
        return "".join(letter for letter in words if letter.isprintable())
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@contextlib.contextmanager
def locked(file: Path, what: str) -> Iterator[None]:
    """Lock a file for a block, and remove it afterwards.

    Args:
        file: made if it is missing.
        what: what it guards, for the message.

    Raises:
        BadInput: naming the process that holds the lock.
    """
    lock = Lock(file, what)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def new_folder(path: Path, check: Callable[[], None]) -> Iterator[Path]:
    """Open a hidden folder beside a path, which gets that path at the end of the block.

    So a block that fails, is killed, or whose disk is full, leaves the path as it was. What a
    killed one has left in the hidden folder is cleared by the next.

    Args:
        path: of the new folder; what is there is replaced, all at once.
        check: raises BadInput if the path may not be used.

    Yields:
        The folder to write in.

    Raises:
        BadInput: of check, or naming the process that writes there.
    """
    check()
    working = path.with_name(f".{path.name}.new")
    working.mkdir(parents=True, exist_ok=True)
    lock = Lock(working / ".lock", str(path))
    try:
        check()  # another process may have been faster
        for left in working.iterdir():
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            elif left.name != ".lock":
                left.unlink()
        yield working
        check()
        (working / ".lock").unlink()
        old = path.with_name(f".{path.name}.old")
        if path.exists():
            path.rename(old)
        working.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(working, ignore_errors=True)
        raise
    finally:
        lock.release()
