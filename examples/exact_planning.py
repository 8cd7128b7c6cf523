"""Fit a network of few ReLUs and plan in it with a proof of how good the plan is."""

import torch

import mbrl
from mbrl.dynamics import SparseReLU
from mbrl.planners import MIP
from mbrl.types import Transitions

env = mbrl.make_vec("PiecewiseAffine-v0", num_envs=20, seed=0)
generator = torch.Generator().manual_seed(0)
obs, rows = env.reset(), []
for _ in range(40):  # one episode of each environment
    action = env.action.sample(20, generator=generator)
    step = env.step(action)
    flags = step.terminated, step.truncated
    rows.append(Transitions(obs, action, step.reward, step.next_obs, *flags, torch.arange(20)))
    obs = step.obs
data = Transitions(*(torch.cat(column) for column in zip(*rows, strict=True)))

parts = {"obs_dim": env.obs_dim, "action": env.action, "task": env.task, "generator": generator}
model = SparseReLU(**parts, hidden=(16, 16), schedule=(16, 8))
model.fit(data, generator=generator)
_, prediction = model.step(model.initial(data.obs), data.action)
error = (prediction.next_obs - data.next_obs).square().mean().sqrt().item()
print(f"8 ReLUs predict one step with an error of {error:.3f}")

planner = MIP(action=env.action, horizon=4)
plan = planner.plan(model.initial(obs[:1]), model, generator=generator)
print("first action:", plan.actions[0, 0].tolist(), f"cost: {-plan.value.item():.4f}")
print(f"no plan costs less than {plan.info['lower_bound'].item():.4f}")
