"""Slider to be pushed over a table to a goal: planar pusher and slider in MuJoCo contact.

The task of Liu et al. 2023 (Model-Based Control with Sparse Neural Dynamics). Everything is
relative, in centimeters. A box is observed and pushed in its own frame, in which its faces rest.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, final

import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor

from mbrl.envs.arrays import array_namespace
from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array, ArrayOrTensor, task_outcome
from mbrl.envs.tasks.common import never
from mbrl.errors import BadInput
from mbrl.relu import PiecewiseLinearCost, Term
from mbrl.types import Task
from mbrl.values import NonNegative, checked

ASSETS = Path(__file__).parent.parent / "assets"
PUSHER, HALF = 1.5, 5.0  # cm: radius of the pusher; radius of the disc, half a side of the box
SPEED = 20.0  # cm/s, the pusher's at action 1
WALL = 10.0  # cm from the goal on the x axis: 8 cm wide, 2 cm thick
SCALE = 0.1  # of the cost, for each cm
ARM = 8.0  # cm by which an angle of one radian counts
ARRIVED = 1.0, 0.1  # cm and rad from the goal within which nothing is left to push
CLEAR = 1.0  # cm between the pusher and a slider that has arrived


@final
class Push(MujocoTask):
    """Pusher and slider; observed [pusher - slider, slider - goal] and for a pose the angle.

    The action is the pusher's velocity. The cost of a step is 0.1 for each cm between slider and
    goal (and 0.8 for each radian), plus the shaping for each cm between the pusher and its place
    behind the slider, as it was when the plan began. All norms are L1. Once the slider has arrived,
    the pusher's place is a centimeter off it, on the side where it stands.

    Args:
        shape: of the slider, 10 cm wide.
        goal: what of the slider counts:
            "position": its center.
            "pose": its center and its angle; takes a box.
        obstacle: put a wall of 8 cm before the goal; starts are then behind it.
        shaping: weight of the pusher's place behind the slider; with 0 only the goal counts.
        frame_skip: simulation steps of 0.01 s for which an action is held; an episode is 6 s.

    Raises:
        BadInput: if a disc is to reach a pose.
    """

    ends = False

    @checked
    def __init__(
        self,
        shape: Literal["disc", "box"] = "disc",
        goal: Literal["position", "pose"] = "position",
        obstacle: bool = False,
        shaping: NonNegative = 0.6,
        frame_skip: Annotated[int, Interval(ge=1, le=600)] = 10,
    ):
        """Choose the model and the cost."""
        self.frame_skip, self.max_episode_steps = frame_skip, 600 // frame_skip
        if shape == "disc" and goal == "pose":
            raise BadInput("goal=pose: a disc looks the same at any angle; shape=box?")
        self.model_path = ASSETS / f"push_{shape}{'_wall' if obstacle else ''}.xml"
        self.steers = self._turns = shape == "box"
        self._pose, self._obstacle = goal == "pose", obstacle
        self._shape = shape
        self.cost = self._make_cost(shaping)
        self.task = Task(
            reward=self.reward,
            terminated=never,
            obs_names=("pusher_x", "pusher_y", "slider_x", "slider_y", "angle")[: 4 + self._pose],
            cost=self.cost,
            anchors=self.anchors,
        )

    def _make_cost(self, shaping: float) -> PiecewiseLinearCost:
        """Build the cost of the distances from the goal and of the pusher from its anchors."""
        dim = 4 + self._pose
        to_goal = np.zeros((2 + self._pose, dim))
        to_goal[:2, 2:4] = SCALE * np.eye(2)
        if self._pose:
            to_goal[2, 4] = SCALE * ARM
        to_anchor = np.zeros((2, dim + 2))
        to_anchor[:, :2], to_anchor[:, dim:] = np.eye(2), -np.eye(2)
        terms = [Term("l1", to_goal, np.zeros(len(to_goal)))]
        if shaping:
            terms.append(Term("l1", SCALE * shaping * to_anchor, np.zeros(2)))
        return PiecewiseLinearCost(tuple(terms))

    def anchors(self, obs: Tensor) -> Tensor:
        """Return where the pusher should stand, relative to the slider: behind it (B, 2).

        For a pose it stands aside from the middle, so that pushing turns the slider back.
        """
        arrived = self._within(obs, *ARRIVED)[:, None]
        away = unit(torch.where(arrived, obs[:, :2], obs[:, 2:4]))
        reach = torch.full_like(away[:, :1], HALF)
        if self._shape == "box":
            reach = HALF / away.abs().amax(1, keepdim=True).clamp(min=0.5)
        aim = away * (reach + PUSHER)
        if self._pose:
            aside = (-ARM * obs[:, 4:5]).clamp(-0.6 * HALF, 0.6 * HALF)
            aim = aim + aside * torch.stack([-away[:, 1], away[:, 0]], 1)
        return torch.where(arrived, away * (reach + PUSHER + CLEAR), aim)

    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return minus the cost (B,), with the pusher's place of before the step."""
        return -self.cost.step(torch.cat([next_obs, self.anchors(obs)], 1), action)

    def reached(self, obs: Tensor) -> Tensor:
        """Return where the slider is within 2 cm, and 0.2 rad, of the goal: (B,) bool."""
        return self._within(obs, 2.0, 0.2)

    def _within(self, obs: Tensor, far: float, angle: float) -> Tensor:
        """Return where the slider is so near to the goal: (B,) bool."""
        near = obs[:, 2:4].norm(dim=1) < far
        return near & (obs[:, 4].abs() < angle) if self._pose else near

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Sample a slider 8 to 20 cm from the goal; half the time the pusher is before it.

        With a wall the slider begins behind it, 20 to 26 cm from the goal.
        """
        if self._obstacle:
            distance, direction = generator.uniform(0.20, 0.26), generator.uniform(-0.4, 0.4)
        else:
            distance, direction = generator.uniform(0.08, 0.20), generator.uniform(-np.pi, np.pi)
        slider = distance * np.array([np.cos(direction), np.sin(direction)])
        before_it = generator.uniform() < 0.5
        side = direction + np.pi * before_it + generator.uniform(-1, 1)
        widest = HALF * (math.sqrt(2) if self._turns else 1) + PUSHER
        apart = 0.01 * (widest + generator.uniform(1, 5))
        qpos[2:4] = slider
        qpos[:2] = slider + apart * np.array([np.cos(side), np.sin(side)])
        if self._obstacle:  # never inside the wall
            qpos[0] = max(qpos[0], 0.01 * (WALL + PUSHER + 1.2))
        angle = generator.uniform(-np.pi, np.pi)
        qpos[4] = angle / 2 if self._pose else angle

    def observe(self, now: Fields) -> ArrayOrTensor:
        """Return pusher - slider and slider - goal in cm; for a pose the angle in (-pi, pi]."""
        qpos = now["qpos"]
        xp = array_namespace(qpos)
        places = 100 * xp.concat((qpos[:, :2] - qpos[:, 2:4], qpos[:, 2:4]), axis=1)
        if not self._turns:
            return places
        angle = qpos[:, 4]
        places = xp.concat((_turn(places[:, :2], -angle), _turn(places[:, 2:], -angle)), axis=1)
        if not self._pose:
            return places
        wrapped = np.pi - (np.pi - angle) % (2 * np.pi)
        return xp.concat((places, wrapped[:, None]), axis=1)

    def control(self, before: Fields, action: ArrayOrTensor) -> ArrayOrTensor:
        """Rotate velocities from the box's frame into the table's."""
        if not self._turns:
            return action
        xp = array_namespace(action)
        return xp.astype(_turn(action.clip(-1, 1), before["qpos"][:, 4]), xp.float32)

    def outcome(
        self, before: Fields, action: ArrayOrTensor, now: Fields, dt: float
    ) -> tuple[ArrayOrTensor, ArrayOrTensor]:
        """Return the reward of the task and no termination."""
        return task_outcome(self.task, self.observe(before), action, self.observe(now))


def unit(x: Tensor) -> Tensor:
    """Scale rows (B, 2) to length 1; those shorter than 1e-3 stay shorter."""
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-3)


def _turn(x: ArrayOrTensor, angle: ArrayOrTensor) -> ArrayOrTensor:
    """Rotate rows (E, 2) by angles (E,)."""
    xp = array_namespace(x)
    cosine, sine = xp.cos(angle), xp.sin(angle)
    turned = (cosine * x[:, 0] - sine * x[:, 1], sine * x[:, 0] + cosine * x[:, 1])
    return xp.stack(turned, axis=1)
