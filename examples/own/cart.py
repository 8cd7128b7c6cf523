"""A cart on a rail, to be brought to rest in the middle."""

from typing import final

import numpy as np

from mbrl.envs import ClosedFormTask, task_outcome
from mbrl.types import Task
from mbrl.values import Positive, checked


def reward(obs, action, next_obs):
    """Return minus the squared distance and speed (B,)."""
    return -next_obs.square().sum(1)


def off_the_rail(obs, action, next_obs):
    """Return where the cart has left the rail: (B,) bool."""
    return next_obs[:, 0].abs() > 2


@final
class Cart(ClosedFormTask):
    """Cart on a rail; 2 observations [position, speed], 1 force in [-1, 1].

    Args:
        mass: kg.
    """

    state_dim = obs_dim = 2
    low, high = np.array([-1.0], np.float32), np.array([1.0], np.float32)
    max_episode_steps = 50
    task = Task(reward, off_the_rail, ("x", "v"), positions=((0, 1),))

    @checked
    def __init__(self, mass: Positive = 1.0):
        """Keep the mass."""
        self._mass = mass

    def start(self, generators):
        """Sample a place and a speed."""
        return np.stack([generator.uniform(-1, 1, 2) for generator in generators])

    def observe(self, state):
        """Return the state itself."""
        return state

    def step(self, state, action):
        """Integrate 0.1 s."""
        speed = state[:, 1] + 0.1 * np.clip(action[:, 0], -1, 1) / self._mass
        return np.stack([state[:, 0] + 0.1 * speed, speed], axis=1)

    def outcome(self, state, action, next_state, next_obs):
        """Return the reward and termination of the task."""
        return task_outcome(self.task, state, action, next_obs)
