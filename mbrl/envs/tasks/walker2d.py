"""Walker2d-v5 of gymnasium: walk forward without falling."""

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
    """Return where height or angle is out of the healthy range: (B,) bool."""
    height, angle = next_obs[:, 0], next_obs[:, 1]
    return (height <= 0.8) | (height >= 2.0) | (angle.abs() >= 1.0)


@final
class Walker2d(MujocoTask):
    """Two legs of three joints; 17 observations, 6 torques.

    Args:
        version: of gymnasium's environment:
            "v5": the present one.
            "v4": that of D4RL and NeoRL; it also pays for health in the step of the fall, and its
            feet differ in friction.
        with_x: begin observations with x, as NeoRL's do.
    """

    model_path = GYMNASIUM_ASSETS / "walker2d_v5.xml"
    frame_skip = 4
    max_episode_steps = 1000
    camera = {
        "trackbodyid": 2,
        "distance": 4.0,
        "lookat": np.array([0, 0, 1.15]),
        "elevation": -20.0,
    }
    task = Task(
        terminated=fallen,
        obs_names=(
            *("z", "angle", "thigh", "leg", "foot", "thigh_left", "leg_left", "foot_left"),
            *("x_dot", "z_dot", "angle_dot", "thigh_dot", "leg_dot", "foot_dot"),
            *("thigh_left_dot", "leg_left_dot", "foot_left_dot"),
        ),
        positions=tuple((i, i + 9) for i in range(8)),
    )

    @checked
    def __init__(self, version: Literal["v4", "v5"] = "v5", with_x: bool = False):
        """Choose rules and observations."""
        if version == "v4":
            self.model_path = GYMNASIUM_ASSETS / "walker2d.xml"
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
        z, angle = now["qpos"][:, 1], now["qpos"][:, 2]
        return (z > 0.8) & (z < 2.0) & (angle > -1.0) & (angle < 1.0)

    def start_info(self, now: Fields) -> dict[str, ArrayOrTensor]:
        """Return place and height, as gymnasium does."""
        return place_info(now)

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return place, height, speed and the terms of the reward, as gymnasium does."""
        paid = self._healthy(now) | self._pays_fall
        return locomotion_info(before, action, now, dt, paid)
