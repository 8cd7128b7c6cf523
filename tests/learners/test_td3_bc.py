"""TD3+BC."""

import pytest
import torch

from mbrl.learners import TD3BC
from mbrl.learners.batch_learner import Rows
from mbrl.nn.flat import layers
from tests.learners.bandit import UNIT, bandit, learned
from tests.toys import generator


def test_td3_bc_weighs_the_best_action_against_the_mean():
    """alpha = 0 clones; a large alpha leaves the data's mean for the critic's best action."""
    assert learned(TD3BC, alpha=0.0) == pytest.approx(-0.1, abs=0.1)
    assert learned(TD3BC, 3000, alpha=50.0) == pytest.approx(0.5, abs=0.15)


def rows(scale: float = 1.0) -> tuple[TD3BC, Rows]:
    """A learner whose critics are `scale` times as large, and a batch."""
    learner = TD3BC(obs_dim=2, action=UNIT, generator=generator(1), hidden=8, alpha=3.0)
    weight, bias = layers(learner.critic.flat, 2, (3, 8, 8, 1))[-1]
    weight.mul_(scale), bias.mul_(scale)
    draws = generator(2)
    obs, action = torch.randn(32, 2, generator=draws), torch.rand(32, 1, generator=draws)
    return learner, Rows(obs, action, action[:, 0], obs, action[:, 0])


def test_the_critic_enters_the_actors_loss_divided_by_its_mean_size():
    learner, batch = rows()
    action = learner.policy(batch.obs)
    q = learner.critic(batch.obs, action)[0, 0]
    expected = -3.0 * q.mean() / q.abs().mean() + (action - batch.action).square().mean()
    torch.testing.assert_close(learner._update_actor(batch), expected)


def test_the_scale_of_the_rewards_does_not_change_the_actors_step():
    steps = []
    for scale in (1.0, 1000.0):
        learner, batch = rows(scale)
        before = learner.actor.flat.clone()
        learner._update_actor(batch)
        steps.append(learner.actor.flat - before)
    assert steps[0].abs().max() > 1e-4
    torch.testing.assert_close(steps[0], steps[1], atol=1e-6, rtol=1e-3)


def test_actor_and_targets_are_updated_after_every_second_update_of_the_critics():
    learner = TD3BC(obs_dim=2, action=UNIT, generator=generator(1), hidden=8, policy_delay=2)
    data = bandit(100)
    actors, targets = [], []
    for _ in range(4):
        learner.improve(data, num_updates=1)
        actors.append(learner.actor.flat.clone())
        targets.append(learner.target_critic.clone())
    for history in (actors, targets):
        changed = [not a.equal(b) for a, b in zip(history[:-1], history[1:], strict=True)]
        assert changed == [True, False, True]
