"""HalfCheetah-v5 of gymnasium: run forward."""

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
    with_x_first,
)
from mbrl.types import Task
from mbrl.values import checked


@final
class HalfCheetah(MujocoTask):
    """Two legs of three joints; 17 observations, 6 torques.

    Args:
        with_x: begin observations with x, as NeoRL's do.
    """

    model_path = GYMNASIUM_ASSETS / "half_cheetah.xml"
    frame_skip = 5
    max_episode_steps = 1000
    ends = False
    camera = {"distance": 4.0}
    task = Task(
        terminated=never,
        obs_names=(
            *("z", "angle", "thigh_back", "shin_back", "foot_back"),
            *("thigh_front", "shin_front", "foot_front", "x_dot", "z_dot", "angle_dot"),
            *("thigh_back_dot", "shin_back_dot", "foot_back_dot"),
            *("thigh_front_dot", "shin_front_dot", "foot_front_dot"),
        ),
        positions=tuple((i, i + 9) for i in range(8)),
    )

    @checked
    def __init__(self, with_x: bool = False):
        """Choose the observations."""
        self._begin = 0 if with_x else 1
        if with_x:
            self.task = with_x_first(self.task)

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample near the model's own posture."""
        add_uniform(qpos, 0.1, generator)
        qvel += 0.1 * generator.standard_normal(qvel.shape)

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return positions and velocities."""
        xp = array_namespace(now["qpos"])
        return xp.concat((now["qpos"][:, self._begin :], now["qvel"]), axis=1)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return forward speed, less the control cost."""
        velocity = forward_speed(before, now, dt)
        return velocity - control_cost(action, 0.1), all_false(velocity)

    def start_info(self, now: Fields) -> dict[str, ArrayOrTensor]:
        """Return the place, as gymnasium does."""
        return {"x_position": now["qpos"][:, 0]}

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return place, speed and the terms of the reward, as gymnasium does."""
        speed = forward_speed(before, now, dt)
        terms = {"reward_forward": speed, "reward_ctrl": -control_cost(action, 0.1)}
        return {"x_position": now["qpos"][:, 0], "x_velocity": speed, **terms}
