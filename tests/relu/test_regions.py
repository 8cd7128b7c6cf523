"""Regions of a step: every rollout is in one, each is affine, and none is listed in vain."""

import numpy as np
import pytest

from mbrl.relu import Layer, PiecewiseLinearCost, ReluNetwork, interval
from mbrl.relu.program import Problem
from mbrl.relu.regions import enumerate_regions
from tests.relu.problems import random_problem, sample
from tests.relu.test_bounds import bound


def line(slopes, offsets, low=-2.0, high=2.0, steps=1):
    """Neurons slope * (x + u) + offset from x = 0; the next x is their sum."""
    count = len(slopes)
    weight = np.array(slopes, dtype=float)[:, None] * np.ones(2)
    layer = Layer(weight, np.array(offsets, dtype=float), np.full(count, 2, np.int8))
    out = np.concatenate([np.zeros(2), np.ones(count)])[None]
    network = ReluNetwork((layer,), out, np.zeros(1), 1)
    actions = np.full((steps, 1), low), np.full((steps, 1), high)
    problem = Problem(network, PiecewiseLinearCost(()), np.zeros(1), *actions)
    return problem, interval(network, problem.obs, *actions)


def patterns(regions):
    return [tuple(region.active.tolist()) for region in regions]


def test_two_kinks_on_a_line_by_hand():
    """relu(u) and relu(u - 1): nothing, the first alone, both; never the second alone."""
    steps = enumerate_regions(*line([1, 1], [0, -1]))
    assert steps is not None and len(steps) == 1
    assert patterns(steps[0]) == [(False, False), (True, False), (True, True)]
    none, first, both = steps[0]
    assert none.sides.tolist() == [[1, 1, 0], [1, 1, -1]]  # over [x, u, 1], at most 0
    assert first.sides.tolist() == [[-1, -1, 0], [1, 1, -1]]
    assert both.sides.tolist() == [[-1, -1, 0], [-1, -1, 1]]
    assert none.out.tolist() == [[0, 0, 0]]
    assert first.out.tolist() == [[1, 1, 0]] and both.out.tolist() == [[2, 2, -1]]


def test_a_region_that_is_one_point_is_none():
    """relu(u) and relu(-u) are both at 0 in one point."""
    steps = enumerate_regions(*line([1, -1], [0, 0]))
    assert steps is not None and patterns(steps[0]) == [(False, True), (True, False)]


def test_neurons_whose_side_is_proven_are_not_split():
    """relu(u + 5) is u + 5, relu(u - 5) is nothing."""
    steps = enumerate_regions(*line([1, 1, 1], [5, 0, -5]))
    assert steps is not None and patterns(steps[0]) == [(False,), (True,)]
    assert steps[0][1].out.tolist() == [[2, 2, 5]]


def test_later_steps_begin_where_the_bounds_allow():
    """From x in [0, 3] with u in [-2, 2], x + u reaches 4: beyond 3.5 there is a further kink."""
    steps = enumerate_regions(*line([1, 1], [0, -3.5], steps=2))
    assert steps is not None
    assert patterns(steps[0]) == [(False,), (True,)]  # the second kink is out of reach
    assert patterns(steps[1]) == [(False, False), (True, False), (True, True)]


def test_fixed_actions_leave_one_region():
    problem, bounds = line([1, 1], [0, -1])
    fixed = problem._replace(action_low=np.array([[0.5]]), action_high=np.array([[0.5]]))
    steps = enumerate_regions(fixed, bounds)
    assert steps is not None and patterns(steps[0]) == [(True, False)]


def test_too_many_regions_or_too_little_time_list_none():
    problem, bounds = line([1, 1], [0, -1])
    assert enumerate_regions(problem, bounds, max_regions=3) is not None
    assert enumerate_regions(problem, bounds, max_regions=2) is None
    assert enumerate_regions(problem, bounds, deadline=-1.0) is None
    assert enumerate_regions(problem, bounds, deadline=60.0) is not None


@pytest.mark.parametrize("seed", range(6))
def test_each_region_is_the_network_inside_its_sides(seed):
    problem = random_problem(seed, widths=(4, 2), horizon=1, hold=1)
    steps = enumerate_regions(problem, bound(problem, "crown"))
    assert steps is not None
    actions = sample(problem, 500, np.random.default_rng(seed))
    _, outputs, _ = problem.simulate(actions)
    obs = np.broadcast_to(problem.obs, (500, len(problem.obs)))
    inputs = np.concatenate([obs, actions[:, 0], np.ones((500, 1))], 1)
    found = np.zeros(500, dtype=int)
    for region in steps[0]:
        inside = (inputs @ region.sides.T <= 1e-12).all(1)
        np.testing.assert_allclose(
            inputs[inside] @ region.out.T, outputs[inside, 0], rtol=1e-9, atol=1e-9
        )
        found += inside
    assert (found == 1).all()


@pytest.mark.parametrize("seed", range(6))
def test_every_rollout_is_in_a_listed_region(seed):
    problem = random_problem(seed, widths=(4, 2), horizon=3)
    limits = bound(problem, "crown")
    steps = enumerate_regions(problem, limits)
    assert steps is not None
    _, outputs, before = problem.simulate(sample(problem, 2000, np.random.default_rng(seed)))
    reached = 0
    for t, regions in enumerate(steps):
        listed = {tuple(region.active) for region in regions}
        assert len(listed) == len(regions)
        found = {tuple(x) for x in before[:, t, limits.unstable()[t]] > 0}
        assert found <= listed
        reached += len(found)
    assert reached > len(steps)
    assert enumerate_regions(problem, limits, max_regions=1) is None
