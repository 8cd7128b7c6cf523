"""Bounds of boxes of actions, and descent between linear pieces."""

import numpy as np
import pytest
import torch

from mbrl.relu.boxes import Boxes
from mbrl.relu.descent import descend
from mbrl.relu.program import build
from tests.relu.problems import by_enumeration, random_problem, sample
from tests.relu.test_bounds import bound

WIDTHS = [(4,), (8,), (3, 3), (2, 2, 2)]


def part(problem, draws, count=20):
    """Draw boxes (count, H, act_dim) inside the limits, large and small ones."""
    ends = [sample(problem, count, draws) for _ in range(2)]
    middle, size = (ends[0] + ends[1]) / 2, np.abs(ends[1] - ends[0]) / 2
    size = size * draws.uniform(0, 1, (count, 1, 1))
    return torch.from_numpy(middle - size), torch.from_numpy(middle + size)


@pytest.mark.parametrize("seed", range(16))
def test_no_plan_in_a_box_costs_less_than_its_bound(seed):
    draws = np.random.default_rng(seed)
    problem = random_problem(seed, widths=WIDTHS[seed % 4], horizon=1 + seed % 4)
    boxes = Boxes(problem)
    low, high = part(problem, draws)
    found = boxes.bound(low, high)
    whole = boxes.bound(
        *(torch.from_numpy(x)[None] for x in (problem.action_low, problem.action_high))
    )
    inside = boxes.bound(
        low, high, type(whole.ranges)(*(x.expand(20, -1, -1) for x in whole.ranges))
    )
    for _ in range(200):
        share = torch.from_numpy(draws.uniform(size=low.shape)).round(
            decimals=int(draws.integers(0, 3))
        )
        actions = low + share * (high - low)
        costs = boxes.costs(actions)
        expected = problem.simulate(actions.numpy())[0]
        np.testing.assert_allclose(costs.numpy(), expected, rtol=1e-10, atol=1e-10)
        for each in (found, inside):
            assert (costs >= each.cost).all()
        before, rows = boxes._simulate(actions)
        assert (before >= found.ranges.low - 1e-9).all() and (
            before <= found.ranges.high + 1e-9
        ).all()
        assert (rows >= found.ranges.row_low - 1e-9).all()
        assert (rows <= found.ranges.row_high + 1e-9).all()
    assert (inside.cost >= whole.cost - 1e-6 * (1 + whole.cost.abs())).all()
    assert (found.corner >= low).all() and (found.corner <= high).all() and (found.score >= 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_bounds_of_small_boxes_are_the_cost(seed):
    draws = np.random.default_rng(seed)
    problem = random_problem(seed, widths=WIDTHS[seed % 4], horizon=3)
    boxes, middle = Boxes(problem), torch.from_numpy(sample(problem, 10, draws))
    found = boxes.bound(middle - 1e-7, middle + 1e-7)
    torch.testing.assert_close(found.cost, boxes.costs(middle), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_descent_only_falls_and_stops_where_its_piece_is_best(seed):
    draws = np.random.default_rng(seed)
    problem = random_problem(seed, widths=(4,), horizon=2, hold=1)
    program = build(problem, bound(problem, "crown"))
    starts = sample(problem, 10, draws)
    ends = np.stack([descend(program, x[None], max_lps=200) for x in starts])
    before, after = (problem.simulate(x)[0] for x in (starts, ends))
    assert (after <= before).all() and (after < before - 1e-6).any()
    assert (ends >= problem.action_low).all() and (ends <= problem.action_high).all()
    assert after.min() >= by_enumeration(problem) - 1e-6
    for end, cost in zip(ends, after, strict=True):  # no plan close by is better
        near = end + 1e-6 * draws.normal(size=(200, *end.shape))
        near = np.clip(near, problem.action_low, problem.action_high)
        assert problem.simulate(near)[0].min() >= cost - 1e-8
    assert (descend(program, starts[:1], max_lps=0) == starts[0]).all()
    assert (descend(program, starts, deadline=0.0) == starts[before.argmin()]).all()
    together = descend(program, starts, max_lps=200)
    assert problem.simulate(together[None])[0][0] <= before.min() + 1e-9
