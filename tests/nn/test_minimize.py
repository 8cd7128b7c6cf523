"""A loss is minimized, the learning rate falls to zero, and what is not finite is named."""

import math

import pytest
import torch
from torch import nn

from mbrl.errors import NumericalFault
from mbrl.nn.minimize import minimize


class Point(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(2))


def test_finds_the_minimum_of_a_parabola():
    point, target = Point(), torch.tensor([0.3, -0.2])
    final = minimize(
        point, lambda _: (point.place - target).square().sum(), 500, learning_rate=1e-2
    )
    torch.testing.assert_close(point.place.data, target, atol=1e-4, rtol=0)
    assert final < 1e-7


def test_the_steps_shrink_linearly_to_zero():
    """Adam's steps under a constant gradient are the learning rate."""
    point, places = Point(), []

    def slope(update: int) -> torch.Tensor:
        places.append(point.place[0].item())
        assert update == len(places) - 1
        return point.place.sum()

    minimize(point, slope, 4, learning_rate=0.1)
    places.append(point.place[0].item())
    steps = [a - b for a, b in zip(places[:-1], places[1:], strict=True)]
    assert steps == pytest.approx([0.1, 0.075, 0.05, 0.025], rel=1e-4)


def test_weights_decay():
    point = Point()
    point.place.data.fill_(1.0)
    minimize(point, lambda _: 0 * point.place.sum(), 1, learning_rate=0.1, weight_decay=0.5)
    torch.testing.assert_close(point.place.data, torch.full((2,), 0.95))


def test_a_loss_that_is_not_finite_is_named():
    point = Point()
    with pytest.raises(NumericalFault, match="Point: the loss is nan after 3 updates"):
        minimize(point, lambda _: point.place.sum() * math.nan, 3)
