"""Put MBPO together from its parts and train it in an environment of your own."""

import gymnasium

import mbrl
from mbrl import agents, dynamics, envs, learners


class WindyPendulum(gymnasium.ActionWrapper):
    def action(self, action):
        return action + 0.3  # the wind pushes, whatever the agent does


env = envs.GymnasiumVecEnv.around([WindyPendulum(gymnasium.make("Pendulum-v1"))])
parts = {"action": env.action, "generator": 0}
shape = {"obs_dim": env.obs_dim, "hidden": 32, **parts}
model, learner = dynamics.GaussianEnsemble(task=env.task, **shape), learners.SAC(**shape)
agent = agents.Dyna(dynamics=model, learner=learner, num_rollouts=2000, **parts)
mbrl.train(env, agent, 1000)
print("torques at a start:", agent.act(env.reset(0), explore=False).tolist())
