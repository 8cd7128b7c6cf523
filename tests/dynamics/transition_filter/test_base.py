"""Roles of dynamics rewards: which of them reward single transitions, and in which order."""

import torch

from mbrl.dynamics import ChristoffelReward, RandomReward
from mbrl.dynamics.transition_filter.base import (
    Candidates,
    PointwiseReward,
    RewardsTransitions,
    reward_candidates,
)
from tests.toys import ACTION


class Sum(PointwiseReward):
    """100 obs + 10 action + next_obs."""

    def fit(self, data, model, *, holdout_ensemble, generator):
        return {}

    def reward(self, obs, action, next_obs):
        return 100 * obs[:, 0] + 10 * action[:, 0] + next_obs[:, 0]


OBS, CHOSEN = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]])
NEXT = torch.tensor([[[5.0], [6.0]], [[7.0], [8.0]], [[9.0], [0.0]]])
EXPECTED = [[135, 246], [137, 248], [139, 240]]


def test_candidates_are_rewarded_row_by_row():
    assert reward_candidates(Sum(), OBS, CHOSEN, Candidates(NEXT, NEXT)).tolist() == EXPECTED


def test_a_pointwise_score_is_the_reward_whatever_the_members_say():
    reward = Sum()
    for means in (NEXT, 7 * NEXT[:1]):
        assert reward.score(OBS, CHOSEN, Candidates(NEXT, means)).tolist() == EXPECTED
    assert reward.scores_are_rewards and not reward.needs_member_means


def test_only_some_rewards_can_be_compared_with_a_threshold():
    assert isinstance(Sum(), RewardsTransitions)
    assert isinstance(ChristoffelReward(obs_dim=1, action=ACTION), RewardsTransitions)
    assert not isinstance(RandomReward(1), RewardsTransitions)
