"""An off-policy learner inside a model."""

import pytest

from mbrl.errors import BadInput
from mbrl.imagination import ImaginedVecEnv
from mbrl.learners import SAC, InModelLearner
from tests.toys import ACTION, ToyEnv, ToyModel, collect, generator


def in_model(**options):
    sac = SAC(
        obs_dim=2, action=ACTION, generator=generator(1), hidden=16, batch_size=64,
        learning_rate=3e-3, discount=0.9,
    )  # fmt: skip
    return InModelLearner(obs_dim=2, action=ACTION, learner=sac, generator=generator(2), **options)


def test_sac_learns_inside_a_model():
    real = collect(ToyEnv(2), 40)
    learner = in_model(num_model_envs=8, num_steps=100, learning_starts=100)

    def paid():
        world = ImaginedVecEnv(ToyModel(), real, ACTION, num_envs=64, generator=generator(3))
        obs, total = world.reset(0), 0.0
        for _ in range(20):
            step = world.step(learner.select(obs, generator=generator(), deterministic=True))
            obs, total = step.obs, total + step.reward.mean().item()
        return total

    before = paid()
    world = ImaginedVecEnv(
        ToyModel(), real, ACTION, num_envs=8, max_episode_steps=20, generator=generator(4)
    )
    metrics = learner.improve(real, None, world, num_updates=8)
    assert metrics["train/model_reward_mean"] < 0
    assert before < -20 and paid() > -4  # the feedback of the toys' selector earns -3
    with pytest.raises(BadInput, match="agent=sindy_rl has one"):
        learner.improve(real, None, None)
    assert learner.improve(real, None, world, num_updates=0) == {}
