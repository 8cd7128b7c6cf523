"""MPPI against its rule, worked out by hand."""

import math

import pytest
import torch

from mbrl.planners import MPPI
from tests.planners.linear import LinearQuadratic, bounds
from tests.toys import generator


def test_mppi_moves_by_the_weighted_noise(monkeypatch):
    """Two samples and one decision, worked out by hand.

    Returns 0 and -1 have the standard deviation 1 / sqrt(2). The rule is pytorch-mppi's:
    weights exp(-(cost - least cost) / lambda), normalised, with lambda = temperature * std;
    the mean moves by the weighted noise, as cut off at the bounds.
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
    weight = math.exp(-1 / (0.5 * 2**-0.5))
    good, bad = 1 / (1 + weight), weight / (1 + weight)
    expected = [0.5 * good - 1.0 * bad, -0.2 * good + 0.4 * bad]
    assert plan.actions.flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert plan.value.item() == pytest.approx(-bad, abs=1e-6)
