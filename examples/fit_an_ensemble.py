"""Fit an ensemble to arrays and ask it for predictions and their uncertainty."""

import numpy as np

from mbrl import ActionSpec, Transitions, dynamics
from mbrl.types import Task

rng = np.random.default_rng(0)
obs, action = rng.uniform(-1, 1, (1000, 2)), rng.uniform(-1, 1, (1000, 1))
speed = obs[:, 1:] + 0.05 * (action - np.sin(2 * obs[:, :1]))
next_obs = np.concatenate([obs[:, :1] + 0.05 * speed, speed], 1)
data = Transitions.from_arrays(obs, action, next_obs, reward=-np.square(next_obs).sum(1))

parts = {"action": ActionSpec.box(-1, 1), "task": Task(), "generator": 0}
model = dynamics.GaussianEnsemble(obs_dim=2, hidden=64, **parts)
print(model.fit(data, generator=0))
_, prediction = model.step(model.initial(data.obs), data.action, with_uncertainty=True)
error = (prediction.next_obs - data.next_obs).abs().mean().item()
print(f"error {error:.4f}, uncertainty {prediction.uncertainty.mean().item():.4f}")
