"""What the commands share: one-line errors, and a run restored from its checkpoint."""

from __future__ import annotations

import argparse
import contextlib
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from mbrl.errors import BadInput

if TYPE_CHECKING:
    from mbrl.config import Parts
    from mbrl.run import RunFolder


def say(message: str, status: int) -> int:
    """Write one line to stderr; hand the exit status on."""
    print("mbrl:", " ".join(message.split()), file=sys.stderr)
    return status


def failed(run: RunFolder, error: Exception) -> int:
    """Keep the traceback in RUN/error.log; say the reason in one line."""
    log = run.path / "error.log"
    with contextlib.suppress(OSError):  # the disk may be what failed
        log.write_text("".join(traceback.format_exception(error)))
    return say(f"{type(error).__name__}: {error} (traceback in {log})", 1)


class Parser(argparse.ArgumentParser):
    """Parse options, with our one-line errors."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise BadInput(f"{self.prog.removeprefix('mbrl ')}: {message}; --help says more")


def count(least: int) -> Callable[[str], int]:
    """Make a reader of whole numbers from least up."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} should be a whole number from {least}")
        return int(text)

    return read


def restore(run: RunFolder) -> Parts:
    """Build a run's parts and give the agent back what it had learned; imports torch.

    Raises:
        BadInput: if there is no checkpoint, or it is damaged.
    """
    saved = run.load("agent")
    if saved is None:
        raise BadInput(f"{run.path}: has no checkpoint yet; train it first")
    import torch

    from mbrl.config import build

    torch.set_num_threads(run.config["num_threads"])
    parts = build(run.config)
    parts.agent.load_state_dict(saved["agent"])
    return parts
