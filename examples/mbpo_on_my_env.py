"""Train MBPO in a gymnasium environment of your own, save it, and ask it for actions."""

import gymnasium
import numpy as np
from gymnasium import spaces

from mbrl import GymAgent


class Thermostat(gymnasium.Env):
    """Keep a room at 20 degrees; observation: (temperature - 20) / 10, action: heating."""

    observation_space = spaces.Box(-5, 5, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._deviation, self._time = self.np_random.uniform(-1, 1), 0
        return np.array([self._deviation], np.float32), {}

    def step(self, action):
        self._deviation += 0.1 * float(np.clip(action[0], -1, 1)) - 0.05 * self._deviation
        self._time += 1
        obs = np.array([self._deviation], np.float32)
        return obs, -(self._deviation**2), False, self._time == 40, {}


agent = GymAgent(
    "mbpo", env=Thermostat(), seed=0, **{"agent.learning_starts": 200, "learner.hidden": 32}
)
agent.learn(600)
print("cold:", agent.predict([-0.5])[0], "warm:", agent.predict([0.5])[0])
