"""Costs: torch, numpy and their least value score alike; heads charge what is not convex."""

import numpy as np
import pytest
import torch

from mbrl.relu import (
    Layer,
    PiecewiseLinearCost,
    ReluNetwork,
    Term,
    attach,
    distance,
    intrusion,
    learned_reward,
    least_cost,
    limits,
    random_network,
)
from tests.relu.problems import KINDS, random_problem, sample
from tests.relu.test_bounds import bound

# rows y0 - 2 y1 + 1 and 3 y1 - 1: at (1, 2, 9) they are -2 and 5
WEIGHT, BIAS = np.array([[1.0, -2], [0, 3]]), np.array([1.0, -1])
AT = {"l1": 7, "linf": 5, "hinge": 5, "linear": 3}
# over 1 <= y0 <= 2 and 1 <= y1 <= 3 the rows are in [-4, 1] and [2, 8]
LEAST = {"l1": 2, "linf": 2, "hinge": 2, "linear": -2}
# over 1 <= y0 <= 2 and 2 <= y1 <= 3 in [-4, -1] and [5, 8]
AWAY = {"l1": 6, "linf": 5, "hinge": 5, "linear": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_by_hand(kind):
    term, y = Term(kind, WEIGHT, BIAS), np.array([[1.0, 2, 9], [0, 0, 0]])
    assert term.evaluate(y).tolist() == [AT[kind], {"l1": 2, "linear": 0}.get(kind, 1)]
    assert term(torch.from_numpy(y)).tolist() == term.evaluate(y).tolist()
    assert term(torch.from_numpy(y).float()).dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_the_least_charge_in_a_box_by_hand(kind):
    term, high = Term(kind, WEIGHT, BIAS), np.array([2.0, 3, 9])
    for low, least in (([1.0, 1, 0], LEAST[kind]), ([1.0, 2, 0], AWAY[kind])):
        found = term.least(np.array(low), high)
        assert found == pytest.approx(least, abs=1e-12) and found <= least  # rounded outward


def test_rollouts_are_charged_step_by_step():
    """|x| + u after each step, 10 |x| after the last; each step counts half of the one before."""
    stage = Term("l1", np.eye(1, 2), np.zeros(1)), Term("linear", np.eye(1, 2, 1), np.zeros(1))
    cost = PiecewiseLinearCost(stage, (Term("l1", np.array([[10.0]]), np.zeros(1)),))
    outputs = np.array([[[1.0], [-2]], [[0], [4]]])
    actions = np.array([[[0.5], [3]], [[0], [0]]])
    expected = [1.5 + 0.5 * 5 + 0.25 * 20, 0 + 0.5 * 4 + 0.25 * 40]
    assert cost.total(outputs, actions, 0.5).tolist() == expected
    assert cost.last(torch.tensor([[-2.0]])).item() == 20
    assert cost.step(torch.tensor([[-2.0]]), torch.tensor([[3.0]])).item() == 5
    boxes = (outputs[0], outputs[0] + [[1], [2]]), (actions[0], actions[0])
    assert least_cost(cost, *boxes, 0.5) == pytest.approx(1.5 + 0.5 * 3)  # 1 <= |x0|, 0 <= |x1|
    assert PiecewiseLinearCost(()).total(outputs, actions).tolist() == [0, 0]
    assert PiecewiseLinearCost(()).last(torch.ones(3, 1)).tolist() == [0, 0, 0]


def test_a_head_charges_its_features_before_the_action():
    """The feature is relu(2 x - u); the cost is three times the feature, plus the action."""
    head = ReluNetwork(
        (Layer(np.array([[2.0, -1]]), np.zeros(1), np.full(1, 2, np.int8)),),
        np.array([[0.0, 0, 1]]), np.zeros(1), 1,
    )  # fmt: skip
    cost = PiecewiseLinearCost((Term("linear", np.array([[0.0, 3, 1]]), np.zeros(1)),), head=head)
    outputs, action = torch.tensor([[1.0], [-1]]), torch.tensor([[0.5], [7]])
    assert cost.step(outputs, action).tolist() == [3 * 1.5 + 0.5, 7]
    network = ReluNetwork((), np.array([[1.0, 1]]), np.zeros(1), 1)  # x + u
    whole, plain = attach(network, cost)
    assert plain.head is None and plain.stage == cost.stage and whole.num_outputs == 2
    out, _ = whole.forward(np.array([[0.5, 0.5]]))
    assert out.tolist() == [[1.0, 1.5]]
    assert attach(network, plain) == (network, plain)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_intrusion_is_the_depth_inside_a_box(dims):
    draws = np.random.default_rng(dims)
    y = draws.uniform(-2, 2, (500, 4))
    low, high = np.array([-1.0, -0.5, -0.2])[:dims], np.array([0.5, 1.0, 1.1])[:dims]
    head = intrusion(tuple((i, low[i], high[i]) for i in range(dims)), 4)
    sides = np.concatenate([y[:, :dims] - low, high - y[:, :dims]], 1)
    depth = np.maximum(sides.min(1), 0)
    assert (depth > 0).any() and (depth == 0).any()
    np.testing.assert_allclose(head.forward(y)[0][:, 0], depth, atol=1e-14)


def test_costs_score_alike_in_torch_and_numpy():
    draws = np.random.default_rng(0)
    network = random_network(3, 2, (4,), generator=draws)
    terms = [
        Term(kind, draws.normal(size=(3, 5)), draws.normal(size=3))
        for kind in ("l1", "linf", "hinge", "linear")
    ]
    head = intrusion(((0, -1.0, 1.0), (1, -1.0, 1.0)), 5)
    cost = PiecewiseLinearCost(
        (*terms, Term("linear", np.eye(1, 4, 3), np.zeros(1))), (distance(((0, 1),), 3),), head
    )
    whole, plain = attach(network, cost)
    obs, actions = draws.normal(size=(20, 3)), draws.normal(size=(20, 4, 2))
    outputs, _ = whole.simulate(obs, actions)
    found = plain.total(outputs, actions, 0.9)
    out = torch.from_numpy(outputs[..., :3])
    steps = [cost.step(out[:, t], torch.from_numpy(actions[:, t])) * 0.9**t for t in range(4)]
    expected = torch.stack(steps).sum(0) + 0.9**4 * cost.last(out[:, -1])
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12)


def test_ready_made_terms_by_hand():
    y = torch.tensor([[1.0, 4.0, -3.0]])
    assert distance(((0, 1), (2, 0)), 3, weight=2.0)(y) == 2 * (3 + 4)
    assert distance(((0, 1), (2, 0)), 3, kind="linf")(y) == 4
    low, high = np.array([2.0, -np.inf, -1]), np.array([3.0, 3.5, np.inf])
    assert limits(low, high, 3, weight=10.0)(y) == 10 * (1 + 0.5 + 2)
    outputs, action = torch.tensor([[1.0, 2.0, 7.0]]), torch.zeros(1, 1)
    assert learned_reward(3, 1).step(outputs, action) == -7


@pytest.mark.parametrize("seed", range(12))
def test_no_rollout_costs_less_than_the_least_cost(seed):
    problem = random_problem(seed, widths=(4,), horizon=3)
    found = bound(problem, "crown")
    held = problem.held(problem.action_low), problem.held(problem.action_high)
    least = least_cost(problem.cost, (found.out_low, found.out_high), held, problem.discount)
    costs = problem.simulate(sample(problem, 5000, np.random.default_rng(seed)))[0]
    assert least <= costs.min()
    point = costs.argmin()
    actions = sample(problem, 5000, np.random.default_rng(seed))[point]
    only = problem._replace(action_low=actions, action_high=actions)
    tight = bound(only, "crown")
    held = only.held(actions), only.held(actions)
    alone = least_cost(only.cost, (tight.out_low, tight.out_high), held, problem.discount)
    np.testing.assert_allclose(alone, costs[point], rtol=1e-6, atol=1e-6)
