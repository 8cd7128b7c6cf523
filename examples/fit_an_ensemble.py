"""Fit an ensemble to arrays and ask it for a prediction and its uncertainty."""

import numpy as np

from mbrl import ActionSpec, Transitions
from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.types import Task

rng = np.random.default_rng(0)
obs, action = rng.uniform(-1, 1, (1000, 2)), rng.uniform(-1, 1, (1000, 1))
speed = obs[:, 1:] + 0.05 * (action - np.sin(2 * obs[:, :1]))
next_obs = np.concatenate([obs[:, :1] + 0.05 * speed, speed], 1)
data = Transitions.from_arrays(obs, action, next_obs, reward=-np.square(next_obs).sum(1))

parts = {"action": ActionSpec.box(-1, 1), "task": Task(), "generator": 0}
training = EnsembleTraining(max_updates=1000)
model = GaussianEnsemble(obs_dim=2, hidden=64, training=training, **parts)
print(model.fit(data, generator=0))
inside_and_outside = Transitions.from_arrays([[0.5, 0], [5, 0]], [[1], [1]], np.zeros((2, 2)))
print("uncertainty:", model.uncertainty(*inside_and_outside[:2]).tolist())
