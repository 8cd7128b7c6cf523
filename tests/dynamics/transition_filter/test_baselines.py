"""Baselines choose as they say."""

import pytest
import torch

from mbrl.dynamics import (
    ConsensusReward,
    EnsembleMeanReward,
    MixtureLikelihoodReward,
    OracleReward,
    RandomReward,
)
from mbrl.dynamics.transition_filter.base import Candidates
from tests.toys import ToyDynamics, ToyEnv, collect, generator


def candidates(*rows) -> Candidates:
    after = torch.tensor(rows)[:, None, :]
    return Candidates(after, after)


def test_each_chooses_by_its_rule():
    zero = torch.zeros(1, 2), torch.zeros(1, 1)
    several = candidates([0.0, 0.0], [0.5, 0.0], [0.6, 0.0], [0.7, 0.0], [5.0, 0.0])
    assert ConsensusReward(2).score(*zero, several).argmax() == 2
    assert EnsembleMeanReward(2).score(*zero, several).argmax() == 3  # the mean is 1.36
    several = candidates([0.0, 0.0], [2.0, 0.0], [2.1, 0.0], [5.0, 0.0])
    assert MixtureLikelihoodReward(2).score(*zero, several).argmax() in (1, 2)
    oracle = OracleReward(2, lambda obs, action: torch.tensor([[4.0, 0.0]]))
    assert oracle.score(*zero, several).argmax() == 3
    draws = generator(1)
    picks = [
        RandomReward(2).score(*zero, several, generator=draws).argmax().item() for _ in range(99)
    ]
    assert set(picks) == {0, 1, 2, 3}


def test_the_consensus_is_the_median_distance():
    means = candidates([0.0, 0.0], [1.0, 0.0], [10.0, 0.0]).next_obs
    several = Candidates(torch.tensor([[[2.0, 0.0]]]), means)
    score = ConsensusReward(2).score(torch.zeros(1, 2), torch.zeros(1, 1), several)
    assert score.item() == pytest.approx(-(2.0**0.5))  # of 2, 1 and 8 over the root of 2


def test_without_a_generator_the_first_candidate_wins():
    several = candidates([0.0, 0.0], [2.0, 0.0], [1.0, 0.0])
    assert RandomReward(2).score(torch.zeros(1, 2), torch.zeros(1, 1), several).argmax() == 0


def test_distances_are_in_standard_deviations_of_a_change():
    data = collect(ToyEnv(4), 100).all()
    data = data._replace(next_obs=data.obs + torch.randn(400, 2, generator=generator(1)))
    std = (data.next_obs - data.obs).std(0, correction=0)
    reward = EnsembleMeanReward(2)
    options = {"holdout_ensemble": None, "generator": generator(1)}
    assert reward.fit(data, ToyDynamics(), **options) == {}
    several = Candidates(torch.stack([2 * std, 0 * std])[:, None], torch.zeros(3, 1, 2))
    scores = reward.score(torch.zeros(1, 2), torch.zeros(1, 1), several)
    torch.testing.assert_close(scores, torch.tensor([[-2.0], [0.0]]))


def test_the_mixtures_noise_is_that_of_the_models_errors():
    data = collect(ToyEnv(4), 1000).all()
    noise = torch.tensor([0.5, 2.0]) * torch.randn(4000, 2, generator=generator(1))
    reward = MixtureLikelihoodReward(2)
    reward.fit(
        data._replace(next_obs=data.next_obs + noise),
        ToyDynamics(),
        holdout_ensemble=None,
        generator=generator(1),
    )
    torch.testing.assert_close(reward.noise, torch.tensor([0.5, 2.0]), rtol=0.05, atol=0)
