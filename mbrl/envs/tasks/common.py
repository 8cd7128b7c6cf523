"""Parts of several tasks: gymnasium's models, starts, rewards and names."""

from __future__ import annotations

import functools
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np
import torch
from array_api_compat import device
from torch import Tensor

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco_task import Fields
from mbrl.envs.simulation import Array, ArrayOrTensor
from mbrl.types import Task

GYMNASIUM_ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
# of bodies that float: positions without x and y, velocities; then the forces of a contact
FREE_JOINT = (
    ("z", "quat_w", "quat_x", "quat_y", "quat_z"),
    ("x_dot", "y_dot", "z_dot", "spin_x", "spin_y", "spin_z"),
)
FORCES = ("torque_x", "torque_y", "torque_z", "force_x", "force_y", "force_z")
_REST = 1.25  # m: height of hopper and walker in their models' own postures


def add_uniform(x: Array, scale: float, generator: np.random.Generator) -> None:
    """Add uniform noise of [-scale, scale) in place."""
    x += generator.uniform(low=-scale, high=scale, size=x.shape)


def constant(values: tuple[float, ...], like: ArrayOrTensor) -> ArrayOrTensor:
    """Return numbers as an array of the library, device and number format of another.

    It is made once, so that a GPU need not wait for the CPU in every step.
    """
    return _constant(array_namespace(like), values, like.dtype, device(like))


@functools.lru_cache(64)
def _constant(
    xp: ModuleType, values: tuple[float, ...], dtype: object, device: object
) -> ArrayOrTensor:
    """Build the array of `constant`."""
    return xp.asarray(values, dtype=dtype, device=device)


def control_cost(action: ArrayOrTensor, weight: float) -> ArrayOrTensor:
    """Compute weight * sum of squares (E,), in the number format of actions, as gymnasium."""
    xp = array_namespace(action)
    return weight * xp.sum(xp.square(action), axis=-1)


def forward_speed(before: Fields, now: Fields, dt: float) -> ArrayOrTensor:
    """Compute the mean speed (E,) along x during a step of dt seconds."""
    return (now["qpos"][:, 0] - before["qpos"][:, 0]) / dt


def locomotion_reward(
    before: Fields, action: ArrayOrTensor, now: Fields, dt: float, paid: ArrayOrTensor
) -> ArrayOrTensor:
    """Compute forward speed, plus 1 where paid (E,), minus 0.001 of the control cost: (E,)."""
    return forward_speed(before, now, dt) + paid * 1.0 - control_cost(action, 1e-3)


def plane_info(now: Fields) -> dict[str, ArrayOrTensor]:
    """Return the place in the plane and its distance, by gymnasium's names: (E,) each."""
    place = now["qpos"][:, :2]
    xp = array_namespace(place)
    return {
        "x_position": place[:, 0],
        "y_position": place[:, 1],
        "distance_from_origin": xp.sqrt(xp.vecdot(place, place)),
    }


def place_info(now: Fields) -> dict[str, ArrayOrTensor]:
    """Return place and height over the model's own posture, by gymnasium's names: (E,) each."""
    qpos = now["qpos"]
    return {"x_position": qpos[:, 0], "z_distance_from_origin": qpos[:, 1] - _REST}


def locomotion_info(
    before: Fields, action: ArrayOrTensor, now: Fields, dt: float, paid: ArrayOrTensor
) -> dict[str, ArrayOrTensor]:
    """Return place_info, speed and the terms of locomotion_reward, by gymnasium's names."""
    speed = forward_speed(before, now, dt)
    terms = {"reward_forward": speed, "reward_ctrl": -control_cost(action, 1e-3)}
    terms |= {"reward_survive": paid * 1.0}
    return {**place_info(now), "x_velocity": speed, **terms}


def never(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return False for every row: (B,) bool."""
    return torch.zeros_like(next_obs[:, 0], dtype=torch.bool)


def all_false(reward: ArrayOrTensor) -> ArrayOrTensor:
    """Return no termination (E,) beside rewards (E,)."""
    xp = array_namespace(reward)
    return xp.zeros_like(reward, dtype=xp.bool)


def with_x_first(task: Task) -> Task:
    """Return the Task of observations that begin with x.

    Args:
        task: of the observations without x; with names, "x_dot" among them, and termination.
    """
    terminated = task.terminated
    assert terminated is not None and task.obs_names is not None

    @functools.wraps(terminated)
    def without_x(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return terminated(obs[:, 1:], action, next_obs[:, 1:])

    return task._replace(
        terminated=without_x,
        obs_names=("x", *task.obs_names),
        positions=(
            (0, task.obs_names.index("x_dot") + 1),
            *((position + 1, speed + 1) for position, speed in task.positions),
        ),
    )
