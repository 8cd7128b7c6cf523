"""Put MBPO together from its parts and train it in a gymnasium environment of your own."""

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

import mbrl
from mbrl.agents import Dyna
from mbrl.dynamics import GaussianEnsemble
from mbrl.envs import GymnasiumVecEnv
from mbrl.learners import SAC


class Thermostat(gymnasium.Env):
    """Keep a room at 20 degrees; observation: (temperature - 20) / 10, action: heating."""

    observation_space = spaces.Box(-5, 5, (1,), np.float32)
    action_space = spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._deviation = self.np_random.uniform(-1, 1)
        return np.array([self._deviation], np.float32), {}

    def step(self, action):
        self._deviation += 0.1 * float(np.clip(action[0], -1, 1)) - 0.05 * self._deviation
        cost = self._deviation**2
        return np.array([self._deviation], np.float32), -cost, False, False, {}


env = GymnasiumVecEnv.around([gymnasium.wrappers.TimeLimit(Thermostat(), 40)], seed=0)
parts = {"action": env.action, "generator": torch.Generator().manual_seed(0)}
model = GaussianEnsemble(obs_dim=1, task=env.task, hidden=32, max_updates=1000, **parts)
sac = SAC(obs_dim=1, hidden=32, **parts)
agent = Dyna(dynamics=model, learner=sac, learning_starts=200, num_rollouts=2000, **parts)
mbrl.train(env, agent, 600)
actions = agent.act(torch.tensor([[-0.5], [0.5]]), explore=False)
print("heating when cold, when warm:", actions.flatten().tolist())
