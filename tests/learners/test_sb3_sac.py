"""SB3's SAC on our buffers: the weights of plain SB3, and its randomness contained."""

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger

from mbrl.buffer import ReplayBuffer
from mbrl.config import build_agent, compose
from mbrl.envs import GymnasiumVecEnv
from mbrl.errors import BadInput
from mbrl.learners import SB3SAC
from tests.toys import ACTION, ToyEnv, collect, generator


def assert_same(ours, theirs):
    theirs = theirs.state_dict()
    assert ours.state_dict().keys() == theirs.keys()
    for name, tensor in ours.state_dict().items():
        assert tensor.equal(theirs[name]), name


def plain_sac(data, **settings):
    """Stable-Baselines3's own SAC, its replay buffer filled with the same transitions."""
    sac = stable_baselines3.SAC("MlpPolicy", "Pendulum-v1", seed=3, buffer_size=1000, **settings)
    sac.set_logger(Logger(None, []))
    for i in range(len(data.obs)):
        sac.replay_buffer.add(
            data.obs[i : i + 1].numpy(),
            data.next_obs[i : i + 1].numpy(),
            sac.policy.scale_action(data.action[i : i + 1].numpy()),
            data.reward[i : i + 1].numpy(),
            (data.terminated | data.truncated)[i : i + 1].numpy(),
            [{"TimeLimit.truncated": bool(data.truncated[i])}],
        )
    return sac


def test_sac_trains_to_the_weights_of_plain_sb3():
    env = GymnasiumVecEnv("Pendulum-v1")
    real = collect(env, 450)
    assert real.all().truncated.sum() == 2  # so that bootstrapping is part of it
    settings = {"batch_size": 64, "policy_kwargs": {"net_arch": [32, 32]}}
    theirs = plain_sac(real.all(), **settings)
    theirs.train(gradient_steps=30, batch_size=64)

    def make():
        return SB3SAC(obs_dim=3, action=env.action, seed=3, hidden=32, batch_size=64)

    ours = make()
    torch.manual_seed(99)  # what others draw does not matter
    ours.improve(real, num_updates=12)
    other = make()
    other.load_state_dict(ours.state_dict())
    np.random.seed(99)
    other.improve(real, num_updates=18)
    assert_same(other.algorithm.policy, theirs.policy)
    assert other.algorithm.log_ent_coef.equal(theirs.log_ent_coef)
    obs = real.all().obs[:50]
    mine = other.select(obs, generator=generator(), deterministic=True)
    np.testing.assert_array_equal(mine, theirs.predict(obs.numpy(), deterministic=True)[0])


def test_sac_mixes_imagined_rows_in():
    real, imagined = collect(ToyEnv(2), 50), collect(ToyEnv(2), 50, seed=1)
    seen = []

    class Spy(ReplayBuffer):
        def rows(self, index):
            seen.append((self.name, len(index)))
            return super().rows(index)

    for buffer, name in ((real, "real"), (imagined, "imagined")):
        buffer.__class__, buffer.name = Spy, name
    learner = SB3SAC(obs_dim=2, action=ACTION, hidden=8, batch_size=40, real_ratio=0.25)
    learner.improve(real, imagined)
    assert seen == [("real", 10), ("imagined", 30)]


def test_sac_refuses_discrete_actions():
    with pytest.raises(BadInput, match="sb3_ppo"):
        build_agent(compose(["agent=sb3_sac"]).config, GymnasiumVecEnv("CartPole-v1"))
