"""Checks of every step: the shape of actions, and that numbers are finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mbrl.errors import BadInput, EnvironmentFault


def action_array(action: Any, num_envs: int, dim: int) -> np.ndarray:
    """Return actions (num_envs, dim) as a numpy array of their own type.

    Args:
        action: a tensor, or what numpy takes for an array.
        num_envs: rows that it must have.
        dim: columns that it must have.

    Raises:
        BadInput: if it is of another shape.
    """
    array = torch.as_tensor(action).detach().cpu().numpy()
    if array.shape != (num_envs, dim):
        raise BadInput(f"action: shape should be ({num_envs}, {dim}), got {array.shape}")
    return array


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
    finite = np.abs(values) <= largest  # False for a NaN
    if finite.all():
        return
    row = int(np.flatnonzero(~finite.reshape(len(values), -1).all(1))[0])
    problem = "a NaN" if np.isnan(values[row]).any() else "an infinity"
    index = row if indices is None else indices[row]
    raise EnvironmentFault(f"{problem} in the {what}", index=index, step=step)
