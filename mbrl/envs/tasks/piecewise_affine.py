"""A point in a headwind: dynamics that are a small ReLU network themselves.

After the piecewise-affine toy of Liu et al. 2023: a model can be right to the last digit, so that
what is left is planning. The wind is stronger than the actuator: the straight way is closed, and an
L1 cost has a local minimum before it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl.envs.simulation import Array, SimulatedVecEnv, Simulation, Unrolled
from mbrl.envs.tasks.common import all_false, never
from mbrl.relu import RELU, Layer, PiecewiseLinearCost, ReluNetwork, distance
from mbrl.types import Task

STEP, WIND = 0.25, 0.4  # of the actuator and, at most, of the wind, per step


def headwind() -> ReluNetwork:
    """Write the system over [x, y, goal_x, goal_y, u_x, u_y]: 7 ReLUs in two layers.

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
    """Fall from 1 at 0 to 0 at 1 and beyond."""
    return np.maximum(1 - np.abs(x), 0)


class PiecewiseAffineSimulation(Simulation):
    """Go from the lee side to a goal behind the wind; 4 observations, 2 actions in [-1, 1].

    Args:
        num_envs: E.
    """

    obs_dim = 4
    max_episode_steps = 40

    def __init__(self, *, num_envs: int = 1):
        """Allocate the state."""
        self.num_envs = num_envs
        self.high = np.ones(2, dtype=np.float32)
        self.low = -self.high
        self.cost = PiecewiseLinearCost((distance(((0, 2), (1, 3)), 6),))
        self.task = Task(
            reward=lambda obs, action, next_obs: -self.cost.step(next_obs, action),
            terminated=never,
            obs_names=("x", "y", "goal_x", "goal_y"),
            cost=self.cost,
        )
        self._state = np.zeros((num_envs, 4))

    def start(self, indices: list[int], generators: list[np.random.Generator]) -> Array:
        """Begin at x in [-2.5, -1.5], the goal at x in [1.2, 2]."""
        low, high = np.array([-2.5, -0.8, 1.2, -0.5]), np.array([-1.5, 0.8, 2.0, 0.5])
        for i, generator in zip(indices, generators, strict=True):
            self._state[i] = generator.uniform(low, high)
        return self._state[indices].copy()

    def advance(self, action: NDArray[np.float32]) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Take one step; see Simulation.advance."""
        self._state, reward = self._move(self._state, action)
        return self._state.copy(), reward, all_false(reward)

    def _move(self, state: Array, action: NDArray[np.float32]) -> tuple[Array, Array]:
        """Give the next state (B, 4) and reward (B,)."""
        given = np.clip(action, -1, 1).astype(np.float64)
        # what headwind() says, row by row: the same whatever the batch
        wind = np.minimum(_tent(state[:, 0]), _tent(state[:, 1] / 1.5))
        following = state.copy()
        following[:, :2] += STEP * given
        following[:, 0] -= WIND * wind
        return following, -np.abs(following[:, :2] - following[:, 2:]).sum(axis=1)

    def unroll(
        self, state: Array, action: NDArray[np.float32], *, with_state: bool = False
    ) -> Unrolled:
        """Simulate and score sequences from given states; see Simulation.unroll."""
        rows, horizon = action.shape[:2]
        obs, reward = np.empty((rows, horizon, 4)), np.empty((rows, horizon))
        for t in range(horizon):
            state, reward[:, t] = self._move(state, action[:, t])
            obs[:, t] = state
        never_ends = np.zeros((rows, horizon), dtype=bool)
        return Unrolled(obs, reward, never_ends, ~never_ends, state if with_state else None)

    def get_state(self) -> Array:
        """Give the state (E, 4)."""
        return self._state.copy()

    def set_state(self, state: Array) -> None:
        """Take the state back."""
        self._state = state.copy()

    def close(self) -> None:
        """Free nothing."""


def piecewise_affine(
    *,
    num_envs: int = 1,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SimulatedVecEnv:
    """Make a VecEnv of points in a headwind.

    Args:
        num_envs: copies stepped at once.
        seed: environment i draws its starts from seed + i.
        dtype: of observations and rewards.
        device: where tensors are handed out.
    """
    simulation = PiecewiseAffineSimulation(num_envs=num_envs)
    return SimulatedVecEnv(simulation, seed=seed, dtype=dtype, device=device)
