"""Train Stable-Baselines3's PPO inside a learned model."""

from stable_baselines3 import PPO

from mbrl import GymAgent
from mbrl.imagination import ImaginedVecEnv, SB3ModelEnv

agent = GymAgent("mbpo", env="pendulum", seed=0)
agent.learn(1000)  # the model is fitted on the way
model = agent.agent.dynamics

starts = agent.env.reset(0)
world = ImaginedVecEnv(model, starts, agent.env.action, num_envs=16, max_episode_steps=200)
ppo = PPO("MlpPolicy", SB3ModelEnv(world), n_steps=128, batch_size=256, seed=0)
ppo.learn(20_000)  # model steps; the real environment is not touched
print("action of PPO at a start:", ppo.predict(starts.numpy())[0])
