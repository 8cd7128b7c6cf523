"""Errors of a run, with what the user needs to act on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mbrl.errors import BadInput, EnvironmentFault, NumericalFault


@contextmanager
def checkpoint_mismatch(run_path: Path, part: str) -> Iterator[None]:
    """Raise an error of loading a checkpoint again, as one that names the run and the part.

    Args:
        run_path: the run folder.
        part: what is loaded.

    Raises:
        BadInput: instead of what loading raised.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, EnvironmentFault | BadInput):
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise BadInput(
            f"{run_path}: the checkpoint's {part} does not fit config.yaml ({reason}); "
            "undo the change of the config, or begin a new run"
        ) from error


@contextmanager
def saved_if_it_fails(save: Callable[[], None]) -> Iterator[None]:
    """Save before an error goes on, so that the steps before it are not lost.

    Args:
        save: saves what was reached; if the disk refuses it, the first error counts.
    """
    try:
        yield
    except Exception:
        with suppress(OSError):
            save()
        raise


@contextmanager
def located(step: int, where: str = "", unit: str = "transitions") -> Iterator[None]:
    """Raise a fault again with the number of transitions, or updates, after which it came.

    Args:
        step: that number.
        where: a phrase in front of it, such as "in the evaluation ".
        unit: what is counted.

    Raises:
        NumericalFault: with the number.
        EnvironmentFault: with the number.
    """
    when = f"({where}after {step} {unit})"
    try:
        yield
    except NumericalFault as fault:
        raise NumericalFault(f"{fault} {when}") from fault
    except EnvironmentFault as fault:
        what = f"{fault.what} {when}"
        raise EnvironmentFault(what, index=fault.index, step=fault.step) from fault
