"""What the commands share: one-line errors and options."""

from __future__ import annotations

import argparse
import contextlib
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from mbrl.errors import BadInput

if TYPE_CHECKING:
    from mbrl.training.run_folder import RunFolder


def say(message: str, status: int) -> int:
    """Write one line to stderr; return the exit status."""
    print("mbrl:", " ".join(message.split()), file=sys.stderr)
    return status


def failed(run: RunFolder, error: Exception) -> int:
    """Write the traceback to RUN/error.log and the reason, in one line, to stderr."""
    log = run.path / "error.log"
    hint = ""
    with contextlib.suppress(OSError):  # the disk may be what failed
        log.write_text("".join(traceback.format_exception(error)))
        hint = f" (traceback in {log})"
    return say(f"{reason(error)}{hint}", 1)


def reason(error: Exception) -> str:
    """Return the words for an error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


class Parser(argparse.ArgumentParser):
    """Parser of options, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        """Raise BadInput."""
        raise BadInput(f"{self.prog.removeprefix('mbrl ')}: {message}; --help says more")


def count(least: int) -> Callable[[str], int]:
    """Make a reader of whole numbers from least up."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} should be a whole number from {least}")
        return int(text)

    return read
