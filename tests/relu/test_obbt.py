"""Bounds tightened by linear programs: inside those of CROWN, around all plans below a cutoff."""

import numpy as np
import pytest

from mbrl.relu import Layer, PiecewiseLinearCost, ReluNetwork, Term, interval
from mbrl.relu.obbt import tighten
from mbrl.relu.program import INF, Problem
from tests.relu.problems import random_problem, sample
from tests.relu.test_bounds import WIDTHS, bound, inside

RELU = np.full(1, 2, np.int8)


def problem_of(layers, out, act_dim=1):
    """One step from 0 with actions in [-1, 2]; the cost is the network's output."""
    network = ReluNetwork(tuple(layers), np.array([out]), np.zeros(1), 1)
    cost = PiecewiseLinearCost((Term("linear", np.eye(1, 1 + act_dim), np.zeros(1)),))
    low, high = np.full((1, act_dim), -1.0), np.full((1, act_dim), 2.0)
    problem = Problem(network, cost, np.zeros(1), low, high)
    return problem, interval(network, problem.obs, low, high)


def one(cost):
    """Neurons u, then relu(u) - 0.4; the cost is `cost` times u."""
    first = Layer(np.array([[0.0, 1]]), np.zeros(1), RELU)
    second = Layer(np.array([[0.0, 0, 1]]), np.array([-0.4]), RELU)
    return problem_of([first, second], [0.0, cost, 0, 0])


@pytest.mark.parametrize(
    ("cost", "cutoff", "low", "high"),
    [
        # the line above relu ends at (0.5, 0.5) once u is known to be at most 0.5
        (1, 0.5, [-1, -0.4], [0.5, 0.1]),
        (1, -0.5, [-1, -0.4], [-0.5, -0.4]),  # relu(u) is 0
        (-1, -0.5, [0.5, 0.1], [2, 1.6]),  # relu(u) is u
        (1, INF, [-1, -0.4], [2, 1.6]),
        (1, -5, [-1, -0.4], [2, 1.6]),  # no plan costs so little: nothing is proven
    ],
)
def test_neurons_by_hand(cost, cutoff, low, high):
    problem, bounds = one(cost)
    tight = tighten(problem, bounds, cutoff=cutoff)
    np.testing.assert_allclose(tight.low[0], low, atol=2e-6)
    np.testing.assert_allclose(tight.high[0], high, atol=2e-6)
    assert (tight.low[0] <= np.array(low) + 1e-12).all()  # outward
    assert (tight.high[0] >= np.array(high) - 1e-12).all()
    assert tight.out_low is bounds.out_low and tight.out_high is bounds.out_high


def two(u=0.0):
    """Neurons u and v side by side; the cost is v, and u times the first."""
    layer = Layer(np.array([[0.0, 1, 0], [0, 0, 1]]), np.zeros(2), np.full(2, 2, np.int8))
    return problem_of([layer], [0.0, u, 1, 0, 0], act_dim=2)


@pytest.mark.parametrize(
    ("options", "second"),
    [
        ({}, 0.5),
        ({"patience": 2}, 0.5),
        ({"patience": 1}, 2),  # the first neuron has lost nothing
        ({"max_lps": 4}, 0.5),
        ({"max_lps": 3}, 2),  # its upper bound is the fourth program
        ({"max_lps": 0}, 2),
        ({"deadline": 0.0}, 2),
    ],
)
def test_it_stops_where_it_is_told(options, second):
    problem, bounds = two()
    tight = tighten(problem, bounds, cutoff=0.5, **options)
    np.testing.assert_allclose(tight.high[0], [2, second], atol=2e-6)
    np.testing.assert_allclose(tight.low[0], [-1, -1], atol=2e-6)


def test_it_goes_on_as_long_as_neurons_lose_a_tenth():
    """u + v is at most 0.5, so that each is at most 1.5: the first loses a sixth."""
    problem, bounds = two(u=1.0)
    tight = tighten(problem, bounds, cutoff=0.5, patience=1)
    np.testing.assert_allclose(tight.high[0], [1.5, 1.5], atol=2e-6)


@pytest.mark.parametrize("seed", range(12))
def test_no_rollout_below_the_cutoff_leaves_the_bounds(seed):
    draws = np.random.default_rng(seed)
    problem = random_problem(seed, widths=WIDTHS[seed % len(WIDTHS)], horizon=1 + seed % 5)
    middle = sample(problem, 1, draws)
    cutoff = problem.simulate(middle)[0][0]
    below = tighten(problem, bound(problem, "crown"), cutoff=cutoff)
    everywhere = tighten(problem, bound(problem, "crown"))
    for _ in range(4):
        cost, outputs, before = problem.simulate(sample(problem, 5000, draws))
        rows = cost <= cutoff
        assert inside(everywhere, outputs, before) == 0
        assert inside(below, outputs[rows], before[rows]) == 0
    assert inside(below, *problem.simulate(middle)[1:]) == 0  # the known plan itself


@pytest.mark.parametrize("seed", range(10))
def test_bounds_are_inside_those_it_starts_from(seed):
    problem = random_problem(seed, widths=(6, 3), horizon=4)
    loose = bound(problem, "crown")
    tight = tighten(problem, loose)
    assert (tight.low >= loose.low - 1e-12).all() and (tight.high <= loose.high + 1e-12).all()
    assert tight.num_unstable() <= loose.num_unstable()
