"""Circles and bounds are found where the data have them, and nowhere else, in every unit."""

import math

import pytest
import torch

from mbrl.dynamics.sindy.structure import find_bounds, find_circles
from tests.dynamics.sindy.helpers import rows
from tests.toys import generator


def turning(count, spread, seed=0):
    """Observations (cos, free, sin, constant, sin of another, cos of it)."""
    draws = generator(seed)
    a, b = (spread * torch.randn(count, generator=draws).double() for _ in range(2))
    free = torch.randn(count, generator=draws).double()
    return torch.stack([a.cos(), free, a.sin(), torch.ones(count), b.sin(), b.cos()], 1)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("spread", [0.03, 1.0, 10.0])
def test_pairs_are_found_in_every_unit_and_range(unit, spread):
    obs = (turning(200, spread) * unit).float().double()
    found = find_circles(rows(obs, obs[:, :1], obs))
    assert [(c.cos, c.sin) for c in found] == [(0, 2), (4, 5)]
    assert all(c.radius == pytest.approx(unit, rel=1e-5) for c in found)


def test_what_is_no_circle_is_not_taken_for_one():
    draws = generator(1)
    free = torch.randn(300, 4, generator=draws).double()
    ellipse = turning(300, 2.0)[:, [0, 2]] * torch.tensor([1.0, 1.1])
    noisy = turning(300, 2.0)[:, [0, 2]] + 0.01 * free[:, :2]
    constant = torch.ones(300, 2).double()
    for obs in (free, ellipse, noisy, constant, torch.cat([constant, 0.01 * free], 1)):
        assert find_circles(rows(obs, obs[:, :1], obs)) == []


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_a_bound_is_a_value_that_several_rows_share_where_others_do_not(unit):
    draws = generator(2)
    free = torch.randn(500, 2, generator=draws)
    obs = unit * torch.cat([free.clamp(-1.5, math.inf), free.round(), free, 0 * free[:, :1]], 1)
    low, high = find_bounds(rows(obs, obs[:, :1], obs))
    assert low.tolist() == [pytest.approx(-1.5 * unit)] * 2 + [-math.inf] * 5
    assert high.tolist() == [math.inf] * 7
