"""Offline data with a known best action."""

import torch

from mbrl.buffer import ReplayBuffer
from mbrl.types import ActionSpec, Transitions
from tests.toys import generator

UNIT = ActionSpec("continuous", torch.tensor([-1.0]), torch.tensor([1.0]))


def bandit(rows: int = 4000) -> ReplayBuffer:
    """One step, actions spread over [-1, 0.8], the best one at 0.5."""
    draws = generator(3)
    action = 1.8 * torch.rand(rows, 1, generator=draws) - 1
    obs = torch.randn(rows, 2, generator=draws)
    ends = torch.ones(rows, dtype=torch.bool)
    reward = 1 - (action[:, 0] - 0.5).square()
    buffer = ReplayBuffer(rows, 2, 1)
    buffer.add(Transitions(obs, action, reward, obs, ends, ~ends, torch.arange(rows)))
    return buffer


def learned(kind, updates: int = 1500, **options) -> torch.Tensor:
    learner = kind(
        obs_dim=2, action=UNIT, generator=generator(1), hidden=32, learning_rate=1e-3, **options
    )
    data = bandit()
    learner.improve(data, num_updates=updates)
    obs = data.all().obs[:200]
    return learner.select(obs, generator=generator(2), deterministic=True).mean()
