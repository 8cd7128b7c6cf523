"""A refrigerator's temperature, held by its compressor: MOREC's synthetic task.

    T' = T + (T_room - T) dt / tau - cooling(T) u dt

Luo et al. 2024 show on such a task what a transition filter can recover: data of a controller that
holds one temperature, questions about another. The equations here are our own: a wall that leaks
in proportion, and a compressor whose capacity follows Carnot, so that it fades in the cold.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl.envs.simulation import Array, SimulatedVecEnv, Simulation, Unrolled
from mbrl.envs.tasks.common import all_false, never
from mbrl.types import Task

ROOM, TAU, DT = 25.0, 30.0, 1.0  # deg C, minutes, minutes
ZERO, CONDENSER, CAPACITY = 273.15, 45.0, 0.3  # kelvin at 0 deg C; deg C; deg C per minute and COP
LOWEST, HIGHEST = -40.0, 60.0  # of the thermometer


def after(temperature: Tensor, power: Tensor) -> Tensor:
    """Give the temperature one minute later.

    Args:
        temperature: deg C (B,).
        power: share of the compressor's power (B,), clipped to [0, 1].
    """
    carnot = (temperature + ZERO) / (CONDENSER - temperature).clamp(min=1.0)
    leak = (ROOM - temperature) / TAU
    change = DT * (leak - CAPACITY * carnot * power.clamp(0, 1))
    return (temperature + change).clamp(LOWEST, HIGHEST)


class RefrigeratorSimulation(Simulation):
    """One temperature and one compressor; 1 observation [deg C], 1 action [share of power].

    Args:
        num_envs: E.
        target: deg C that the reward asks for.
    """

    obs_dim = 1
    max_episode_steps = 100

    def __init__(self, *, num_envs: int = 1, target: float = -5.0):
        """Allocate the state."""
        self.num_envs = num_envs
        self.low = np.zeros(1, dtype=np.float32)
        self.high = np.ones(1, dtype=np.float32)

        def held(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
            """Pay minus the distance from the target (B,)."""
            return -(next_obs[:, 0] - target).abs()

        self.task = Task(reward=held, terminated=never, obs_names=("temperature",))
        self._state = np.zeros((num_envs, 1))

    def start(self, indices: list[int], generators: list[np.random.Generator]) -> Array:
        """Begin a few degrees around 5."""
        for i, generator in zip(indices, generators, strict=True):
            self._state[i] = generator.uniform(2.0, 8.0)
        return self._state[indices]

    def advance(self, action: NDArray[np.float32]) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Take one step; see Simulation.advance."""
        self._state, reward = self._move(self._state, action)
        return self._state.copy(), reward, all_false(self._state)

    def _move(self, state: Array, action: NDArray[np.float32]) -> tuple[Array, Array]:
        """Give the next state (B, 1) and the reward (B,)."""
        given = torch.from_numpy(action.astype(np.float64))
        following = after(torch.from_numpy(state[:, 0]), given[:, 0])[:, None]
        assert self.task.reward is not None
        return following.numpy(), self.task.reward(following, given, following).numpy()

    def unroll(
        self, state: Array, action: NDArray[np.float32], *, with_state: bool = False
    ) -> Unrolled:
        """Simulate and score sequences from given states; see Simulation.unroll."""
        rows, horizon = action.shape[:2]
        obs, reward = np.empty((rows, horizon, 1)), np.empty((rows, horizon))
        for t in range(horizon):
            state, reward[:, t] = self._move(state, action[:, t])
            obs[:, t] = state
        never_ends = np.zeros((rows, horizon), dtype=np.bool_)
        return Unrolled(obs, reward, never_ends, ~never_ends, state if with_state else None)

    def get_state(self) -> Array:
        """Give the temperatures (E, 1)."""
        return self._state.copy()

    def set_state(self, state: Array) -> None:
        """Take the temperatures back."""
        self._state = state.copy()

    def close(self) -> None:
        """Free nothing."""


def refrigerator(
    *,
    num_envs: int = 1,
    seed: int = 0,
    target: float = -5.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SimulatedVecEnv:
    """Make a VecEnv of refrigerators.

    Args:
        num_envs: copies stepped at once.
        seed: environment i draws its starts from seed + i.
        target: deg C that the reward asks for.
        dtype: of observations and rewards.
        device: where tensors are handed out.
    """
    simulation = RefrigeratorSimulation(num_envs=num_envs, target=target)
    return SimulatedVecEnv(simulation, seed=seed, dtype=dtype, device=device)
