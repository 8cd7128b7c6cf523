"""Command line: `mbrl train | eval | sweep | report | video | doctor`, one file a command.

Exit status: 0 done, 1 a failure in the run, 2 bad input, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from mbrl import moved
from mbrl.cli.common import reason, say, started
from mbrl.cli.streams import readers_may_leave, standard_output
from mbrl.errors import BadInput, OtherVersions

__all__ = ["COMMANDS", "main"]

_NO_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)  # what was typed can be no path

COMMANDS = {  # name -> module with main(arguments) -> exit status, and what it does
    "train": ("mbrl.cli.train", "train an agent: mbrl train [KEY=VALUE ...] | --resume RUN"),
    "eval": ("mbrl.cli.evaluate", "evaluate a run's newest checkpoint"),
    "fit": ("mbrl.cli.fit", "fit models to recorded runs: mbrl fit DATA obs=x,y action=u"),
    "collect": ("mbrl.cli.collect", "write a Minari dataset of what a run's agent does"),
    "sweep": ("mbrl.cli.sweep", "check a sweep file and show how W&B runs it"),
    "video": ("mbrl.cli.video", "film an episode of a run's newest checkpoint"),
    "report": ("mbrl.cli.report", "write a run's report: curves, returns, model error"),
    "equations": ("mbrl.cli.equations", "print the equations of a run's sparse model"),
    "distill": ("mbrl.cli.distill", "turn a run's policy into a formula of a few terms"),
    "doctor": ("mbrl.cli.doctor", "show what is installed and what works here"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status.

    Args:
        argv: the command and its arguments; None takes the process's own.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        gc.disable()  # until the command calls started()
    try:
        with readers_may_leave():
            return _run(arguments)
    finally:
        started()


def _run(arguments: list[str]) -> int:
    """Run a command; return its exit status, and write what went wrong in one line."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return say("the current folder was deleted; change to another one", 2)
    try:
        with _warnings_in_one_line():
            status = _dispatch(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk may show here only
        return status
    except BadInput as error:
        return say(str(error), 2)
    except KeyboardInterrupt:
        return say("interrupted", 130)
    except OSError as error:
        # or Python would complain of what it cannot flush
        if standard_output() is sys.__stdout__ is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return say(reason(error), 2 if error.errno in _NO_NAMES else 1)


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Write each warning of an old name or of other versions once, in one line of stderr."""
    with warnings.catch_warnings():
        usual, shown = warnings.showwarning, set()

        def show(message: Warning | str, category: type[Warning], *where: Any) -> None:
            if not isinstance(message, moved.Renamed | OtherVersions):
                usual(message, category, *where)
            elif str(message) not in shown:
                shown.add(str(message))
                kind = "DeprecationWarning" if isinstance(message, moved.Renamed) else "warning"
                say(f"{kind}: {message}", 0)

        warnings.showwarning = show
        warnings.simplefilter("always", moved.Renamed)
        warnings.simplefilter("always", OtherVersions)
        yield


def _dispatch(arguments: list[str]) -> int:
    """Call the command of that name."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_usage())
        return 0
    if name == "--version":
        import mbrl

        print(f"dynaplan {mbrl.__version__}")
        return 0
    if name not in COMMANDS:
        from mbrl.config.library import nearest

        near = nearest(name, COMMANDS)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(COMMANDS)}"
        raise BadInput(f"{name}: unknown command; {hint}")
    command = importlib.import_module(COMMANDS[name][0])
    if name not in ("train", "eval"):  # they import and build much first
        started()
    return command.main(rest)


def _usage() -> str:
    """Return the list of the commands."""
    lines = [f"  {name:9} {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(["usage: mbrl COMMAND ...", "", *lines, "", "mbrl COMMAND --help says more"])
