"""Bounds of boxes of actions."""

import numpy as np
import pytest
import torch

from mbrl.relu.boxes import Boxes
from tests.relu.problems import random_problem, sample

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
