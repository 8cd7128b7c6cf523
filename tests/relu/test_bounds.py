"""Bounds hold for every trajectory, to the last bit, and tighter kinds are inside looser ones."""

import numpy as np
import pytest

from mbrl.relu import Layer, ReluNetwork, crown, interval
from tests.relu.problems import random_problem, sample

WIDTHS = [(4,), (8,), (16,), (3, 3), (4, 2, 2), (32,)]


def bound(problem, kind):
    low, high = problem.held(problem.action_low), problem.held(problem.action_high)
    if kind == "interval":
        return interval(problem.network, problem.obs, low, high)
    return crown(problem.network, problem.obs, low, high, hold=problem.hold)


def inside(bounds, outputs, before):
    """Count the entries that leave their bounds."""
    wrong = (outputs < bounds.out_low) | (outputs > bounds.out_high)
    return int(wrong.sum() + ((before < bounds.low) | (before > bounds.high)).sum())


@pytest.mark.parametrize("seed", range(20))
def test_no_rollout_leaves_the_bounds(seed):
    """20 networks x 50_000 rollouts: a million for each kind of bound."""
    draws = np.random.default_rng(seed)
    problem = random_problem(seed, widths=WIDTHS[seed % len(WIDTHS)], horizon=1 + seed % 5)
    kinds = {kind: bound(problem, kind) for kind in ("interval", "crown")}
    for _ in range(10):
        _, outputs, before = problem.simulate(sample(problem, 5000, draws))
        for name, found in kinds.items():
            assert inside(found, outputs, before) == 0, name


def test_violations_are_seen():
    problem = random_problem(0, widths=(8,), horizon=3)
    found = bound(problem, "crown")
    _, outputs, before = problem.simulate(sample(problem, 1000, np.random.default_rng(0)))
    narrow = found._replace(high=found.low + 0.5 * (found.high - found.low))
    assert inside(narrow, outputs, before) > 0


@pytest.mark.parametrize("seed", range(10))
def test_tighter_kinds_are_inside_looser_ones(seed):
    problem = random_problem(seed, widths=(6, 3), horizon=4)
    loose, tight = bound(problem, "interval"), bound(problem, "crown")
    assert (tight.low >= loose.low - 1e-12).all() and (tight.high <= loose.high + 1e-12).all()
    assert tight.num_unstable() <= loose.num_unstable()
    assert tight.num_unstable() < loose.num_unstable() or loose.num_unstable() == 0 or seed


def test_one_neuron_by_hand():
    """x+ = relu(x + u), from x = 1 with u in [-2, 1]: -1 <= pre <= 2, then CROWN's upper line."""
    layer = Layer(np.array([[1.0, 1.0]]), np.zeros(1), np.full(1, 2, np.int8))
    network = ReluNetwork((layer,), np.array([[0.0, 0.0, 1.0]]), np.zeros(1), 1)
    low, high = np.full((2, 1), -2.0), np.full((2, 1), 1.0)
    found = crown(network, np.array([1.0]), low, high)
    np.testing.assert_allclose(found.low[:, 0], [-1, -2], atol=1e-9)
    np.testing.assert_allclose(found.high[:, 0], [2, 3], atol=1e-9)
    np.testing.assert_allclose(found.out_low[:, 0], [0, 0], atol=1e-9)
    np.testing.assert_allclose(found.out_high[:, 0], [2, 3], atol=1e-9)
    assert found.num_unstable() == 2 and (found.high > [[2], [3]]).all()  # outward


def test_cancelling_actions_are_bounded_by_crown_alone():
    """x+ = x + u of one held action, then x+ = x - u: intervals forget that both are the same."""
    network = ReluNetwork((), np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), np.zeros(2), 2)
    low, high = np.full((3, 1), -1.0), np.full((3, 1), 1.0)
    held = crown(network, np.zeros(2), low, high, hold=3)
    np.testing.assert_allclose(held.out_high[:, 0], [1, 2, 3], atol=1e-9)
    back = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, -1.0]])  # keeps u, and takes it off again
    network = ReluNetwork((), back, np.zeros(2), 2)
    held = crown(network, np.zeros(2), low, high, hold=3)
    np.testing.assert_allclose(held.out_high[1:, 1], 0, atol=1e-9)
    loose = interval(network, np.zeros(2), low, high)
    np.testing.assert_allclose(loose.out_high[1:, 1], 2, atol=1e-9)


def test_a_box_serves_every_obs_in_it():
    problem = random_problem(3, widths=(6,), horizon=4, hold=1)
    draws = np.random.default_rng(0)
    box = problem.obs - 1, problem.obs + 1
    found = interval(problem.network, problem.obs, problem.action_low, problem.action_high, box=box)
    pre = []
    for _ in range(2000):
        obs = draws.uniform(*box)[None]
        pre.append(problem.network.simulate(obs, sample(problem, 1, draws)[:, :1])[1][0, 0])
    assert (np.array(pre) >= found.low[0]).all() and (np.array(pre) <= found.high[0]).all()
    assert np.ptp(found.low, 0).max() == 0 or not np.allclose(
        problem.action_low, problem.action_low[0]
    )
