"""Ant-v5 of gymnasium: walk forward on four legs."""

from __future__ import annotations

from typing import final

import numpy as np
from torch import Tensor

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor
from mbrl.envs.tasks.common import (
    FORCES,
    FREE_JOINT,
    GYMNASIUM_ASSETS,
    add_uniform,
    control_cost,
    plane_info,
)
from mbrl.types import Task

_LEGS = range(1, 5)
_JOINTS = tuple(f"{joint}_{leg}" for leg in _LEGS for joint in ("hip", "ankle"))
_BODIES = ("torso", *(f"{body}_{leg}" for leg in _LEGS for body in ("leg", "thigh", "shin")))


def fallen(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return where the torso's height is out of the healthy range: (B,) bool."""
    height = next_obs[:, 0]
    return (height < 0.2) | (height > 1.0)


@final
class Ant(MujocoTask):
    """Four legs of two joints; 105 observations, 8 torques.

    Its reward depends on the torso's place, which is not observed, so a model has to learn it.
    """

    model_path = GYMNASIUM_ASSETS / "ant.xml"
    frame_skip = 5
    max_episode_steps = 1000
    camera = {"distance": 4.0}
    fields = ("xpos", "cfrc_ext")
    task = Task(
        terminated=fallen,
        obs_names=(
            *(*FREE_JOINT[0], *_JOINTS),
            *(*FREE_JOINT[1], *(f"{joint}_dot" for joint in _JOINTS)),
            *(f"{body}_{force}" for body in _BODIES for force in FORCES),
        ),
        positions=((0, 15), *((i, i + 14) for i in range(5, 13))),
    )

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample near the model's own posture."""
        add_uniform(qpos, 0.1, generator)
        qvel += 0.1 * generator.standard_normal(qvel.shape)

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return positions without x and y, velocities, and contact forces clipped to 1."""
        qpos, forces = now["qpos"][:, 2:], now["cfrc_ext"][:, 1:].clip(-1, 1)
        xp = array_namespace(qpos)
        return xp.concat((qpos, now["qvel"], forces.reshape(len(qpos), -1)), axis=1)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return forward speed and health, less the costs of control and contact."""
        healthy = self._healthy(now)
        speed = (now["xpos"][:, 1, 0] - before["xpos"][:, 1, 0]) / dt
        costs = control_cost(action, 0.5) + self._contact_cost(now)
        return speed + healthy * 1.0 - costs, ~healthy

    def _healthy(self, now: Fields) -> ArrayOrTensor:
        """Return where its height is in the healthy range and its numbers are finite (E,)."""
        qpos, qvel = now["qpos"], now["qvel"]
        xp = array_namespace(qpos)
        finite = xp.all(xp.isfinite(qpos), axis=1) & xp.all(xp.isfinite(qvel), axis=1)
        return finite & (qpos[:, 2] >= 0.2) & (qpos[:, 2] <= 1.0)

    def _contact_cost(self, now: Fields) -> ArrayOrTensor:
        """Return the cost of the clipped contact forces (E,)."""
        forces = now["cfrc_ext"].clip(-1, 1)
        return control_cost(forces.reshape(len(forces), -1), 5e-4)

    def start_info(self, now: Fields) -> dict[str, ArrayOrTensor]:
        """Return the place, as gymnasium does."""
        return plane_info(now)

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return place, speed and the terms of the reward, as gymnasium does."""
        speed = (now["xpos"][:, 1, :2] - before["xpos"][:, 1, :2]) / dt
        return {
            **plane_info(now),
            "x_velocity": speed[:, 0],
            "y_velocity": speed[:, 1],
            "reward_forward": speed[:, 0],
            "reward_ctrl": -control_cost(action, 0.5),
            "reward_contact": -self._contact_cost(now),
            "reward_survive": self._healthy(now) * 1.0,
        }
