"""Fit a network of few ReLUs and plan in it with a proof of how good the plan is."""

import torch

import mbrl
from mbrl.dynamics import SparseReLU
from mbrl.planners import MIP
from mbrl.types import Transitions

env = mbrl.make_vec("PiecewiseAffine-v0", num_envs=20, seed=0)
generator = torch.Generator().manual_seed(0)
obs, rows = env.reset(), []
for _ in range(50):
    action = env.action.sample(20, generator=generator)
    step = env.step(action)
    flags = step.terminated, step.truncated
    rows.append(Transitions(obs, action, step.reward, step.next_obs, *flags, torch.arange(20)))
    obs = step.obs
data = Transitions(*(torch.cat(column) for column in zip(*rows, strict=True)))

parts = {"obs_dim": env.obs_dim, "action": env.action, "task": env.task, "generator": generator}
model = SparseReLU(**parts, hidden=(16,), schedule=(8,))
print(model.fit(data, generator=generator))

planner = MIP(action=env.action, horizon=4)
plan = planner.plan(model.initial(obs[:1]), model, generator=generator)
print("first action:", plan.actions[0, 0], "predicted return:", plan.value)
print("no plan costs less than", plan.info["lower_bound"], "gap:", plan.info["gap"])
