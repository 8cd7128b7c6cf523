"""Contrastive reward: it prefers the truth."""

import pytest

from mbrl.dynamics import ContrastiveReward
from mbrl.errors import BadInput
from tests.dynamics.transition_filter.cases import (
    check_prefers_the_truth,
    holdout,
    parabola,
)
from tests.toys import ACTION, ToyDynamics, generator


def test_true_successors_are_rewarded_more_than_wrong_ones():
    check_prefers_the_truth(
        lambda: ContrastiveReward(obs_dim=2, action=ACTION, generator=generator(1), num_updates=150)
    )


def test_training_lowers_the_loss_below_that_of_a_guess():
    """One true change among 1 + 3 * num_negatives: a guess costs the logarithm of that."""
    data = parabola()
    losses = []
    for num_updates in (1, 200):
        reward = ContrastiveReward(
            obs_dim=1, action=ACTION, generator=generator(1), num_updates=num_updates
        )
        metrics = reward.fit(
            data, ToyDynamics(), holdout_ensemble=holdout(data), generator=generator(6)
        )
        losses.append(metrics["model/contrastive_loss"])
    assert losses[0] == pytest.approx(2.94, abs=0.3)  # log 19
    assert losses[1] < losses[0] - 0.2


def test_it_is_fitted_with_a_holdout_ensemble():
    reward = ContrastiveReward(obs_dim=1, action=ACTION, generator=generator(1))
    with pytest.raises(BadInput, match="^holdout_ensemble=None"):
        reward.fit(parabola(), ToyDynamics(), holdout_ensemble=None, generator=generator(6))
