"""Rewards and terminations of classic control against gymnasium's."""

import gymnasium
import numpy as np
import pytest
import torch

from mbrl.api import GymAgent
from mbrl.envs import tasks


@pytest.mark.parametrize(
    ("id", "known", "reach", "rounding"),
    [
        ("CartPole-v1", "cartpole", [2.6, 1.0, 0.25, 1.0], 0.0),
        ("Acrobot-v1", "acrobot", [3.1, 3.1, 4.0, 4.0], 0.0),
        (
            "MountainCarContinuous-v0",
            "mountain_car_continuous",
            [0.9, 0.07],
            1e-5,
        ),  # it pays floats
    ],
)
def test_what_is_known_of_classic_control_is_what_gymnasium_does(id, known, reach, rounding):
    task = getattr(tasks, known)()
    env = gymnasium.make(id)
    rng = np.random.default_rng(0)
    env.action_space.seed(0)
    ends = 0
    for _ in range(500):
        obs, _ = env.reset(seed=0)
        env.unwrapped.state = rng.uniform(-1, 1, len(reach)) * reach
        action = env.action_space.sample()
        after, reward, ended, _, _ = env.step(action)
        rows = [torch.as_tensor(np.float32(x))[None] for x in (obs, action, after)]
        assert bool(task.terminated(*rows)) == ended
        assert abs(float(task.reward(*rows)) - reward) <= rounding
        ends += ended
    assert 50 < ends < 450


@pytest.mark.parametrize("env", ["cartpole", "acrobot"])
def test_models_of_classic_control_are_told_when_it_ends(env):
    agent = GymAgent("pets", env=env, **{"dynamics.hidden": 8})
    assert agent.env.task.terminated is not None and agent.agent.dynamics.ends is None
