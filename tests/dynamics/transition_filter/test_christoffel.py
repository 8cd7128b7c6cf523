"""Christoffel reward: implicit polynomials far from the data, the regression under noise."""

import pytest
import torch

from mbrl.dynamics import ChristoffelReward
from mbrl.dynamics.transition_filter.base import Candidates, reward_candidates
from mbrl.dynamics.transition_filter.christoffel import _choose
from mbrl.errors import BadInput
from tests.dynamics.transition_filter.cases import (
    check_prefers_the_truth,
    holdout,
    parabola,
)
from tests.toys import ACTION, ToyDynamics, generator


def test_true_successors_are_rewarded_more_than_wrong_ones():
    check_prefers_the_truth(lambda: ChristoffelReward(obs_dim=2, action=ACTION))


def test_an_implicit_polynomial_finds_a_root_far_outside():
    """change = sqrt(obs) / 2 is no polynomial of obs, but 4 change^2 = obs is one of both."""
    data = parabola()
    data = data._replace(next_obs=data.obs + data.obs.sqrt() / 2)
    reward = ChristoffelReward(obs_dim=1, action=ACTION)
    metrics = reward.fit(
        data, ToyDynamics(), holdout_ensemble=holdout(data), generator=generator(5)
    )
    assert (
        metrics["model/dynamics_reward_degree"] == 2
        and metrics["model/dynamics_reward_tail_error"] < 0.1
    )
    grid = torch.linspace(0, 3, 301)[:, None]
    for where in (4.0, 9.0):
        obs, action = torch.full((301, 1), where), torch.zeros(301, 1)
        best = grid[reward.reward(obs, action, obs + grid).argmax()].item()
        assert best == pytest.approx(where**0.5 / 2, abs=0.05)


def test_the_regression_is_chosen_where_noise_bends_the_polynomial():
    """An implicit polynomial is off by 1 to 3 here: noise lies along the change alone."""
    data = parabola()
    change = data.obs**2 / 2 + data.action / 2
    change = change + 0.1 * change.std() * torch.randn(800, 1, generator=generator(9))
    data = data._replace(next_obs=data.obs + change)
    reward = ChristoffelReward(obs_dim=1, action=ACTION)
    metrics = reward.fit(
        data, ToyDynamics(), holdout_ensemble=holdout(data), generator=generator(5)
    )
    assert metrics["model/dynamics_reward_degree"] == 0 and not reward.scores_are_rewards
    assert metrics["model/dynamics_reward_noise"] == pytest.approx(0.1, abs=0.01)
    grid = torch.linspace(-1, 6, 701)[:, None]
    for where in (-1.0, 2.0, 3.0):
        obs, action = torch.full((701, 1), where), torch.zeros(701, 1)
        best = grid[reward.reward(obs, action, obs + grid).argmax()].item()
        assert best == pytest.approx(where**2 / 2, abs=0.2)


def test_the_reward_is_the_christoffel_function():
    """By the definition, with the inverse of the moments."""
    data = parabola()
    data = data._replace(next_obs=data.obs + data.obs.sqrt() / 2)
    reward = ChristoffelReward(obs_dim=1, action=ACTION, degrees=(2,), ridges=(1e-7,))
    reward.fit(data, ToyDynamics(), holdout_ensemble=holdout(data), generator=generator(5))

    def standardized(next_obs):
        x = [torch.cat([data.obs, data.action, y - data.obs], 1) for y in (data.next_obs, next_obs)]
        return ((x[1] - x[0].mean(0)) / x[0].std(0, correction=0)).double()

    def monomials(z):
        columns = [torch.ones(800).double(), *z.T]
        columns += [z[:, i] * z[:, j] for i in range(3) for j in range(i, 3)]
        return torch.stack(columns, 1)

    phi = monomials(standardized(data.next_obs))
    inverse = torch.linalg.inv(phi.T @ phi / 800 + 1e-7 * torch.eye(10))
    wrong = data.next_obs + 0.3  # off the set, where rounding does not count
    phi = monomials(standardized(wrong))
    expected = -((phi @ inverse) * phi).sum(1).log()
    result = reward.reward(data.obs, data.action, wrong)
    assert reward.degree == 2 and reward.scores_are_rewards
    torch.testing.assert_close(result.double(), expected, atol=1e-2, rtol=1e-3)
    candidates = Candidates(data.next_obs[None], data.next_obs[None])
    scores = reward.score(data.obs, data.action, candidates)
    assert scores.equal(reward_candidates(reward, data.obs, data.action, candidates))


def test_the_simplest_setting_is_chosen_among_those_that_are_not_worse():
    errors = torch.tensor([[1.0, 0.0, 0.1], [1.0, 0.1, -0.1], [1.0, 0.2, 0.2], [1.0, 0.0, 0.05]])
    assert _choose(errors, [0, 2, 1]) == 2  # degree 1 is as good as degree 2, degree 0 is not
    assert _choose(errors, [0, 1, 2]) == 1
    errors[:, 1] += 0.5
    assert _choose(errors, [0, 1, 2]) == 2


def test_degrees_that_have_too_many_monomials_are_refused():
    with pytest.raises(BadInput, match="^max_features=2: fewer than the 4"):
        ChristoffelReward(obs_dim=1, action=ACTION, max_features=2)


def test_it_is_fitted_with_a_holdout_ensemble():
    with pytest.raises(BadInput, match="^holdout_ensemble=None"):
        ChristoffelReward(obs_dim=1, action=ACTION).fit(
            parabola(), ToyDynamics(), holdout_ensemble=None, generator=generator(5)
        )
