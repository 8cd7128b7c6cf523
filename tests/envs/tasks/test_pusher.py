"""Pusher against gymnasium's, to the bit."""

import torch

import mbrl
from tests.envs.compare import compare


def test_it_is_exactly_gymnasiums():
    assert compare("Pusher-v5", seeds=8, steps=210, tolerance=0.0) == 64


def test_the_known_reward_is_the_one_paid():
    env = mbrl.make_vec("Pusher-v5", num_envs=4, dtype=torch.float64)
    obs, action = env.reset(0), torch.full((4, 7), 0.3)
    step = env.step(action)
    known = env.task.reward(obs, action, step.next_obs)
    torch.testing.assert_close(known, step.reward, rtol=1e-6, atol=0)
