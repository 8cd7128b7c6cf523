"""CROWN's passes: one box and many agree, and rounding is charged on the way."""

import numpy as np
import pytest

from mbrl.relu import ReluNetwork, crown
from mbrl.relu.linear_relaxation import EPS, Crown, Ranges, affine, upper_line
from tests.relu.problems import random_problem, sample

WIDTHS = [(4,), (3, 3), (2, 2, 2), ()]


def tables(problem, **options):
    return Crown(problem.network, problem.obs, problem.num_steps, problem.hold, **options)


@pytest.mark.parametrize("seed", range(8))
def test_many_boxes_are_bounded_as_each_of_them_alone(seed):
    problem = random_problem(seed, widths=WIDTHS[seed % 4], horizon=1 + seed % 3)
    draws = np.random.default_rng(seed)
    ends = np.sort(np.stack([sample(problem, 5, draws) for _ in range(2)]), 0)
    together, moves = tables(problem).bound(*ends)
    for k in range(5):
        alone, own = tables(problem).bound(ends[0, k], ends[1, k])
        for many, one in zip((*together, *moves), (*alone, *own), strict=True):
            np.testing.assert_allclose(many[k], one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_outward_bounds_are_outside_unless_intervals_are_tighter(seed):
    problem = random_problem(seed, widths=(4,), horizon=1)
    low, high = problem.action_low, problem.action_high
    plain = tables(problem).bound(low, high)[0]
    outward = tables(problem, outward=True).bound(low, high)[0]
    assert (outward.low < plain.low)[0, 0].all() and (outward.high > plain.high)[0, 0].all()
    np.testing.assert_allclose(outward.low[0], plain.low[0], rtol=1e-10, atol=1e-10)


def test_known_bounds_are_kept_to():
    problem = random_problem(1, widths=(4,), horizon=2)
    low, high = problem.action_low, problem.action_high
    first = tables(problem).bound(low, high)[0]
    known = Ranges(*(0.5 * x for x in first))
    again = tables(problem).bound(low, high, known)[0]
    assert (again.low >= known.low).all() and (again.row_low >= known.row_low).all()


def test_rounding_of_every_step_is_charged():
    """a = b = 1e8 u, then z = a - b, then w = z: bounds of w know how large a and b were."""
    weight = np.zeros((4, 5))  # of [a, b, z, w, u]
    weight[0, 4] = weight[1, 4] = 1e8
    weight[2, 0], weight[2, 1], weight[3, 2] = 1, -1, 1
    network = ReluNetwork((), weight, np.zeros(4), 4)
    limits = crown(network, np.zeros(4), np.full((3, 1), -1.0), np.full((3, 1), 1.0), hold=3)
    assert 1e8 * EPS < limits.out_high[2, 3] < 1e8 * 1e4 * EPS
    assert -1e8 * 1e4 * EPS < limits.out_low[2, 3] < -1e8 * EPS


def test_the_upper_line_is_above_the_relu_and_meets_it_at_the_ends():
    low, high = np.array([-1.0, -3, 1, -4]), np.array([2.0, 1, 5, -2])
    slope, lift = upper_line(low, high)
    np.testing.assert_allclose(slope, [2 / 3, 1 / 4, 1, 0])
    np.testing.assert_allclose(lift, [2 / 3, 3 / 4, 0, 0])
    for share in np.linspace(0, 1, 11):
        a = low + share * (high - low)
        assert (slope * a + lift >= np.maximum(a, 0)).all()


def test_affine_bounds_by_hand():
    """2 x - 3 y + 1 over [0, 1] x [-1, 2]."""
    weight, bias = np.array([[2.0, -3]]), np.ones(1)
    low, high = affine(weight, bias, np.array([0.0, -1]), np.array([1.0, 2]), np.full(1, 9.0))
    assert -5 - 1e-12 < low[0] < -5 and 6 < high[0] < 6 + 1e-12
