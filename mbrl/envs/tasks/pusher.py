"""Pusher-v5 of gymnasium: push a cylinder to its goal with an arm."""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from typing import final

import mujoco
import numpy as np
from torch import Tensor

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor
from mbrl.envs.tasks.common import (
    GYMNASIUM_ASSETS,
    add_uniform,
    all_false,
    control_cost,
    never,
)
from mbrl.types import Task

_JOINTS = (
    *("shoulder_pan", "shoulder_lift", "upper_arm_roll", "elbow_flex"),
    *("forearm_roll", "wrist_flex", "wrist_roll"),
)


def nearness(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return minus the distances to goal and cylinder, less the cost of control: (B,)."""
    tip, cylinder, goal = next_obs[:, 14:17], next_obs[:, 17:20], next_obs[:, 20:23]
    near, far = (cylinder - tip).norm(dim=1), (cylinder - goal).norm(dim=1)
    return -far - 0.1 * action.square().sum(1) - 0.5 * near


@final
class Pusher(MujocoTask):
    """Arm of seven joints and a cylinder on a table; 23 observations, 7 torques."""

    model_path = GYMNASIUM_ASSETS / "pusher_v5.xml"
    frame_skip = 5
    max_episode_steps = 100
    ends = False
    camera = {"trackbodyid": -1, "distance": 4.0}
    fields = ("xpos",)
    task = Task(
        reward=nearness,
        terminated=never,
        obs_names=(
            *_JOINTS,
            *(f"{joint}_dot" for joint in _JOINTS),
            *(f"{body}_{axis}" for body in ("tip", "cylinder", "goal") for axis in "xyz"),
        ),
        positions=tuple((i, i + 7) for i in range(7)),
    )

    def __init__(self):
        """Find the bodies whose distances are the cost."""
        model = mujoco.MjModel.from_xml_path(str(self.model_path))
        self._bodies = [model.body(name).id for name in ("tips_arm", "object", "goal")]

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample a cylinder at least 17 cm from its goal, and slow joints."""
        while True:
            y = generator.uniform(low=-0.3, high=0, size=1)
            place = np.concatenate((y, generator.uniform(low=-0.2, high=0.2, size=1)))
            if np.linalg.norm(place) > 0.17:
                break
        qpos[-4:-2], qpos[-2:] = place, 0
        add_uniform(qvel, 0.005, generator)
        qvel[-4:] = 0

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return joint angles, joint velocities and the places of tip, cylinder and goal."""
        qpos = now["qpos"][:, :7]
        places = [now["xpos"][:, body] for body in self._bodies]
        return array_namespace(qpos).concat((qpos, now["qvel"][:, :7], *places), axis=1)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return minus the distances to goal and cylinder, less the cost of control."""
        terms = self.step_info(before, action, now, dt)
        reward = terms["reward_dist"] + terms["reward_ctrl"] + terms["reward_near"]
        return reward, all_false(reward)

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return the terms of the reward, as gymnasium does."""
        tip, cylinder, goal = (now["xpos"][:, body] for body in self._bodies)
        xp, near, far = array_namespace(tip), cylinder - tip, cylinder - goal
        return {
            "reward_dist": -xp.sqrt(xp.vecdot(far, far)),
            "reward_ctrl": -control_cost(action, 0.1),
            "reward_near": -xp.sqrt(xp.vecdot(near, near)) * 0.5,
        }
