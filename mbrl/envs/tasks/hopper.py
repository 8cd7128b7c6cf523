"""Hopper-v5 of gymnasium: hop forward without falling."""

from __future__ import annotations

from typing import Literal, final

import numpy as np
from torch import Tensor

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor
from mbrl.envs.tasks.common import (
    GYMNASIUM_ASSETS,
    add_uniform,
    locomotion_info,
    locomotion_reward,
    place_info,
    with_x_first,
)
from mbrl.types import Task
from mbrl.values import checked


def fallen(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return where height, angle or a joint is out of the healthy range: (B,) bool."""
    height, angle = next_obs[:, 0], next_obs[:, 1]
    extreme = (next_obs[:, 1:].abs() >= 100).any(1)  # velocities are clipped to 10: angles only
    return (height <= 0.7) | (angle.abs() >= 0.2) | extreme


@final
class Hopper(MujocoTask):
    """One leg of three joints; 11 observations, 3 torques.

    Args:
        version: of gymnasium's environment:
            "v5": the present one.
            "v4": that of D4RL and NeoRL; it also pays for health in the step of the fall.
        with_x: begin observations with x, as NeoRL's do.
    """

    model_path = GYMNASIUM_ASSETS / "hopper.xml"
    frame_skip = 4
    max_episode_steps = 1000
    camera = {
        "trackbodyid": 2,
        "distance": 3.0,
        "lookat": np.array([0, 0, 1.15]),
        "elevation": -20.0,
    }
    task = Task(
        terminated=fallen,
        obs_names=(
            *("z", "angle", "thigh", "leg", "foot"),
            *("x_dot", "z_dot", "angle_dot", "thigh_dot", "leg_dot", "foot_dot"),
        ),
        positions=((0, 6), (1, 7), (2, 8), (3, 9), (4, 10)),
    )

    @checked
    def __init__(self, version: Literal["v4", "v5"] = "v5", with_x: bool = False):
        """Choose rules and observations."""
        self._pays_fall = version == "v4"
        self._begin = 0 if with_x else 1
        if with_x:
            self.task = with_x_first(self.task)

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample near standing."""
        add_uniform(qpos, 5e-3, generator)
        add_uniform(qvel, 5e-3, generator)

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return positions, and velocities clipped to 10."""
        xp = array_namespace(now["qpos"])
        return xp.concat((now["qpos"][:, self._begin :], now["qvel"].clip(-10, 10)), axis=1)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return forward speed and health, less the control cost."""
        healthy = self._healthy(now)
        paid = healthy | self._pays_fall
        return locomotion_reward(before, action, now, dt, paid), ~healthy

    def _healthy(self, now: Fields) -> ArrayOrTensor:
        """Return where it stands (E,)."""
        qpos, qvel = now["qpos"], now["qvel"]
        xp = array_namespace(qpos)
        z, angle = qpos[:, 1], qpos[:, 2]
        bounded = xp.all(abs(qpos[:, 2:]) < 100, axis=1) & xp.all(abs(qvel) < 100, axis=1)
        return bounded & (z > 0.7) & (angle > -0.2) & (angle < 0.2)

    def start_info(self, now: Fields) -> dict[str, ArrayOrTensor]:
        """Return place and height, as gymnasium does."""
        return place_info(now)

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return place, height, speed and the terms of the reward, as gymnasium does."""
        paid = self._healthy(now) | self._pays_fall
        return locomotion_info(before, action, now, dt, paid)
