"""Steps read from flat arrays: their form, and where their episodes end."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl.errors import BadInput
from mbrl.types import Transitions

REMEDY = "copy or download it again"
LIMIT = 1000  # steps of an episode in all environments of D4RL and NeoRL


class Steps(NamedTuple):
    """N steps of consecutive episodes."""

    obs: NDArray[np.float32]  # (N, obs_dim)
    action: NDArray[np.float32]  # (N, act_dim)
    reward: NDArray[np.float32]  # (N,)
    next_obs: NDArray[np.float32] | None  # (N, obs_dim)
    terminated: NDArray[np.bool_]  # (N,)
    last: NDArray[np.bool_] | None  # (N,) ends of episodes; None: the file has none


def at_limit(last: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the steps (N,) at the time limit, counted from the last end."""
    rows = np.arange(len(last))
    starts = np.maximum.accumulate(np.where(np.r_[True, last[:-1]], rows, 0))
    return (rows - starts + 1) % LIMIT == 0


class Converted(NamedTuple):
    """Transitions made of the steps of a file."""

    data: Transitions  # (B, ...)
    recorded: torch.Tensor  # (B,) bool: where the file holds the successor
    returns: torch.Tensor  # (num_episodes,) float64, of all steps of the file


def to_transitions(steps: Steps) -> Converted:
    """Convert steps to transitions (B, ...); episodes also end where the observations do not join.

    Without successors an episode that was cut off loses its last step: its value is that of an
    observation that is not known. A terminal has no value behind it, so it stays, with its reward;
    its next_obs is its obs, and recorded is False there.

    Raises:
        BadInput: if no step is left.
    """
    size = len(steps.reward)
    last = np.zeros(size, dtype=bool) if steps.last is None else steps.last.copy()
    last[-1] = True
    if steps.next_obs is None:
        last |= steps.terminated
        next_obs = np.where(last[:, None], steps.obs, np.roll(steps.obs, -1, axis=0))
        recorded, keep = ~last, ~last | steps.terminated
        if not keep.any():
            raise BadInput("has no next_observations, no terminal and no episode of two steps")
    else:
        next_obs = steps.next_obs
        last[:-1] |= (next_obs[:-1] != steps.obs[1:]).any(1)
        last |= steps.terminated
        recorded = keep = np.ones(size, dtype=bool)
    number = np.r_[0, np.cumsum(last)[:-1]]
    returns = np.bincount(number, steps.reward.astype(np.float64))
    episode = number[keep]
    terminated = steps.terminated[keep]
    ends = np.r_[np.diff(episode) > 0, True]  # the last kept step: its value is bootstrapped
    parts = (
        steps.obs[keep],
        steps.action[keep],
        steps.reward[keep],
        next_obs[keep],
        terminated,
        ends & ~terminated,
        episode.astype(np.int64),
    )
    data = Transitions(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))
    return Converted(data, torch.from_numpy(recorded[keep]), torch.from_numpy(returns))


def check_layout(
    arrays: dict[str, NDArray[Any]], layout: str, needed: tuple[str, ...], successors: str
) -> None:
    """Check that all arrays are there and fit together.

    Args:
        arrays: by name.
        layout: its name.
        needed: names of the arrays that it must have, observations first.
        successors: name of the array of successors.

    Raises:
        BadInput: naming the array that is missing or wrong.
    """
    for name in needed:
        if name not in arrays:
            raise BadInput(f"has no {name}; {layout}'s layout is {', '.join(needed)}")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise BadInput(f"{name} holds {array.dtype}, not numbers")
        if name != "index" and (array.ndim == 0 or len(array) != len(arrays[needed[0]])):
            rows = len(array) if array.ndim else 0
            first = len(arrays[needed[0]])
            raise BadInput(f"{name} has {rows} rows where {needed[0]} has {first}; {REMEDY}")
    if len(arrays[needed[0]]) == 0:
        raise BadInput("holds no steps")
    if successors in arrays and arrays[successors].shape != arrays[needed[0]].shape:
        raise BadInput(f"{successors} is of another shape than {needed[0]}")


def table(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    """Return an array (N, dim), finite."""
    array = arrays[name]
    if array.ndim > 2:
        raise BadInput(f"{name} of shape {array.shape}; should be (steps, numbers)")
    return _finite(array.reshape(len(array), -1), name)


def column(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    """Return an array (N,), finite."""
    return _finite(_flat(arrays, name), name)


def flags(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.bool_]:
    """Return an array (N,) of true and false."""
    array = _flat(arrays, name)
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        raise BadInput(f"{name} of step {wrong.argmax()} is neither 0 nor 1")
    return array.astype(bool)


def _flat(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """Return an array (N,), which may be stored as (N, 1)."""
    array = arrays[name]
    if array.size != len(array):
        raise BadInput(f"{name} of shape {array.shape}; should be one number a step")
    return array.reshape(-1)


def _finite(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Convert numbers to float32; refuse those that are not finite."""
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(array, dtype=np.float32)
    wrong = ~np.isfinite(numbers).reshape(len(numbers), -1).all(1)
    if wrong.any():
        raise BadInput(f"{name} of step {wrong.argmax()} is not finite")
    return numbers
