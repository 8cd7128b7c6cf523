"""Adversarial reward: it prefers the truth, and extrapolates as the truth does."""

import pytest
import torch

from mbrl.dynamics import AdversarialReward
from mbrl.errors import NumericalFault
from tests.dynamics.transition_filter.cases import check_prefers_the_truth, parabola
from tests.toys import ACTION, ToyDynamics, generator


def test_true_successors_are_rewarded_more_than_wrong_ones():
    check_prefers_the_truth(
        lambda: AdversarialReward(
            obs_dim=2,
            action=ACTION,
            generator=generator(1),
            num_runs=2,
            num_snapshots=10,
            num_updates=300,
        )
    )


def test_it_ranks_successors_outside_the_data():
    """Twelve deviations out, where the truth has curved by three more than a line would."""
    data = parabola()
    reward = AdversarialReward(
        obs_dim=1, action=ACTION, generator=generator(1), num_runs=2, num_snapshots=10, hidden=32
    )
    reward.fit(data, ToyDynamics(), holdout_ensemble=None, generator=generator(6))
    wrong = torch.linspace(-0.5, 0.5, 41)[:, None]
    result = []
    for where in (-3.0, 4.0):
        for push in (-0.8, 0.0, 0.8):
            obs, action = torch.full((41, 1), where), torch.full((41, 1), push)
            after = where + where**2 / 10 + push / 2 + wrong
            rewards = reward.reward(obs, action, after)
            ranks = [x.argsort().argsort().double() for x in (rewards, -wrong[:, 0].abs())]
            result.append(torch.corrcoef(torch.stack(ranks))[0, 1])
    assert min(result) > 0.5 and sum(result) / 6 > 0.8, result


def test_the_reward_is_the_mean_logit_of_all_snapshots():
    data = parabola(200)
    reward = AdversarialReward(
        obs_dim=1,
        action=ACTION,
        generator=generator(1),
        num_runs=2,
        num_snapshots=3,
        hidden=8,
        num_updates=6,
    )
    reward.fit(data, ToyDynamics(), holdout_ensemble=None, generator=generator(6))
    x = torch.cat([data.obs, data.action, data.next_obs - data.obs], 1)
    logits = reward.snapshots(reward.features(reward.scale(x)))[..., 0]
    assert logits.shape == (6, 200)
    torch.testing.assert_close(reward.reward(data.obs, data.action, data.next_obs), logits.mean(0))
    weights = reward.snapshots.weights[0]
    assert not weights[:2].equal(weights[2:4]) and not weights[2:4].equal(weights[4:])
    assert weights[4:].equal(reward.discriminator.weights[0]), "the last is not the present one"


def test_data_that_are_not_finite_are_reported():
    data = parabola(200)
    data.next_obs[0] = torch.inf
    reward = AdversarialReward(obs_dim=1, action=ACTION, generator=generator(1), num_updates=2)
    with pytest.raises((NumericalFault, RuntimeError)):
        reward.fit(data, ToyDynamics(), holdout_ensemble=None, generator=generator(6))
