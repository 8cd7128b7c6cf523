"""Rope to be dragged into a shape by one end: beads on strings, in MuJoCo contact.

After the rope of Liu et al. 2023.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, final

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor
from mbrl.envs.tasks.common import all_false, constant, never
from mbrl.relu import PiecewiseLinearCost, Term
from mbrl.types import Task
from mbrl.values import checked

BEADS, LINK = 9, 2.4  # their number; cm of a string at the goal
SCALE = 0.1 / BEADS  # of the cost, for each cm of each bead


def shape(name: str) -> np.ndarray:
    """Return a goal of the beads (9, 2), cm; the held end comes first."""
    if name == "line":
        return np.stack([LINK * (4 - np.arange(BEADS)), np.zeros(BEADS)], 1)
    angle = np.linspace(0.35 * np.pi, -0.35 * np.pi, BEADS)
    radius = LINK / (angle[0] - angle[1])
    return radius * np.stack([np.sin(angle), np.cos(angle) - 0.75], 1)


@final
class Rope(MujocoTask):
    """Pusher and, relative to it, nine beads, observed in cm; the action is the pusher's velocity.

    The pusher holds the rope's first bead. The cost of a step is 0.1 for each cm between beads and
    their goals on average, L1.

    Args:
        goal: shape of the rope, "line" or "arc", both around the middle of the table.
        frame_skip: simulation steps of 0.01 s for which an action is held; an episode is 12 s.
    """

    model_path = Path(__file__).parent.parent / "assets" / "rope.xml"
    ends = False

    @checked
    def __init__(
        self,
        goal: Literal["line", "arc"] = "line",
        frame_skip: Annotated[int, Interval(ge=1, le=1200)] = 20,
    ):
        """Build the cost."""
        self.frame_skip, self.max_episode_steps = frame_skip, 1200 // frame_skip
        self._goal = shape(goal)
        dim = 2 + 2 * BEADS
        rows = np.eye(dim)[2:]
        rows[::2, 0] = rows[1::2, 1] = 1
        self.cost = PiecewiseLinearCost((Term("l1", SCALE * rows, -SCALE * self._goal.flatten()),))
        self.task = Task(
            reward=self._reward,
            terminated=never,
            obs_names=("x", "y", *(f"{axis}{i}" for i in range(BEADS) for axis in "xy")),
            cost=self.cost,
        )

    def _reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Compute minus the cost of a step (B,)."""
        return -self.cost.step(next_obs, action)

    def miss(self, obs: Tensor) -> Tensor:
        """Compute the beads' mean distance from their goals, cm: (B,)."""
        place = obs[:, None, :2] + obs[:, 2:].unflatten(1, (BEADS, 2))
        return (place - torch.from_numpy(self._goal).to(place)).norm(dim=2).mean(1)

    def reached(self, obs: Tensor) -> Tensor:
        """Return where the beads are within 2 cm of their goals on average: (B,) bool."""
        return self.miss(obs) < 2

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample a gently bent rope near the middle."""
        angle = generator.uniform(-np.pi, np.pi) + np.cumsum(generator.uniform(-0.35, 0.35, BEADS))
        links = 0.024 * np.stack([np.cos(angle), np.sin(angle)], 1)
        places = np.cumsum(np.concatenate([np.zeros((1, 2)), links]), 0)
        places += generator.uniform(-0.05, 0.05, 2) - places.mean(0)
        qpos[:] = places.flatten()

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return the pusher's place, and the beads' relative to it, in cm."""
        places = 100 * now["qpos"].reshape(-1, 1 + BEADS, 2)
        beads = places[:, 1:] - places[:, :1]
        xp = array_namespace(places)
        return xp.concat((places[:, 0], beads.reshape(len(places), -1)), axis=1)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return minus the cost, summed row by row: the same whatever the batch."""
        obs = self.observe(now)
        place = obs[:, None, :2] + obs[:, 2:].reshape(-1, BEADS, 2)
        goal = constant(tuple(self._goal.flatten()), place).reshape(BEADS, 2)
        distance = abs(place - goal).reshape(len(obs), -1)
        reward = -SCALE * array_namespace(obs).sum(distance, axis=1)
        return reward, all_false(reward)
