"""Networks as mathematics: simplifying, averaging and joining them changes no output."""

import numpy as np
import pytest
import torch

from mbrl.relu import (
    PiecewiseLinearCost,
    Term,
    append,
    attach,
    average,
    distance,
    intrusion,
    learned_reward,
    limits,
    random_network,
)


@pytest.mark.parametrize("seed", range(20))
def test_simplify_keeps_every_output(seed):
    draws = np.random.default_rng(seed)
    network = random_network(3, 2, (4, 3, 2), generator=draws)
    kinds = draws.integers(0, 3, 9).astype(np.int8)
    layers = tuple(
        layer._replace(kind=kind)
        for layer, kind in zip(network.layers, np.split(kinds, (4, 7)), strict=True)
    )
    network = network._replace(layers=layers)
    x = draws.normal(size=(50, 5))
    simple = network.simplify()
    assert simple.num_neurons == (kinds == 2).sum()
    np.testing.assert_allclose(simple.forward(x)[0], network.forward(x)[0], rtol=1e-12, atol=1e-12)
    for each in (network, simple):
        found = each.evaluate(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(found, network.forward(x)[0], rtol=1e-12, atol=1e-12)


def test_average_is_the_mean_of_members():
    draws = np.random.default_rng(0)
    widths = ((4, 3), (5,), (), (2, 2, 2))
    members = tuple(random_network(3, 1, w, generator=draws) for w in widths)
    x = draws.normal(size=(50, 4))
    mean = np.mean([m.forward(x)[0] for m in members], 0)
    np.testing.assert_allclose(average(members).forward(x)[0], mean, rtol=1e-12, atol=1e-12)


def test_a_head_reads_outputs_and_action():
    draws = np.random.default_rng(0)
    network = random_network(3, 2, (4, 3), generator=draws)
    head = random_network(5, 0, (3, 2), generator=draws)
    x = draws.normal(size=(50, 5))
    out = network.forward(x)[0]
    expected = head.forward(np.concatenate([out, x[:, 3:]], 1))[0]
    found = append(network, head).forward(x)[0]
    np.testing.assert_allclose(found, np.concatenate([out, expected], 1), rtol=1e-12, atol=1e-12)


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


def test_terms_by_hand():
    y = torch.tensor([[1.0, 4.0, -3.0]])
    assert distance(((0, 1), (2, 0)), 3, weight=2.0)(y) == 2 * (3 + 4)
    assert distance(((0, 1), (2, 0)), 3, kind="linf")(y) == 4
    low, high = np.array([2.0, -np.inf, -1]), np.array([3.0, 3.5, np.inf])
    assert limits(low, high, 3, weight=10.0)(y) == 10 * (1 + 0.5 + 2)
    outputs, action = torch.tensor([[1.0, 2.0, 7.0]]), torch.zeros(1, 1)
    assert learned_reward(3, 1).step(outputs, action) == -7
