"""A block on a rail: push it to the origin and stop there. An environment of one's own."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from torch import Tensor

from mbrl.types import Task

DT = 0.1


class Slider(gymnasium.Env):
    """Unit mass without friction; observations are position (m) and velocity (m/s)."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)  # force in N

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start within 1 m of the origin, at rest."""
        super().reset(seed=seed)
        self._state = np.array([self.np_random.uniform(-1, 1), 0.0])
        return self._state.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move by one step of 0.1 s."""
        force = float(np.clip(action[0], -1, 1))
        velocity = self._state[1] + DT * force
        self._state = np.array([self._state[0] + DT * velocity, velocity])
        cost = self._state[0] ** 2 + 0.1 * velocity**2 + 0.01 * force**2
        return self._state.astype(np.float32), -cost, False, False, {}


def task() -> Task:
    """Return what is known of the environment, so that models need not learn it."""

    def reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        position, velocity = next_obs.unbind(1)
        return -(position**2 + 0.1 * velocity**2 + 0.01 * action[:, 0] ** 2)

    return Task(
        reward=reward,
        terminated=lambda obs, action, next_obs: next_obs[:, 0] != next_obs[:, 0],  # never
        obs_names=("position", "velocity"),
        positions=((0, 1),),
    )


gymnasium.register("Slider-v0", entry_point=Slider, max_episode_steps=50)
