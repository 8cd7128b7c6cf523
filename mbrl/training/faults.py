"""Errors of a run, with what the user needs to act on them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mbrl.errors import BadInput, EnvironmentFault, NumericalFault

if TYPE_CHECKING:
    from mbrl.training.counters import TrainingCounters
    from mbrl.training.run_folder import RunFolder

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


def load_part(run_path: Path, name: str, part: Any, state: Any) -> None:
    """Load a part's state from a checkpoint.

    Args:
        run_path: the run folder.
        name: of the part.
        part: takes the state.
        state: as its state_dict returned it.

    Raises:
        BadInput: if it does not fit the part, or would be loaded as other numbers than it holds.
    """
    with checkpoint_mismatch(run_path, name):
        part.load_state_dict(state)
        _check_form(state, part.state_dict(), name)


def _check_form(saved: Any, loaded: Any, name: str) -> None:
    """Check that tensors have kept their type: torch casts them in silence.

    Raises:
        TypeError: naming the tensor.
    """
    if isinstance(saved, dict) and isinstance(loaded, dict):
        for key in saved.keys() & loaded.keys():
            _check_form(saved[key], loaded[key], f"{name}/{key}")
    elif isinstance(saved, list) and isinstance(loaded, list):
        for index, pair in enumerate(zip(saved, loaded, strict=False)):
            _check_form(*pair, f"{name}/{index}")
    elif isinstance(saved, Tensor) and isinstance(loaded, Tensor) and saved.dtype != loaded.dtype:
        raise TypeError(f"{name} is {saved.dtype}, and should be {loaded.dtype}")


def restore_loop(run: RunFolder, saved: dict[str, Any], counters: TrainingCounters) -> int:
    """Restore the counters from the part "loop" of a checkpoint.

    Args:
        run: whose checkpoint it is.
        saved: the part.
        counters: take their state.

    Returns:
        The length of the record of metrics in bytes.

    Raises:
        BadInput: if it is the state of something else, or of another step.
    """
    with checkpoint_mismatch(run.path, "loop"):
        counters.load_state_dict(saved["progress"])
        if counters.step != run.step:
            raise ValueError(f"step: {counters.step} is not that of its folder")
        position = saved["log_position"]
        if type(position) is not int or not 0 <= position < 2**63:
            raise ValueError(f"log_position: {position!s:.80} is no length")
    return position


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
