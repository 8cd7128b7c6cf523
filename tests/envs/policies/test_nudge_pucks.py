"""Exploration of sorting moves pucks."""

import torch

from mbrl.envs.mujoco import threaded_mujoco
from mbrl.envs.policies import NudgePucks
from mbrl.envs.tasks import Sort
from tests.toys import generator


def test_nudging_moves_pucks():
    env, draws = threaded_mujoco(Sort(), num_envs=10), generator(1)
    obs, selector = env.reset(2), NudgePucks()
    moved = []
    for _ in range(30):
        step = env.step(selector.select(obs, generator=draws))
        moved.append((step.next_obs[:, 2:] - obs[:, 2:]).abs().amax(1) > 0.1)
        obs = step.obs
    assert torch.stack(moved).double().mean() > 0.4
