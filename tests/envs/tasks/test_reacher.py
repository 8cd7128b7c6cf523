"""Reacher against gymnasium's, to the bit."""

import torch

import mbrl
from mbrl.envs import tasks
from tests.envs.compare import compare


def test_it_is_exactly_gymnasiums():
    assert compare("Reacher-v5", seeds=8, steps=200, tolerance=0.0) > 0


def test_reacher_pays_the_distance_it_shows():
    env = mbrl.make_vec("Reacher-v5", num_envs=4, dtype=torch.float64)
    env.reset(0)
    action = torch.full((4, 2), 0.3)
    step = env.step(action)
    known = tasks.Reacher.task.reward(step.obs, action, step.next_obs)
    torch.testing.assert_close(known, step.reward, atol=1e-6, rtol=0)
