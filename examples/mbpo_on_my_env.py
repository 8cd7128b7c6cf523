"""Put MBPO together from its parts and train it in a gymnasium environment of your own."""

import gymnasium
import numpy as np
import torch

import mbrl
from mbrl import agents, dynamics, envs, learners


class Thermostat(gymnasium.Env):
    """Keep a room at 20 degrees; observation: (temperature - 20) / 10, action: heating."""

    observation_space = gymnasium.spaces.Box(-5, 5, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.obs = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.obs, {}

    def step(self, action):
        self.obs = 0.95 * self.obs + 0.1 * action
        return self.obs, -float(self.obs[0] ** 2), False, False, {}


env = envs.GymnasiumVecEnv.around([gymnasium.wrappers.TimeLimit(Thermostat(), 40)])
shape = {"obs_dim": 1, "action": env.action, "generator": 0, "hidden": 32}
model = dynamics.GaussianEnsemble(task=env.task, **shape)
agent = agents.Dyna(
    action=env.action, dynamics=model, learner=learners.SAC(**shape), generator=0, num_rollouts=2000
)
mbrl.train(env, agent, 600)
cold_and_warm = torch.tensor([[-0.5], [0.5]])
print("heating when cold, when warm:", agent.act(cold_and_warm, explore=False).tolist())
