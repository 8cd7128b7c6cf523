"""Swimmer-v5 of gymnasium: swim forward."""

from __future__ import annotations

from typing import final

import numpy as np

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor
from mbrl.envs.tasks.common import (
    GYMNASIUM_ASSETS,
    add_uniform,
    all_false,
    control_cost,
    forward_speed,
    never,
    plane_info,
)
from mbrl.types import Task


@final
class Swimmer(MujocoTask):
    """Three links in a fluid; 8 observations, 2 torques."""

    model_path = GYMNASIUM_ASSETS / "swimmer.xml"
    frame_skip = 4
    max_episode_steps = 1000
    ends = False
    task = Task(
        terminated=never,
        obs_names=(
            *("angle", "joint_1", "joint_2"),
            *("x_dot", "y_dot", "angle_dot", "joint_1_dot", "joint_2_dot"),
        ),
        positions=((0, 5), (1, 6), (2, 7)),
    )

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample near the model's own posture."""
        add_uniform(qpos, 0.1, generator)
        add_uniform(qvel, 0.1, generator)

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return positions without x and y, and velocities."""
        xp = array_namespace(now["qpos"])
        return xp.concat((now["qpos"][:, 2:], now["qvel"]), axis=1)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return forward speed, less the control cost."""
        velocity = forward_speed(before, now, dt)
        return velocity - control_cost(action, 1e-4), all_false(velocity)

    def start_info(self, now: Fields) -> dict[str, ArrayOrTensor]:
        """Return the place, as gymnasium does."""
        return plane_info(now)

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return place, speed and the terms of the reward, as gymnasium does."""
        speed = (now["qpos"][:, :2] - before["qpos"][:, :2]) / dt
        terms = {"reward_forward": speed[:, 0], "reward_ctrl": -control_cost(action, 1e-4)}
        speeds = {"x_velocity": speed[:, 0], "y_velocity": speed[:, 1]}
        return {**self.start_info(now), **speeds, **terms}
