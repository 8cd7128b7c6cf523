"""Cart-pole swing-up with the smooth and the sparse reward of the DeepMind control suite.

Tassa et al. 2018, "DeepMind Control Suite"; own MJCF, 0.01 s a step, 1000 steps.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, final

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor, task_outcome
from mbrl.envs.tasks.common import never
from mbrl.types import Task
from mbrl.values import checked

_GAUSSIAN = math.sqrt(-2 * math.log(0.1))  # a tolerance is 0.1 at its margin


def _near(x: Tensor, margin: float) -> Tensor:
    """Compute a bell curve: 1 at x = 0, 0.1 at the margin."""
    return torch.exp(-0.5 * (x / margin * _GAUSSIAN).square())


def smooth_reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return up to 1 (B,) for an upright, slow, centered pole and little force."""
    x, cosine, spin = next_obs[:, 0], next_obs[:, 1], next_obs[:, 4]
    force = action[:, 0].clamp(-1, 1)
    upright = (cosine + 1) / 2
    centered = (1 + _near(x, 2)) / 2
    small_control = (4 + (1 - force.square())) / 5
    small_velocity = (1 + _near(spin, 5)) / 2
    return upright * small_control * small_velocity * centered


def sparse_reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return 1 (B,) where the pole is upright to 0.1 rad in the middle half meter, else 0."""
    return ((next_obs[:, 0].abs() <= 0.25) & (next_obs[:, 1] >= 0.995)).to(next_obs.dtype)


def onto_circle(obs: Tensor) -> Tensor:
    """Scale (cos, sin) of obs (B, 5) back to length 1."""
    circle = obs[:, 1:3] / obs[:, 1:3].norm(dim=1, keepdim=True).clamp(min=1e-6)
    return torch.cat([obs[:, :1], circle, obs[:, 3:]], 1)


@final
class CartpoleSwingup(MujocoTask):
    """Pole that hangs from a cart; 1 force in [-1, 1].

    Observations are [x, cos, sin, x_dot, angle_dot].

    Args:
        sparse: pay only at the goal.
        frame_skip: simulation steps of 0.01 s for which an action is held; an episode is 10 s.
    """

    model_path = Path(__file__).parent.parent / "assets" / "cartpole.xml"
    ends = False

    @checked
    def __init__(
        self, sparse: bool = False, frame_skip: Annotated[int, Interval(ge=1, le=1000)] = 1
    ):
        """Choose the reward."""
        self.frame_skip = frame_skip
        self.max_episode_steps = 1000 // frame_skip
        self.task = Task(
            reward=sparse_reward if sparse else smooth_reward,
            terminated=never,
            obs_names=("x", "cos", "sin", "x_dot", "angle_dot"),
            angle_pairs=((1, 2),),
            positions=((0, 3),),
            project=onto_circle,
        )

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample a pole that hangs, near rest."""
        qpos[0] = 0.01 * generator.standard_normal()
        qpos[1] = np.pi + 0.01 * generator.standard_normal()
        qvel[:] = 0.01 * generator.standard_normal(2)

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return cart position, cos and sin of the angle (0 = up), velocities."""
        x, angle = now["qpos"][:, :1], now["qpos"][:, 1:]
        xp = array_namespace(x)
        return xp.concat((x, xp.cos(angle), xp.sin(angle), now["qvel"]), axis=1)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return the reward of the task and no termination."""
        obs = self.observe(now)
        return task_outcome(self.task, obs, action, obs)
