"""Errors of a run, with what the user needs to act on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mbrl.errors import BadInput, EnvironmentFault, NumericalFault

_NAMED = 2  # entries of a state that a message names
_LONGEST = 200  # characters of a reason


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
    except (EnvironmentFault, BadInput, OSError, MemoryError):
        raise
    except Exception as error:  # whatever a state of another form raises
        raise BadInput(
            f"{run_path}: the checkpoint's {part} does not fit ({_what_differs(error)}); "
            "an older version of dynaplan saved it, or config.yaml was changed: "
            "fit again in a new run, or undo the change"
        ) from error


def _what_differs(error: Exception) -> str:
    """Return in one line what does not fit; of a torch module the names and shapes."""
    text = " ".join(str(error).split())
    module = re.match(r"Error\(s\) in loading state_dict for (\w+):", text)
    if module is None:
        kind = "no entry" if isinstance(error, KeyError) else f"{type(error).__name__}:"
        return f"{kind} {text[:_LONGEST]}"
    listed = r'(Missing|Unexpected) key\(s\) in state_dict: "((?:[^"]|", ")+)"'
    said = [f"{what.lower()} " + _first(n.split('", "')) for what, n in re.findall(listed, text)]
    shapes = re.findall(r"size mismatch for (\S+): .*?\(\[(.*?)\]\).*?\(\[(.*?)\]\)", text)
    if shapes:
        said.append(_first([f"{name} is ({old}), not ({new})" for name, old, new in shapes]))
    return f"{module[1]}: {'; '.join(said) or text}"[: 2 * _LONGEST]


def _first(names: list[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


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
