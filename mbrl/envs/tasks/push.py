"""Push a slider over a table to a goal: planar pusher and slider in MuJoCo contact.

The task of Liu et al. 2023 (Model-Based Control with Sparse Neural Dynamics). Everything is
relative, in centimetres; a box sees and acts in its own frame, so that its faces stand still.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl.envs.mujoco_task import Fields, MujocoTask
from mbrl.envs.simulation import Array
from mbrl.envs.tasks.common import all_false, never
from mbrl.errors import BadInput
from mbrl.relu import PiecewiseLinearCost, Term
from mbrl.types import Task

ASSETS = Path(__file__).parent.parent / "assets"
PUSHER, HALF = 1.5, 5.0  # cm: radius of the pusher; radius of the disc, half a side of the box
SPEED = 20.0  # cm/s, the pusher's at action 1
WALL = 10.0  # cm from the goal on the x axis: 8 cm wide, 2 cm thick
SCALE = 0.1  # of the cost, for each cm
ARM = 8.0  # cm by which an angle of one radian counts
ARRIVED = 1.0, 0.1  # cm and rad from the goal within which nothing is left to push
CLEAR = 1.0  # cm between the pusher and a slider that has arrived


class Push(MujocoTask):
    """Observe [pusher - slider, slider - goal] and for a pose the angle; act by a velocity.

    The cost of a step is 0.1 for each cm between slider and goal (and 0.8 for each radian), plus
    the shaping for each cm between the pusher and its place behind the slider, as it was when the
    plan began. L1 norms throughout. A slider that has arrived has no behind: the pusher's place is
    then a centimetre off it, on the side where it stands.

    Args:
        shape: of the slider, 10 cm wide.
        goal: "position", or "pose": also the angle it had at the goal.
        obstacle: put a wall of 8 cm before the goal; starts are then behind it.
        shaping: weight of the pusher's place behind the slider; 0 charges the goal alone.
        frame_skip: simulation steps of 0.01 s for which an action is held; an episode is 6 s.

    Raises:
        BadInput: if a disc is to reach a pose.
    """

    ends = False

    def __init__(
        self,
        shape: Literal["disc", "box"] = "disc",
        goal: Literal["position", "pose"] = "position",
        obstacle: bool = False,
        shaping: float = 0.6,
        frame_skip: int = 10,
    ):
        """Choose the model and the cost."""
        self.frame_skip, self.max_episode_steps = frame_skip, 600 // frame_skip
        if shape == "disc" and goal == "pose":
            raise BadInput("env.task.goal=pose: a disc looks the same at any angle; shape=box?")
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
        """Charge the goal, and the pusher's distance from the anchors."""
        dim = 4 + self._pose
        miss = np.zeros((2 + self._pose, dim))
        miss[:2, 2:4] = SCALE * np.eye(2)
        if self._pose:
            miss[2, 4] = SCALE * ARM
        astray = np.zeros((2, dim + 2))
        astray[:, :2], astray[:, dim:] = np.eye(2), -np.eye(2)
        terms = [Term("l1", miss, np.zeros(len(miss)))]
        if shaping:
            terms.append(Term("l1", SCALE * shaping * astray, np.zeros(2)))
        return PiecewiseLinearCost(tuple(terms))

    def anchors(self, obs: Tensor) -> Tensor:
        """Say where the pusher should stand, from the slider: behind it (B, 2).

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
        """Pay minus the cost (B,), the pusher's place taken from before the step."""
        return -self.cost.step(torch.cat([next_obs, self.anchors(obs)], 1), action)

    def reached(self, obs: Tensor) -> Tensor:
        """Tell where the slider is within 2 cm, and 0.2 rad, of the goal: (B,) bool."""
        return self._within(obs, 2.0, 0.2)

    def _within(self, obs: Tensor, far: float, angle: float) -> Tensor:
        """Tell where the slider is so near to the goal: (B,) bool."""
        near = obs[:, 2:4].norm(dim=1) < far
        return near & (obs[:, 4].abs() < angle) if self._pose else near

    def start(self, qpos: Array, qvel: Array, generator: np.random.Generator) -> None:
        """Put the slider 8 to 20 cm from the goal, the pusher behind or, half the time, before it.

        With a wall the slider begins behind it, 20 to 26 cm from the goal.
        """
        if self._obstacle:
            distance, direction = generator.uniform(0.20, 0.26), generator.uniform(-0.4, 0.4)
        else:
            distance, direction = generator.uniform(0.08, 0.20), generator.uniform(-np.pi, np.pi)
        slider = distance * np.array([np.cos(direction), np.sin(direction)])
        wrong = generator.uniform() < 0.5
        side = direction + np.pi * wrong + generator.uniform(-1, 1)
        widest = HALF * (math.sqrt(2) if self._turns else 1) + PUSHER
        apart = 0.01 * (widest + generator.uniform(1, 5))
        qpos[2:4] = slider
        qpos[:2] = slider + apart * np.array([np.cos(side), np.sin(side)])
        if self._obstacle:  # never inside the wall
            qpos[0] = max(qpos[0], 0.01 * (WALL + PUSHER + 1.2))
        angle = generator.uniform(-np.pi, np.pi)
        qpos[4] = angle / 2 if self._pose else angle

    def observe(self, now: Fields) -> Array:
        """Give pusher from slider and slider from goal in cm; for a pose the angle in (-pi, pi]."""
        qpos = now["qpos"]
        places = 100 * np.concatenate((qpos[:, :2] - qpos[:, 2:4], qpos[:, 2:4]), axis=1)
        if not self._turns:
            return places
        angle = qpos[:, 4]
        places = np.concatenate(
            (_turn(places[:, :2], -angle), _turn(places[:, 2:], -angle)), axis=1
        )
        if not self._pose:
            return places
        wrapped = np.pi - (np.pi - angle) % (2 * np.pi)
        return np.concatenate((places, wrapped[:, None]), axis=1)

    def control(self, before: Fields, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn velocities from the box's frame into the table's."""
        if not self._turns:
            return action
        return _turn(action.clip(-1, 1), before["qpos"][:, 4]).astype(np.float32)

    def outcome(
        self, before: Fields, action: NDArray[np.float32], now: Fields, dt: float
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Pay what the reward of the task says."""
        obs, following = (torch.from_numpy(self.observe(x)) for x in (before, now))
        reward = self.reward(obs, torch.from_numpy(action).double(), following)
        return reward.numpy(), all_false(now["qpos"])


def unit(x: Tensor) -> Tensor:
    """Scale rows (B, 2) to length 1; those shorter than 1e-3 stay shorter."""
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-3)


def _turn(x: np.ndarray, angle: Array) -> np.ndarray:
    """Turn rows (E, 2) by angles (E,)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turned = (cosine * x[:, 0] - sine * x[:, 1], sine * x[:, 0] + cosine * x[:, 1])
    return np.stack(turned, axis=1)
