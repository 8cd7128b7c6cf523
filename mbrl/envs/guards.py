"""Checks of every step: the shape of actions, that numbers are finite, and what a task returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mbrl import types
from mbrl.errors import EnvironmentFault


def action_array(action: Any, num_envs: int, dim: int) -> np.ndarray:
    """Return actions (num_envs, dim) as a numpy array of their own type.

    Args:
        action: a tensor, or what numpy takes for an array.
        num_envs: rows that it must have.
        dim: columns that it must have.

    Raises:
        BadInput: if it is of another shape, or holds a NaN or an infinity.
    """
    shape = (num_envs, dim)
    return types.as_numbers("action", action, shape, finite=True).detach().cpu().numpy()


def check_finite(
    what: str, values: np.ndarray, largest: float, step: int, indices: list[int] | None = None
) -> None:
    """Check that no value is a NaN or beyond what can be stored.

    Args:
        what: name of the values, such as "reward".
        values: (E,) or (E, columns).
        largest: the largest number that can be stored.
        step: number of the step, to name a fault.
        indices: the environments that the rows belong to; None if to all of them.

    Raises:
        EnvironmentFault: naming the first environment with such a value.
    """
    if values.dtype.kind != "f":
        return
    largest = min(largest, float(np.finfo(values.dtype).max))
    finite = np.abs(values) <= largest  # False for a NaN
    if finite.all():
        return
    row = int(np.flatnonzero(~finite.reshape(len(values), -1).all(1))[0])
    problem = "a NaN" if np.isnan(values[row]).any() else "an infinity"
    index = row if indices is None else indices[row]
    raise EnvironmentFault(f"{problem} in the {what}", index=index, step=step)


def call_task(
    name: str, function: Callable[..., Any], *arguments: Any, indices: list[int] | None = None
) -> Any:
    """Return what a task's own function computes from arguments of one row per environment.

    Args:
        name: of the function, for the message.
        function: of the task.
        arguments: arrays, or dictionaries of arrays, whose first axis counts environments; other
            values are passed on.
        indices: the environments that the rows belong to; None if to all of them.

    Raises:
        EnvironmentFault: if it raises, naming the first environment whose row alone makes it raise;
            the caller adds the step's number.
    """
    try:
        return function(*arguments)
    except Exception as error:
        row = _first_failing(function, arguments)
        index = row if row is None or indices is None else indices[row]
        what = f"{name}() raised {type(error).__name__}: {error}"
        raise EnvironmentFault(what, index=index, step=0) from error


def _first_failing(function: Callable[..., Any], arguments: tuple[Any, ...]) -> int | None:
    """Return the first row that makes a function raise by itself, None if there is none."""
    sizes = [len(x) for argument in arguments for x in _arrays(argument)]
    if not sizes or sizes[0] == 1:
        return 0
    for row in range(sizes[0]):
        try:
            function(*(_row(argument, row) for argument in arguments))
        except Exception:
            return row
    return None


def _arrays(argument: Any) -> list[Any]:
    """Return the arrays of an argument."""
    if isinstance(argument, dict):
        return list(argument.values())
    return [argument] if isinstance(argument, np.ndarray | list) else []


def _row(argument: Any, row: int) -> Any:
    """Return one row of an argument, as a batch of one."""
    if isinstance(argument, dict):
        return {name: array[row : row + 1] for name, array in argument.items()}
    return argument[row : row + 1] if isinstance(argument, np.ndarray | list) else argument


def as_numbers(name: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return numbers that a task computed as a float64 array.

    Args:
        name: of what they are, for the message.
        value: what the task returned.
        shape: that it must have; None where any length will do.

    Raises:
        EnvironmentFault: if they are something else; the caller adds the step's number.
    """
    array = np.asarray(value)
    if array.dtype == np.float64 and array.shape == shape:
        return array
    if array.dtype.kind not in "fiu" or not _fits(array.shape, shape):
        raise EnvironmentFault(_wrong(name, array, "numbers", shape), index=None, step=0)
    return array.astype(np.float64, copy=False)


def as_flags(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return flags that a task computed as an array of bool.

    Args:
        name: of what they are, for the message.
        value: what the task returned.
        shape: that it must have.

    Raises:
        EnvironmentFault: if they are something else; the caller adds the step's number.
    """
    array = np.asarray(value)
    if array.dtype.kind != "b" or not _fits(array.shape, shape):
        raise EnvironmentFault(_wrong(name, array, "bool", shape), index=None, step=0)
    return array


def as_pair(name: str, value: Any) -> tuple[Any, Any]:
    """Return the reward and the end that a task's function returned.

    Args:
        name: of the function.
        value: what it returned.

    Raises:
        EnvironmentFault: if it is no pair; the caller adds the step's number.
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        several = f" of {len(value)}" if isinstance(value, tuple | list) else ""
        what = f"{name}() returned a {type(value).__name__}{several}, not (reward, terminated)"
        raise EnvironmentFault(what, index=None, step=0)
    return value[0], value[1]


def is_reward_term(name: str) -> bool:
    """Return whether a key of gymnasium's `info` is that of a term of the reward, by its name.

    Args:
        name: the key, as in gymnasium's MuJoCo environments: reward_ctrl, velocity_penalty.
    """
    return name.startswith("reward_") or name.endswith("_penalty")


def _fits(shape: tuple[int, ...], right: tuple[int | None, ...]) -> bool:
    """Return whether a shape is as it should be."""
    return shape == right or (
        len(shape) == len(right) and all(b in (None, a) for a, b in zip(shape, right, strict=True))
    )


def _wrong(name: str, array: np.ndarray, kind: str, shape: tuple[int | None, ...]) -> str:
    """Return what is wrong with an array, in one line."""
    right = ", ".join("N" if n is None else str(n) for n in shape)
    right = f"({right},)" if len(shape) == 1 else f"({right})"
    return f"{name} is {array.dtype} of shape {array.shape}, not {kind} of shape {right}"
