"""Files that may come from a stranger: links and special files are refused, sizes are bounded.

The folder that the user names may be a link; everything below it may not. A folder that somebody
else changes while it is read is not covered. Free of torch.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mbrl.errors import BadInput

MB = 2**20
_MAX_ENTRIES = 100_000  # files of a folder
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)
# links are not followed, and a named pipe does not wait for its other end
_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)


def check_tree(folder: Path, *, without: tuple[str, ...] = ()) -> None:
    """Check that a folder holds regular files and folders only, whatever is in it.

    Args:
        folder: it may be a link itself.
        without: names of entries, directly in it, whose own contents are not looked at.

    Raises:
        BadInput: naming the entry that is a link or a special file, or clashes with another.
    """
    for number, entry in enumerate(_entries(folder, without)):
        mode = entry.stat(follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise BadInput(f"{entry.path}: {_kind(mode)}; only files and folders are opened")
        if number >= _MAX_ENTRIES:
            raise BadInput(f"{folder}: holds more than {_MAX_ENTRIES} files")


def _entries(folder: Path, without: tuple[str, ...] = ()) -> Iterator[os.DirEntry[str]]:
    """Yield what is in a folder and in its folders; links are not followed."""
    waiting = [str(folder)]
    while waiting:
        names: dict[str, str] = {}
        at = waiting.pop()
        with os.scandir(at) as entries:
            for entry in entries:
                other = names.setdefault(entry.name.casefold(), entry.name)
                if other != entry.name:
                    raise BadInput(f"{at}: {other} and {entry.name} are one name on some disks")
                yield entry
                skipped = at == str(folder) and entry.name in without
                if entry.is_dir(follow_symlinks=False) and not skipped:
                    waiting.append(entry.path)


def check_regular(file: Path) -> None:
    """Check that a path is a regular file, without opening it.

    Args:
        file: the path.

    Raises:
        BadInput: if it is something else.
        FileNotFoundError: if there is nothing.
    """
    mode = os.lstat(file).st_mode
    if not stat.S_ISREG(mode):
        raise BadInput(f"{file}: {_kind(mode)}, not a file")


def is_regular(file: Path) -> bool:
    """Return whether a path is a regular file; a link to one is none.

    Args:
        file: the path.
    """
    try:
        return stat.S_ISREG(os.lstat(file).st_mode)
    except (OSError, ValueError):
        return False


def open_regular(file: Path, *, limit: int | None = None) -> BinaryIO:
    """Open a regular file to be read.

    Args:
        file: where it is.
        limit: bytes that it may have, None for any number.

    Raises:
        BadInput: if it is a link, a special file or too large.
        FileNotFoundError: if there is nothing.
    """
    check_regular(file)
    opened = os.fdopen(os.open(file, os.O_RDONLY | _FLAGS | _BINARY), "rb")
    status = os.fstat(opened.fileno())
    if not stat.S_ISREG(status.st_mode):  # it was exchanged meanwhile
        opened.close()
        raise BadInput(f"{file}: {_kind(status.st_mode)}, not a file")
    if limit is not None and status.st_size > limit:
        opened.close()
        raise BadInput(f"{file}: {status.st_size} bytes; should be at most {limit}")
    return opened


def read_regular(file: Path, limit: int) -> bytes:
    """Read a regular file whole.

    Args:
        file: where it is.
        limit: bytes that it may have.

    Raises:
        BadInput: if it is a link, a special file or too large.
        FileNotFoundError: if there is nothing.
    """
    with open_regular(file, limit=limit) as opened:
        size = os.fstat(opened.fileno()).st_size
        content = opened.read(size + 1)  # so much memory is taken, whatever is there
    if len(content) > size:
        raise BadInput(f"{file}: grows while it is read; it had {size} bytes")
    return content


def read_lines(file: Path, *, limit: int, longest: int) -> Iterator[bytes]:
    """Read the lines of a regular file, one after the other.

    Args:
        file: where it is.
        limit: bytes that it may have.
        longest: bytes that a line may have.

    Raises:
        BadInput: if it is a link or a special file, or it or a line is too large.
    """
    with open_regular(file, limit=limit) as opened:
        while line := opened.readline(longest + 1):
            if len(line) > longest:
                raise BadInput(f"{file}: a line of more than {longest} bytes")
            yield line


def open_to_append(file: Path) -> BinaryIO:
    """Open a regular file to append to it; it is made where there is none.

    Args:
        file: where it is.

    Raises:
        BadInput: if it is a link, also a hard one, or a special file.
    """
    if os.path.lexists(file):
        check_regular(file)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    opened = os.fdopen(os.open(file, flags | _FLAGS | _BINARY, 0o666), "ab")
    status = os.fstat(opened.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        opened.close()
        what = "one of two names of a file" if stat.S_ISREG(status.st_mode) else "not a file"
        raise BadInput(f"{file}: {what}; put a copy in its place")
    return opened


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole: temporary name, fsync, rename.

    Args:
        file: where it is.
        content: what it will hold.

    Raises:
        BadInput: if a link or a special file stands in its place.
        OSError: if it cannot be written; what was there stays.
    """
    if os.path.lexists(file):
        check_regular(file)
    temporary = file.with_name(f".{file.name}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        temporary.unlink(missing_ok=True)  # of a write that was killed, or a link
        with os.fdopen(os.open(temporary, flags | _FLAGS | _BINARY, 0o666), "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
    except OSError as error:
        if not temporary.is_dir():
            temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(file)) from error


def _kind(mode: int) -> str:
    """Return what a file is, in words."""
    return next((words for test, words in _KINDS if test(mode)), "a special file")
