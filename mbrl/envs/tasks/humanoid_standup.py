"""HumanoidStandup-v5 of gymnasium: get up from the floor."""

from __future__ import annotations

from typing import final

import numpy as np
from torch import Tensor

from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor
from mbrl.envs.tasks.common import GYMNASIUM_ASSETS, all_false, never, plane_info
from mbrl.envs.tasks.humanoid import (
    BODY_FIELDS,
    BODY_NAMES,
    BODY_POSITIONS,
    add_body_noise,
    body_costs,
    observe_body,
    tendon_info,
)
from mbrl.types import Task

_TIMESTEP = 0.003  # s, of the model; the reward is the height in meters over it
_LYING = 0.105  # m: height of the torso in the model's own posture
_CONTACTS = slice(348 - 78, 348)  # columns of the contact forces


def rising(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return height over the timestep, less the costs of control and contact, plus 1: (B,)."""
    contact = (0.5e-6 * next_obs[:, _CONTACTS].square().sum(1)).clamp(max=10)
    return next_obs[:, 0] / _TIMESTEP - 0.1 * action.square().sum(1) - contact + 1


@final
class HumanoidStandup(MujocoTask):
    """Body of 17 joints that lies on its back; 348 observations, 17 torques."""

    model_path = GYMNASIUM_ASSETS / "humanoidstandup.xml"
    frame_skip = 5
    max_episode_steps = 1000
    ends = False
    camera = {
        "trackbodyid": 1,
        "distance": 4.0,
        "lookat": np.array([0.0, 0.0, 0.8925]),
        "elevation": -20.0,
    }
    fields = BODY_FIELDS
    task = Task(reward=rising, terminated=never, obs_names=BODY_NAMES, positions=BODY_POSITIONS)

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample near lying."""
        add_body_noise(qpos, qvel, generator)

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return positions without x and y, velocities, inertias and forces."""
        return observe_body(now)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return height over the timestep, less the costs of control and contact, plus 1."""
        control, contact = body_costs(action, now, 0.5e-6)
        reward = now["qpos"][:, 2] / _TIMESTEP - control - contact + 1
        return reward, all_false(reward)

    def start_info(self, now: Fields) -> dict[str, ArrayOrTensor]:
        """Return place, height and tendons, as gymnasium does."""
        place = plane_info(now)
        height = now["qpos"][:, 2] - _LYING
        return {
            "x_position": place["x_position"],
            "y_position": place["y_position"],
            "z_distance_from_origin": height,
            **tendon_info(now),
        }

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return place, height, tendons and the terms of the reward, as gymnasium does."""
        control, contact = body_costs(action, now, 0.5e-6)
        return {
            **self.start_info(now),
            "reward_linup": now["qpos"][:, 2] / _TIMESTEP,
            "reward_quadctrl": -control,
            "reward_impact": -contact,
        }
