"""Implicit Q-learning."""

import pytest
import torch

from mbrl.learners import IQL
from tests.learners.bandit import learned


def test_iql_weighs_the_actions_by_their_advantage():
    """The weighted mean action, with the weights computed by hand; temperature 0 clones."""
    action = torch.linspace(-1, 0.8, 2000)
    reward = 1 - (action - 0.5).square()
    low, high = -3.0, 3.0
    for _ in range(60):  # the expectile of the reward, by bisection
        middle = (low + high) / 2
        gap = reward - middle
        slope = (torch.where(gap > 0, 0.7, 0.3) * gap).mean()
        low, high = (middle, high) if slope > 0 else (low, middle)
    weight = (8.0 * (reward - low)).exp().clamp(max=100)
    expected = ((weight * action).sum() / weight.sum()).item()
    assert learned(IQL, 3000, temperature=8.0, tau=0.05) == pytest.approx(expected, abs=0.1)
    assert expected > 0.3
    assert learned(IQL, temperature=0.0) == pytest.approx(-0.1, abs=0.06)
