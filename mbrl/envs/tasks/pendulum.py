"""Pendulum-v1 of gymnasium, batched in closed form, and a variant with a sparse reward."""

from __future__ import annotations

import math
from typing import Annotated, final

import numpy as np
import torch
from annotated_types import Interval
from numpy.typing import NDArray
from torch import Tensor

from mbrl.envs.closed_form import ClosedFormTask, closed_form
from mbrl.envs.simulation import Array, SimulatedVecEnv, task_outcome
from mbrl.envs.tasks.common import never
from mbrl.types import Task
from mbrl.values import NumEnvs, checked

DT, GRAVITY, MAX_SPEED, MAX_TORQUE = 0.05, 10.0, 8.0, 2.0  # s, m/s^2, rad/s, N m
Torque = Annotated[float, Interval(gt=0, le=MAX_TORQUE)]
EQUATIONS = {
    "speed' - speed": f"{1.5 * GRAVITY * DT:.4g} sin + {3 * DT:.4g} u, speed' clipped at 8",
    "turn of (cos, sin)": f"{DT:.4g} speed'",
}


def swing_up(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return minus angle^2 + 0.1 speed^2 + 0.001 torque^2 (B,) of the state acted in."""
    angle = torch.atan2(obs[:, 1], obs[:, 0])
    torque = action[:, 0].clamp(-MAX_TORQUE, MAX_TORQUE)
    return -(angle.square() + 0.1 * obs[:, 2].square() + 0.001 * torque.square())


def standing(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Return 1 (B,) within 0.6 rad of upright at less than 2 rad/s, else 0."""
    angle = torch.atan2(next_obs[:, 1], next_obs[:, 0])
    return ((angle.abs() < 0.6) & (next_obs[:, 2].abs() < 2)).to(next_obs.dtype)


def onto_circle(obs: Tensor) -> Tensor:
    """Scale (cos, sin) of obs (B, 3) back to length 1."""
    circle = obs[:, :2] / obs[:, :2].norm(dim=1, keepdim=True).clamp(min=1e-6)
    return torch.cat([circle, obs[:, 2:]], 1)


@final
class Pendulum(ClosedFormTask):
    """Rod of 1 m and 1 kg on a weak motor; 3 observations [cos, sin, speed], 1 torque.

    Args:
        sparse: hang at the start, hold each torque for two steps, pay only while standing.
        max_torque: bound of the actions, N m; the motor itself reaches 2.
    """

    state_dim = 2  # angle (0 = up), speed
    obs_dim = 3
    largest_obs = np.array([1.0, 1.0, MAX_SPEED], dtype=np.float32)

    @checked
    def __init__(self, *, sparse: bool = False, max_torque: Torque = MAX_TORQUE):
        """Choose start, reward and bounds."""
        self.max_episode_steps = 100 if sparse else 200
        self.low = np.array([-max_torque], dtype=np.float32)
        self.high = -self.low
        self.task = Task(
            reward=standing if sparse else swing_up,
            terminated=never,
            obs_names=("cos", "sin", "speed"),
            angle_pairs=((0, 1),),
            project=onto_circle,
            equations=None if sparse else EQUATIONS,
        )
        self._sparse = sparse

    def start(self, generators: list[np.random.Generator]) -> Array:
        """Sample any angle; if sparse, one near hanging."""
        if self._sparse:
            rows = [[math.pi, 0] + 0.05 * g.standard_normal(2) for g in generators]
        else:
            high = np.array([math.pi, 1.0])
            rows = [g.uniform(low=-high, high=high) for g in generators]
        return np.stack(rows)

    def observe(self, state: Array) -> Array:
        """Return cos, sin and speed, rounded to float32 as gymnasium does."""
        angle, speed = state.T
        obs = np.stack([np.cos(angle), np.sin(angle), speed], axis=1)
        return obs.astype(np.float32).astype(np.float64)

    def step(self, state: Array, action: NDArray[np.float32]) -> Array:
        """Integrate one step by gymnasium's semi-implicit Euler rule; two, if sparse."""
        torque = _torque(action)
        angle, speed = state.T
        for _ in range(2 if self._sparse else 1):
            speed = speed + (1.5 * GRAVITY * np.sin(angle) + 3.0 * torque) * DT
            speed = np.clip(speed, -MAX_SPEED, MAX_SPEED)
            angle = angle + speed * DT
        return np.stack([angle, speed], axis=1)

    def outcome(
        self, state: Array, action: NDArray[np.float32], next_state: Array, next_obs: Array
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the reward and no termination."""
        if self._sparse:
            return task_outcome(self.task, next_obs, action, next_obs)
        angle, speed = state.T
        wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
        # gymnasium squares scalars with pow(), whose last bit can differ from a product's
        torque = _torque(action)
        effort = np.fromiter((u**2 for u in torque), torque.dtype, len(torque))
        cost = np.float_power(wrapped, 2) + 0.1 * np.float_power(speed, 2) + 0.001 * effort
        return -cost, np.zeros(len(cost), dtype=bool)


def _torque(action: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the motor's torque (B,) for actions (B, 1), float32 as in gymnasium."""
    return np.clip(action, -MAX_TORQUE, MAX_TORQUE)[:, 0]


@checked
def pendulum(
    *,
    num_envs: NumEnvs = 1,
    seed: int = 0,
    sparse: bool = False,
    max_torque: Torque = MAX_TORQUE,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SimulatedVecEnv:
    """Build a VecEnv of pendulums.

    Args:
        num_envs: copies stepped at once.
        seed: environment i draws its starts from seed + i.
        sparse: hang at the start, hold each torque for two steps, pay only while standing.
        max_torque: bound of the actions, N m; the motor itself reaches 2.
        dtype: of observations and rewards.
        device: of the tensors that are returned.
    """
    task = Pendulum(sparse=sparse, max_torque=max_torque)
    return closed_form(task, num_envs=num_envs, seed=seed, dtype=dtype, device=device)
