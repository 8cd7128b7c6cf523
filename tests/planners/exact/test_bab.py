"""Branch and bound over the actions: the optimum, boxes that are split, bounds that hold."""

import pytest
import torch

from mbrl.errors import BadInput
from mbrl.planners import BaB
from mbrl.planners.exact.bab import _Front
from mbrl.relu.boxes import Bounded, Ranges
from mbrl.types import ActionSpec
from tests.planners.exact.problems import (
    behind_a_wall,
    check_never_worse,
    check_optimum,
    planner,
    setting,
)
from tests.toys import generator


@pytest.mark.parametrize("seed", range(6))
def test_finds_the_optimum(seed):
    check_optimum(seed, make=BaB, max_boxes=60000)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{"max_boxes": 500}, {"time_limit": 0.03}], ids=str)
def test_never_worse_than_its_incumbent(seed, options):
    check_never_worse(seed, make=BaB, **options)


def test_goes_round_an_obstacle_where_sampling_is_stuck():
    """Descent and the bounds together find the optimum, which planner=mip proves: 18.15."""
    model, action, obs = behind_a_wall()
    few = {"num_samples": 100, "num_elites": 10, "num_iterations": 10}
    made = BaB(action=action, horizon=9, sampler_options=few, max_boxes=300)
    plan = made.plan(obs, model, generator=generator(0))
    assert plan.info["incumbent"].item() > 30
    assert plan.value.item() == pytest.approx(-18.15, abs=1e-3)


@pytest.mark.parametrize("leaf_unstable", [0, 2])
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_holds_however_early_the_search_ends(seed, leaf_unstable):
    """Without leaves, boxes are only split; the fewer there are, the less is proven."""
    problem, model, obs = setting(seed, widths=(4,), horizon=2)
    optimum = -planner(problem).plan(obs, model, generator=generator(1)).value.double()
    room = 1e-4 * (1 + optimum.abs())
    bounds = []
    for max_boxes in (1, 40, 400):
        options = {"max_boxes": max_boxes, "leaf_unstable": leaf_unstable, "batch_size": 4}
        plan = planner(problem, BaB, **options).plan(obs, model, generator=generator(1))
        assert (plan.info["lower_bound"] <= optimum + room).all()
        for status, nodes in zip(plan.info["status"], plan.info["nodes"].tolist(), strict=True):
            assert status == "optimal" or nodes >= max_boxes
        bounds.append(plan.info["lower_bound"])
    assert (bounds[0] <= bounds[1] + room).all() and (bounds[1] <= bounds[2] + room).all()


def test_discrete_actions_are_refused():
    with pytest.raises(BadInput, match="continuous actions; choose MIP"):
        BaB(action=ActionSpec.discrete(3))


def front(costs, low=0.0, high=1.0, scores=None):
    """Boxes of one decision of two actions, and one neuron; box i's ranges are [-1, i - 1]."""
    count = len(costs)
    side = torch.ones(count, 1, 2, dtype=torch.float64)
    number = torch.arange(count, dtype=torch.float64).view(-1, 1, 1)
    ranges = Ranges(0 * number - 1, number - 1, number, number)
    scores = [[0.0, 0.0]] * count if scores is None else scores
    score = torch.tensor(scores, dtype=torch.float64)
    bounded = Bounded(torch.tensor(costs, dtype=torch.float64), side, score, ranges)
    return _Front(low * side, high * side, bounded)


def numbers(boxes):
    return boxes.bounded.ranges.row_low.flatten().tolist()


def test_boxes_are_chosen_by_their_bounds():
    boxes = front([3.0, 1, 2, 1])
    assert numbers(boxes.below(2.0)) == [1, 3]
    least, others = boxes.split_off_least(3)
    assert numbers(least) == [1, 3, 2] and numbers(others) == [0]  # of equals the first
    assert numbers(others.join(least)) == [0, 1, 3, 2]
    assert others.join(least).bounded.cost.tolist() == [3, 1, 1, 2]
    assert boxes.num_unstable().tolist() == [0, 0, 1, 1]
    assert numbers(boxes.where(boxes.num_unstable() > 0)) == [2, 3]
    assert numbers(boxes.all_but_first(3)) == [3] and numbers(boxes.all_but_first(9)) == []
    assert [ranges.row_low.item() for _, _, ranges in boxes.first(2)] == [0, 1]


def test_a_box_is_halved_across_the_action_that_causes_most_of_the_slack():
    low, high, ranges = front([0.0, 0], scores=[[1.0, 2], [4, 3]]).split(2)
    assert low[:, 0].tolist() == [[0, 0], [0, 0], [0, 0.5], [0.5, 0]]
    assert high[:, 0].tolist() == [[1, 0.5], [0.5, 1], [1, 1], [1, 1]]
    assert ranges.row_low.flatten().tolist() == [0, 1, 0, 1]  # each child's own parent


def test_few_boxes_are_split_across_several_actions():
    low, high, ranges = front([0.0], scores=[[1.0, 2]]).split(2)
    assert low[:, 0].tolist() == [[0, 0], [0, 0.5], [0.5, 0], [0.5, 0.5]]
    assert high[:, 0].tolist() == [[0.5, 0.5], [0.5, 1], [1, 0.5], [1, 1]]
    assert len(ranges.low) == 4


def test_where_all_is_known_the_widest_side_is_halved():
    boxes = front([0.0], scores=[[0.0, 0]])
    boxes.high[0, 0, 1] = 3.0
    low, _, _ = boxes.split(1)
    assert low[:, 0].tolist() == [[0, 0], [0, 1.5]]
