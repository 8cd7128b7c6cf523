"""Networks as mathematics: simplifying, averaging and joining them changes no output."""

import numpy as np
import pytest
import torch

from mbrl.relu import (
    append,
    average,
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
