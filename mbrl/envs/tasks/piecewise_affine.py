"""A point in a headwind: dynamics that are a small ReLU network themselves.

After the piecewise-affine toy of Liu et al. 2023: a model can be right to the last digit, so that
what is left is planning. The wind is stronger than the actuator: the straight way is closed, and an
L1 cost has a local minimum before it.
"""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl.envs.closed_form import ClosedFormTask, closed_form
from mbrl.envs.simulation import Array, SimulatedVecEnv
from mbrl.envs.tasks.common import never
from mbrl.relu import RELU, Layer, PiecewiseLinearCost, ReluNetwork, distance
from mbrl.types import Task
from mbrl.values import NumEnvs, checked

STEP, WIND = 0.25, 0.4  # of the actuator and, at most, of the wind, per step


def headwind() -> ReluNetwork:
    """Build the network of the system over [x, y, goal_x, goal_y, u_x, u_y]: 7 ReLUs in two layers.

    x' = x + 0.25 u_x - 0.4 min(tent(x), tent(y / 1.5)), y' = y + 0.25 u_y, where tent falls from 1
    at 0 to 0 at 1.
    """
    first = np.zeros((6, 6))
    first[:3, 0], first[3:, 1] = 1, 1 / 1.5
    bias = np.array([1.0, 0, -1, 1, 0, -1])
    tent = np.array([1.0, -2, 1])
    second = np.concatenate([np.zeros(6), tent, -tent])[None]  # tent(x) - tent(y)
    out = np.zeros((4, 13))
    out[:, :4] = np.eye(4)
    out[0, 4] = out[1, 5] = STEP
    out[0, 6:9], out[0, 12] = -WIND * tent, WIND
    kinds = np.full(6, RELU, np.int8)
    layers = Layer(first, bias, kinds), Layer(second, np.zeros(1), kinds[:1])
    return ReluNetwork(layers, out, np.zeros(4), 4)


def _tent(x: Array) -> Array:
    """Compute a tent that falls from 1 at 0 to 0 at 1 and beyond."""
    return np.maximum(1 - np.abs(x), 0)


@final
class PiecewiseAffine(ClosedFormTask):
    """Way from the lee side to a goal behind the wind; 4 observations, 2 actions in [-1, 1]."""

    state_dim = obs_dim = 4
    max_episode_steps = 40

    def __init__(self):
        """Build bounds and cost."""
        self.high = np.ones(2, dtype=np.float32)
        self.low = -self.high
        self.cost = PiecewiseLinearCost((distance(((0, 2), (1, 3)), 6),))
        self.task = Task(
            reward=self._reward,
            terminated=never,
            obs_names=("x", "y", "goal_x", "goal_y"),
            cost=self.cost,
        )

    def _reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Compute minus the cost of a step (B,)."""
        return -self.cost.step(next_obs, action)

    def start(self, generators: list[np.random.Generator]) -> Array:
        """Sample a start at x in [-2.5, -1.5] and a goal at x in [1.2, 2]."""
        low, high = np.array([-2.5, -0.8, 1.2, -0.5]), np.array([-1.5, 0.8, 2.0, 0.5])
        return np.stack([generator.uniform(low, high) for generator in generators])

    def observe(self, state: Array) -> Array:
        """Return the state (B, 4) itself."""
        return state

    def step(self, state: Array, action: NDArray[np.float32]) -> Array:
        """Compute what headwind() computes, row by row: the same whatever the batch."""
        wind = np.minimum(_tent(state[:, 0]), _tent(state[:, 1] / 1.5))
        next_state = state.copy()
        next_state[:, :2] += STEP * np.clip(action, -1, 1).astype(np.float64)
        next_state[:, 0] -= WIND * wind
        return next_state

    def outcome(
        self, state: Array, action: NDArray[np.float32], next_state: Array, next_obs: Array
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return minus the L1 distance from the goal, and no termination."""
        reward = -np.abs(next_state[:, :2] - next_state[:, 2:]).sum(axis=1)
        return reward, np.zeros(len(reward), dtype=bool)


@checked
def piecewise_affine(
    *,
    num_envs: NumEnvs = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SimulatedVecEnv:
    """Build a VecEnv of points in a headwind.

    Args:
        num_envs: copies stepped at once.
        seed: environment i draws its starts from seed + i.
        dtype: of observations and rewards.
        device: of the tensors that are returned.
    """
    return closed_form(PiecewiseAffine(), num_envs=num_envs, seed=seed, dtype=dtype, device=device)
