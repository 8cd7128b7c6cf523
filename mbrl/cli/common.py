"""What the commands share: one-line errors and options."""

from __future__ import annotations

import argparse
import contextlib
import gc
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Protocol

from mbrl.errors import BadInput
from mbrl.files import write_whole
from mbrl.memory import in_words, is_too_large, limited_memory, total_memory

if TYPE_CHECKING:
    from mbrl.config.trust import Trust
    from mbrl.training.run_folder import RunFolder


_LONGEST = 4000  # characters of a line


def say(message: str, status: int) -> int:
    """Write one line to stderr; return the exit status."""
    line = " ".join(message.split())[:_LONGEST]
    if sys.stderr is not None:  # print would take stdout in its place
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
        print("mbrl:", text, file=sys.stderr)
    return status


def started() -> None:
    """Collect garbage from now on, but not among what has been imported and built so far.

    The command line's own process collects none before: what starting makes stays, and to look
    through it, again at the end of the process, takes a quarter of the time of a short run.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def failed(run: RunFolder, error: Exception) -> int:
    """Write the traceback to RUN/error.log and the reason, in one line, to stderr."""
    log = run.path / "error.log"
    hint = ""
    with contextlib.suppress(OSError, BadInput):  # the disk may be what failed
        write_whole(log, "".join(traceback.format_exception(error)).encode("utf-8", "replace"))
        hint = f" (traceback in {log})"
    words = reason(error)
    if is_too_large(error):
        from mbrl.config.build import farthest_setting

        setting = farthest_setting(run.config)
        words = f"out of memory ({in_words(total_memory())} here); the largest is {setting}"
    return say(f"{words}{hint}", 1)


def run_on(run: RunFolder, work: Callable[[], int]) -> int:
    """Run a command's work on a run folder in the machine's memory; return the exit status.

    Raises:
        BadInput: of the work; any other error is written to RUN/error.log and in one line.
    """
    on_cpu = not str(run.config.get("device")).startswith("cuda")
    try:
        with limited_memory() if on_cpu else contextlib.nullcontext():
            return work()
    except BadInput:
        raise
    except Exception as error:
        return failed(run, error)


def reason(error: Exception) -> str:
    """Return the words for an error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


def add_trust(
    parser: argparse.ArgumentParser, *, what: str = "the folder", accepts: bool = True
) -> None:
    """Add the options that say what a stored config may name and ask for.

    Args:
        parser: of the command.
        what: which names it.
        accepts: whether it has a config.yaml that may have been changed.
    """
    parser.add_argument(
        "--trust",
        action="store_true",
        help=f"run code and read files that {what} names, of any size",
    )
    parser.add_argument(
        "--config-dir", type=Path, metavar="DIR", help="run code of this folder of your choices"
    )
    if accepts:
        parser.add_argument(
            "--accept-config", action="store_true", help="although config.yaml was changed by hand"
        )
    else:
        parser.set_defaults(accept_config=False)


_NAMES_CODE = re.compile(r"_target_|\bid\W+[\w.]+:")  # a part of one's own, or env.id=MODULE:ID


def use_folders_of(settings: Iterable[str], config_dir: Path | None) -> None:
    """Add the folders in which the modules that the user names are.

    These are the current folder and config_dir. The current folder is left out where the settings
    name no code: it may be a stranger's, and a package that is not installed would be taken from
    it.

    Args:
        settings: as typed.
        config_dir: a folder of choices, whose YAML files may name modules.
    """
    from mbrl.config.trust import use_folder

    if config_dir is not None or any(_NAMES_CODE.search(text) for text in settings):
        use_folder(Path.cwd())
    if config_dir is not None:
        use_folder(config_dir)


class HasTrust(Protocol):
    """Options that say what the user agrees to."""

    @property
    def trust(self) -> bool:
        """Return whether any code may run."""
        ...

    @property
    def config_dir(self) -> Path | None:
        """Return the folder whose code may run."""
        ...

    @property
    def accept_config(self) -> bool:
        """Return whether a changed config.yaml is accepted."""
        ...


def trust_of(options: HasTrust | argparse.Namespace) -> Trust:
    """Return what the user agrees to; with --trust, code is found in the current folder too.

    With --config-dir it is not: the folder may be a stranger's, and a package that is not installed
    would be taken from it.
    """
    from mbrl.config.trust import Trust, use_folder

    if options.trust:
        use_folder(Path.cwd())
    return Trust(options.trust, options.config_dir, options.accept_config)


class Parser(argparse.ArgumentParser):
    """Parser of options, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        """Raise BadInput."""
        raise BadInput(f"{self.prog.removeprefix('mbrl ')}: {message}; --help says more")


def count(least: int, most: int = 100_000) -> Callable[[str], int]:
    """Make a reader of whole numbers from least to most."""

    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"{text} should be a whole number from {least} to {most}"
            )
        return int(text)

    return read
