"""MPPI against its rule, worked out by hand."""

import math

import pytest
import torch

from mbrl.planners import MPPI
from tests.planners.linear import LinearQuadratic, bounds
from tests.toys import generator


def test_mppi_moves_by_the_weighted_noise(monkeypatch):
    """Two samples and one decision, worked out by hand.

    Returns 0 and -1: the one above the (lower) median is 1 from it, sqrt(2 * 1 / 2) = 1. The rule
    is pytorch-mppi's: weights exp(-(cost - least cost) / lambda), normalized, with lambda =
    temperature * 1; the mean moves by the weighted noise, as cut off at the bounds.
    """

    class Pays(LinearQuadratic):
        def step(self, state, action, **options):
            after, pred = super().step(state, action, **options)
            return after, pred._replace(reward=-(action[:, 0] < 0).float())

    system, noise = Pays(), torch.tensor([[[[1.0, -0.4]], [[-3.0, 0.8]]]])
    monkeypatch.setattr(torch, "randn", lambda *size, **options: noise)
    planner = MPPI(
        action=bounds(1.0), horizon=1, num_samples=2, num_iterations=1, temperature=0.5, std=0.5
    )
    plan = planner.plan(torch.ones(1, 4), system, generator=generator(1))
    weight = math.exp(-1 / 0.5)
    good, bad = 1 / (1 + weight), weight / (1 + weight)
    expected = [0.5 * good - 1.0 * bad, -0.2 * good + 0.4 * bad]
    assert plan.actions.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert plan.value.item() == pytest.approx(-bad, abs=1e-6)


def test_the_temperature_is_in_standard_deviations_of_normal_returns():
    planner = MPPI(action=bounds(1.0), temperature=0.5)
    returns = 7 * torch.randn(1, 100_000, generator=generator(0)) + 3
    weights = planner.weights(returns)
    ratio = (weights[0, 0] / weights[0, 1]).log() * 0.5
    assert ratio.item() == pytest.approx((returns[0, 0] - returns[0, 1]).item() / 7, rel=0.01)


def test_very_bad_and_ruled_out_candidates_do_not_even_out_the_weights_of_the_others():
    planner = MPPI(action=bounds(1.0))
    returns = torch.randn(1, 500, generator=generator(0))
    worst = returns < returns.quantile(0.3)
    for bad in (-1e6, -torch.inf):
        changed = planner.weights(torch.where(worst, bad, returns))
        torch.testing.assert_close(
            changed[~worst], planner.weights(returns)[~worst], rtol=1e-2, atol=0
        )
        assert changed[worst].sum() == 0
    assert planner.weights(torch.zeros(1, 5)).tolist() == [[pytest.approx(0.2)] * 5]


@pytest.mark.parametrize("unit", [1e-30, 1e30])
def test_weights_do_not_depend_on_the_unit_of_returns(unit):
    planner = MPPI(action=bounds(1.0))
    returns = torch.randn(2, 500, generator=generator(0))
    torch.testing.assert_close(planner.weights(unit * returns), planner.weights(returns))


def test_where_most_candidates_are_ruled_out_the_others_are_weighted():
    returns = torch.full((1, 9), -torch.inf)
    returns[0, :3] = torch.tensor([1.0, 2.0, 4.0])  # 2 above the median of the three
    weights = MPPI(action=bounds(1.0), temperature=1.0).weights(returns)
    spread = 2 * (2 / 9) ** 0.5
    expected = torch.softmax(returns / spread, 1)
    torch.testing.assert_close(weights, expected)
    assert weights[0, 3:].sum() == 0
