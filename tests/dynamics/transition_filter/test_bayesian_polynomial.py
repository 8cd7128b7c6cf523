"""Bayesian polynomial regression: Bayes' rule, its evidence, and that it knows its errors."""

import math

import pytest
import torch

from mbrl.dynamics import BayesianPolynomialReward
from mbrl.dynamics.transition_filter.base import Candidates
from mbrl.dynamics.transition_filter.bayesian_polynomial import MIN_NOISE, BayesianPolynomial
from tests.dynamics.transition_filter.cases import (
    check_prefers_the_truth,
    holdout,
    parabola,
)
from tests.toys import ACTION, ToyDynamics, generator


def test_true_successors_are_rewarded_more_than_wrong_ones():
    check_prefers_the_truth(lambda: BayesianPolynomialReward(obs_dim=2, action=ACTION))


def curved(seed: int, noise: float, rows: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (n, 2) and a target (n, 1): mostly of the second, a little of the first."""
    x = torch.randn(rows, 2, generator=generator(seed))
    y = truth(x) + noise * torch.randn(rows, 1, generator=generator(seed + 1))
    return x, y


def truth(x: torch.Tensor) -> torch.Tensor:
    return (0.1 * x[:, 0] + x[:, 1] + 0.02 * x[:, 0] * x[:, 1] + 0.002 * x[:, 0] ** 2)[:, None]


def test_the_regression_is_bayes_rule_and_its_prior_the_likeliest():
    x, y = curved(1, 0.1)
    model = BayesianPolynomial(2, 1, 3)
    model.fit(x, y)
    phi, target = model.features(x), model.targets(y).double()[:, 0]
    scales = [model.scale(x).double()[:, v] for v in range(2)]

    def evidence(hyper):
        """Compute the log density of the target, and of the prior's own prior, naively."""
        length = hyper[1:3].exp()
        kernel = torch.zeros(60, 60).double()
        for k in range(4):  # the exponential's series, cut off as the monomials are
            dot = sum(scales[v][:, None] * scales[v] * length[v] ** 2 for v in range(2))
            kernel = kernel + (2 * hyper[0]).exp() * dot**k / math.factorial(k)
        noise = ((2 * hyper[3]).exp() + MIN_NOISE**2) * torch.eye(60)
        fit = torch.distributions.MultivariateNormal(torch.zeros(60).double(), kernel + noise)
        start = torch.tensor([0.0, -1.0, -1.0]).double()
        return fit.log_prob(target) - (hyper[:3] - start).square().sum() / 18

    result = model.hyper[0]
    best = evidence(result)
    for which in range(4):
        for step in (-0.1, 0.1):
            other = result.clone()
            other[which] += step
            assert evidence(other) < best
    assert result[3].exp() == pytest.approx(0.1 / y.std().item(), rel=0.2)
    assert result[1] < result[2], "the first input matters less"

    inputs = model.features(5 * x[:7])
    prior = torch.diag(model._prior(result) ** 2)
    joint = phi @ prior @ phi.T + model.noise * torch.eye(60)
    cross = inputs @ prior @ phi.T
    mean, variance = model.predict(5 * x[:7])
    torch.testing.assert_close(mean[:, 0], cross @ torch.linalg.solve(joint, target))
    expected = inputs @ prior @ inputs.T - cross @ torch.linalg.solve(joint, cross.T)
    torch.testing.assert_close(variance[:, 0], expected.diagonal(), rtol=1e-4, atol=1e-8)


def test_the_regression_knows_what_it_does_not_know():
    """Far out its errors, over draws of the data, are as large as it says, and large."""
    ratios, sizes = [], []
    for seed in range(40):
        model = BayesianPolynomial(2, 1, 4)
        model.fit(*curved(100 + 2 * seed, 0.1))
        x = torch.tensor([[-15.0, 2.0], [15.0, -2.0]])
        mean, variance = model.predict(x)
        wrong = mean - model.targets(truth(x))
        ratios.append((wrong.square() / variance).mean())
        sizes.append(variance.sqrt().mean() / model.noise.sqrt())
    assert 0.2 < torch.stack(ratios).mean() < 3, ratios
    assert torch.stack(sizes).mean() > 3


def test_the_ensemble_decides_where_the_regression_is_uncertain():
    data = parabola()
    change = data.obs**2 / 10 + data.action / 2
    change = change + change.std() * torch.randn(800, 1, generator=generator(9))
    noisy = data._replace(next_obs=data.obs + change)
    obs, action = torch.full((1, 1), 2.0), torch.zeros(1, 1)
    grid = obs + torch.linspace(-5, 5, 1001)[:, None, None]

    def best(reward, *members):
        means = obs + torch.tensor(members)[:, None, None]
        return (grid[reward.score(obs, action, Candidates(grid, means)).argmax()] - obs).item()

    result = []
    for given in (data, noisy):
        reward = BayesianPolynomialReward(obs_dim=1, action=ACTION)
        reward.fit(given, ToyDynamics(), holdout_ensemble=holdout(given), generator=generator(5))
        result.append([best(reward, -2.0, -2.0), best(reward, -2.01, -1.99)])
    (alone, clean), (unsure, held) = result
    assert alone == pytest.approx(0.4, abs=0.02) and clean == pytest.approx(0.4, abs=0.02)
    assert unsure > -1.0 and abs(held + 2.0) < 0.3, result
