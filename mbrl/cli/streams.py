"""Standard streams whose reader may leave: a closed pipe, a closed terminal."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TextIO, final


@contextlib.contextmanager
def readers_may_leave() -> Iterator[None]:
    """Drop what is written to stdout and stderr once nobody reads it, and go on.

    So `mbrl report RUN | head -1` ends as without `head`, and a training outlives its terminal.
    """
    _open_closed()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and _Stream(stream) for stream in before)  # None: closed
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, _Stream):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
        sys.stdout, sys.stderr = before


def _open_closed() -> None:
    """Open /dev/null where stdin, stdout or stderr is closed: the next file would be in its place.

    Libraries that start a process fail without them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(opened, True)


def standard_output() -> Any:
    """Return the stream that stdout writes to."""
    return sys.stdout._stream if isinstance(sys.stdout, _Stream) else sys.stdout


@final
class _Stream:
    """Text stream that drops everything once its reader is gone.

    Args:
        stream: a text stream.
    """

    def __init__(self, stream: TextIO):
        """Store the stream, and whether it is a terminal: one that is closed is none any more."""
        self._stream = stream
        self._gone = {errno.EPIPE, errno.EIO} if stream.isatty() else {errno.EPIPE}

    def write(self, text: str) -> int:
        """Write a text."""
        with self._reader_may_leave():
            self._stream.write(self._encodable(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        with self._reader_may_leave():
            self._stream.writelines(map(self._encodable, lines))

    def flush(self) -> None:
        """Send what is buffered."""
        with self._reader_may_leave():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the stream."""
        return getattr(self._stream, name)

    def _encodable(self, text: str) -> str:
        """Return a text with what the stream's encoding has no sign for, as ASCII, escaped."""
        encoding = self._stream.encoding or "utf-8"
        try:
            text.encode(encoding, self._stream.errors or "strict")
            return text
        except UnicodeEncodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)

    @contextlib.contextmanager
    def _reader_may_leave(self) -> Iterator[None]:
        """Move the stream to /dev/null if its reader is gone, also what Python still flushes."""
        try:
            yield
        except OSError as error:
            if error.errno not in self._gone:
                raise
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
