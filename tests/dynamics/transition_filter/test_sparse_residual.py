"""Sparse residual reward: minus the distance from what the equations predict."""

import torch

from mbrl.dynamics import SINDy, SparseResidualReward
from tests.dynamics.transition_filter.cases import check_prefers_the_truth
from tests.toys import ACTION, TASK, ToyDynamics, ToyEnv, collect, generator


def make() -> SparseResidualReward:
    return SparseResidualReward(obs_dim=2, sparse=SINDy(obs_dim=2, action=ACTION, task=TASK))


def test_true_successors_are_rewarded_more_than_wrong_ones():
    check_prefers_the_truth(make)


def test_the_unit_is_the_standard_deviation_of_a_change():
    """The toy is linear: the equations are exact, and only what is added to them is a residual."""
    data = collect(ToyEnv(4), 300).all()
    reward = make()
    reward.fit(data, ToyDynamics(), holdout_ensemble=None, generator=generator(6))
    std = (data.next_obs - data.obs).std(0, correction=0)
    for size in (0.0, 1.0, 3.0):
        result = reward.reward(data.obs, data.action, data.next_obs + size * std)
        torch.testing.assert_close(result, torch.full((1200,), -size), atol=0.02, rtol=0)
