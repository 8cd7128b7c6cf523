"""The model-free agent: random actions first, then updates in step with the transitions."""

import torch

from mbrl.agents import ModelFree
from tests.agents.test_dyna import CountingLearner
from tests.toys import ACTION, ToyEnv, collect, generator


def test_it_acts_at_random_until_learning_starts_and_updates_for_each_new_transition():
    agent = ModelFree(
        action=ACTION, learner=CountingLearner(), generator=generator(), learning_starts=10,
        updates_per_step=2,
    )  # fmt: skip
    obs = torch.randn(50, 2)
    assert agent.act(obs, explore=True).equal(ACTION.sample(50, generator=generator()))
    assert not agent.act(obs, explore=False).any()  # the policy: no gain yet
    for steps in (4, 9, 12, 15):
        agent.update(collect(ToyEnv(1), steps))
    assert agent.learner.calls == [(6, 12, None), (6, 15, None)]
    assert agent.act(obs, explore=True).abs().max() < 0.6  # the policy, with its noise


def test_a_fraction_of_an_update_for_a_transition_adds_up():
    agent = ModelFree(
        action=ACTION, learner=CountingLearner(), generator=generator(), learning_starts=10,
        updates_per_step=0.25,
    )  # fmt: skip
    for steps in (9, 10, 11, 12, 21):
        agent.update(collect(ToyEnv(1), steps))
    assert agent.learner.calls == [(1, 12, None), (2, 21, None)]
