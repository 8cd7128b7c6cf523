"""Pucks of two classes, to be pushed into two bins by one pusher, in MuJoCo contact.

The compositional task of Liu et al. 2023: one law for all pairs of objects (the task's
interaction edges).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, final

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor, task_outcome
from mbrl.envs.tasks.common import never
from mbrl.relu import PiecewiseLinearCost, Term
from mbrl.types import InteractionEdges, Task
from mbrl.values import NonNegative, checked

PUCKS = 4  # the first two go left, the others right
BINS = np.array([[-12.0, 0], [-12.0, 0], [12.0, 0], [12.0, 0]])  # cm
ROOM = 4.0  # cm: half a side of a bin
TOUCH = 3.5  # cm between the centers of pusher and puck
SCALE = 0.1  # of the cost, for each cm


def law() -> tuple[InteractionEdges, ...]:
    """Return who acts on whom: the pusher on each puck, and each puck on each other.

    A puck is seen from the pusher, with the action; a pair by its distance and the pusher's.
    """
    obs_dim, dim = 2 + 2 * PUCKS, 4 + 2 * PUCKS
    eye = torch.eye(dim)
    pusher, action = eye[:2], eye[-2:]
    place = [eye[2 + 2 * i : 4 + 2 * i] for i in range(PUCKS)]
    moved = [eye[:obs_dim, 2 + 2 * i : 4 + 2 * i] for i in range(PUCKS)]
    driven = eye[:obs_dim, :2]
    pushed = [
        (torch.cat([pusher - place[i], action]), torch.cat([moved[i], driven], 1))
        for i in range(PUCKS)
    ]
    passed_on = [
        (torch.cat([place[i] - place[j], pusher - place[j], action]), moved[i])
        for i in range(PUCKS)
        for j in range(PUCKS)
        if i != j
    ]
    kinds = (pushed, passed_on)
    return tuple(
        InteractionEdges(torch.stack([r for r, _ in kind]), torch.stack([w for _, w in kind]))
        for kind in kinds
    )


@final
class Sort(MujocoTask):
    """Pusher and four pucks, observed as (x, y) in cm each; the action is the pusher's velocity.

    The cost of a step is 0.1 for each cm between a puck and its bin, 8 cm wide, 12 cm left or right
    of the middle, and the shaping for each cm between the pusher and where it would push the puck
    that was farthest from its bin when the plan began.

    Args:
        shaping: weight of the pusher's place; with 0 only the pucks count.
        crossing: start pucks on the other side of the middle, so that their paths cross.
        frame_skip: simulation steps of 0.01 s for which an action is held; an episode is 16 s.
    """

    model_path = Path(__file__).parent.parent / "assets" / "sort.xml"
    ends = False

    @checked
    def __init__(
        self,
        shaping: NonNegative = 0.5,
        crossing: bool = False,
        frame_skip: Annotated[int, Interval(ge=1, le=1600)] = 20,
    ):
        """Build the cost."""
        self.frame_skip, self.max_episode_steps = frame_skip, 1600 // frame_skip
        self._crossing = crossing
        dim = 2 + 2 * PUCKS
        place = np.eye(dim)[2:]
        rows = SCALE * np.concatenate([place, -place])
        goal = BINS.flatten()
        bias = -SCALE * np.concatenate([goal + ROOM, ROOM - goal])
        terms = [Term("hinge", rows, bias)]
        if shaping:
            to_anchor = np.zeros((2, dim + 2))
            to_anchor[:, :2], to_anchor[:, dim:] = np.eye(2), -np.eye(2)
            terms.append(Term("l1", SCALE * shaping * to_anchor, np.zeros(2)))
        self.cost = PiecewiseLinearCost(tuple(terms))
        self.task = Task(
            reward=self.reward,
            terminated=never,
            obs_names=("x", "y", *(f"{axis}{i}" for i in range(PUCKS) for axis in "xy")),
            cost=self.cost,
            anchors=self.anchors,
            interaction_edges=law(),
        )

    def anchors(self, obs: Tensor) -> Tensor:
        """Return where the pusher should be (B, 2): behind the farthest puck; once there, past it.

        When all are in their bins, that is where it stands.
        """
        place = obs[:, 2:].unflatten(1, (PUCKS, 2))
        to_bin = torch.from_numpy(BINS).to(place) - place
        far, farthest = (to_bin.abs() - ROOM).clamp(min=0).sum(2).max(1)
        rows = torch.arange(len(obs), device=obs.device)
        puck, to_bin = place[rows, farthest], to_bin[rows, farthest]
        ahead = to_bin / to_bin.norm(dim=1, keepdim=True).clamp(min=1e-3)
        offset = obs[:, :2] - puck
        behind = (offset * ahead).sum(1, keepdim=True) < -0.8 * offset.norm(dim=1, keepdim=True)
        near = offset.norm(dim=1, keepdim=True) < TOUCH + 1.5
        aim = puck + torch.where(behind & near, 0.0, -TOUCH - 0.5) * ahead
        return torch.where(far[:, None] > 0, aim, obs[:, :2])

    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return minus the cost (B,), with the pusher's place of before the step."""
        return -self.cost.step(torch.cat([next_obs, self.anchors(obs)], 1), action)

    def sorted(self, obs: Tensor) -> Tensor:
        """Count the pucks in their bins (B,), to a millimeter."""
        place = obs[:, 2:].unflatten(1, (PUCKS, 2))
        inside = (place - torch.from_numpy(BINS).to(place)).abs() <= ROOM + 0.1
        return inside.all(2).sum(1)

    def reached(self, obs: Tensor) -> Tensor:
        """Return where all pucks are in their bins: (B,) bool."""
        return self.sorted(obs) == PUCKS

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample pucks over the middle and a pusher below."""
        placed: list[Array] = []
        for i in range(PUCKS):
            for _ in range(100):
                spot = generator.uniform([-0.06, -0.09], [0.06, 0.09])
                if self._crossing:
                    spot[0] = -np.sign(BINS[i, 0]) * abs(spot[0])
                if all(np.linalg.norm(spot - other) > 0.045 for other in placed):
                    break
            placed.append(spot)
        qpos[2:] = np.concatenate(placed)
        qpos[:2] = generator.uniform([-0.05, -0.16], [0.05, -0.14])

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return all places in cm."""
        return 100 * now["qpos"]

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return the reward of the task and no termination."""
        return task_outcome(self.task, self.observe(before), action, self.observe(now))
