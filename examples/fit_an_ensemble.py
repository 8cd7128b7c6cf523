"""Fit an ensemble to arrays and ask it for a prediction and its uncertainty."""

import numpy as np
import torch

from mbrl import ActionSpec, Transitions
from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from mbrl.types import Task

rng = np.random.default_rng(0)
obs = rng.uniform(-1, 1, (1000, 2))  # position and velocity
action = rng.uniform(-1, 1, (1000, 1))
speed = obs[:, 1:] + 0.05 * (action - np.sin(2 * obs[:, :1]))
next_obs = np.concatenate([obs[:, :1] + 0.05 * speed, speed], 1)
data = Transitions.from_arrays(obs, action, next_obs, reward=-np.square(next_obs).sum(1))

generator = torch.Generator().manual_seed(0)
spec = ActionSpec.box([-1.0], [1.0])
model = GaussianEnsemble(
    obs_dim=2,
    action=spec,
    task=Task(),
    generator=generator,
    hidden=64,
    training=EnsembleTraining(max_updates=1000),
)
print(model.fit(data, generator=generator))

start, push = torch.tensor([[0.5, 0.0], [5.0, 0.0]]), torch.tensor([[1.0], [1.0]])
_, prediction = model.step(model.initial(start), push, with_uncertainty=True)
print("next observation", prediction.next_obs.tolist())
print("uncertainty inside the data, far outside:", prediction.uncertainty.tolist())
