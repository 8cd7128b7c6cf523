"""Reacher-v5 of gymnasium: bring the fingertip to the target."""

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
from mbrl.envs.tasks.common import GYMNASIUM_ASSETS, add_uniform, all_false, control_cost, never
from mbrl.types import Task


def closeness(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return minus the distance to the target and the squared torques: (B,)."""
    return -next_obs[:, 8:10].norm(dim=1) - action.square().sum(1)


@final
class Reacher(MujocoTask):
    """Arm of two joints; 10 observations, 2 torques."""

    model_path = GYMNASIUM_ASSETS / "reacher.xml"
    frame_skip = 2
    max_episode_steps = 50
    ends = False
    camera = {"trackbodyid": 0}
    fields = ("xpos",)
    task = Task(
        reward=closeness,
        terminated=never,
        obs_names=(
            *("cos_1", "cos_2", "sin_1", "sin_2", "target_x", "target_y"),
            *("angle_1_dot", "angle_2_dot", "to_target_x", "to_target_y"),
        ),
        angle_pairs=((0, 2), (1, 3)),
    )

    def __init__(self):
        """Find the two bodies whose distance is the cost."""
        model = mujoco.MjModel.from_xml_path(str(self.model_path))
        self._tip, self._target = (model.body(name).id for name in ("fingertip", "target"))

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample an arm near straight and a target within 0.2 m."""
        add_uniform(qpos, 0.1, generator)
        while True:
            goal = generator.uniform(low=-0.2, high=0.2, size=2)
            if np.linalg.norm(goal) < 0.2:
                break
        qpos[-2:] = goal
        add_uniform(qvel, 0.005, generator)
        qvel[-2:] = 0

    def _gap(self, now: Fields) -> ArrayOrTensor:
        """Return fingertip minus target (E, 3) of the simulator's last substep."""
        return now["xpos"][:, self._tip] - now["xpos"][:, self._target]

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return joint angles as cos and sin, the target, joint velocities, and the gap."""
        qpos, gap = now["qpos"], self._gap(now)
        xp = array_namespace(qpos)
        angle, velocity = qpos[:, :2], now["qvel"][:, :2]
        parts = (xp.cos(angle), xp.sin(angle), qpos[:, 2:], velocity, gap[:, :2])
        return xp.concat(parts, axis=1)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return minus the distance to the target and the squared torques."""
        terms = self.step_info(before, action, now, dt)
        reward = terms["reward_dist"] + terms["reward_ctrl"]
        return reward, all_false(reward)

    def step_info(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> dict[str, ArrayOrTensor]:
        """Return the terms of the reward, as gymnasium does."""
        gap = self._gap(now)
        xp = array_namespace(gap)
        distance = xp.sqrt(xp.vecdot(gap, gap))
        return {"reward_dist": -distance, "reward_ctrl": -control_cost(action, 1.0)}
