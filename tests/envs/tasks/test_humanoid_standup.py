"""HumanoidStandup against gymnasium's, to the bit."""

import torch

import mbrl
from tests.envs.compare import compare


def test_it_is_exactly_gymnasiums():
    assert compare("HumanoidStandup-v5", seeds=2, steps=60, tolerance=0.0) == 0


def test_the_known_reward_is_the_one_paid():
    env = mbrl.make_vec("HumanoidStandup-v5", num_envs=4, dtype=torch.float64)
    obs, draws = env.reset(0), torch.Generator().manual_seed(0)
    for _ in range(20):
        action = env.action.sample(4, generator=draws)
        step = env.step(action)
        known = env.task.reward(obs, action.double(), step.next_obs)
        torch.testing.assert_close(known, step.reward, rtol=1e-12, atol=1e-12)
        obs = step.obs
