"""Train from the command line, load the run in Python, and write its report."""

import subprocess

import torch

import mbrl

subprocess.run(
    ["mbrl", "train", "agent=sindy_mpc", "env=pendulum", "run_dir=runs/sindy"], check=True
)

agent = mbrl.load("runs/sindy")
env = mbrl.make_vec("Pendulum-v1", num_envs=1, seed=7)
obs, total = env.reset(), 0.0
for _ in range(200):
    action, _ = agent.predict(obs[0].numpy(), deterministic=True)
    step = env.step(torch.as_tensor(action)[None])
    obs, total = step.obs, total + step.reward.item()
print(f"return of one episode: {total:.1f}")

subprocess.run(["mbrl", "report", "runs/sindy"], check=True)
