"""The backward pass written by hand is that of autograd, for any number of rows."""

import torch

from mbrl.nn.flat import layers, num_parameters
from mbrl.nn.manual_mlp import ManualMLP
from mbrl.nn.mlp import evaluate
from tests.toys import generator

SIZES, NETWORKS = (3, 16, 8, 4), 2


def test_outputs_and_gradients_are_those_of_autograd():
    size = NETWORKS * num_parameters(SIZES)
    flat = torch.randn(size, generator=generator(), dtype=torch.float64, requires_grad=True)
    gradient = torch.full((size,), torch.nan, dtype=torch.float64)
    net, decay = layers(flat.detach(), NETWORKS, SIZES), [0.1, 0.0, 0.3]
    networks = ManualMLP(net, layers(gradient, NETWORKS, SIZES), num_rows=9, decay=decay)
    for rows in (9, 4, 4, 9):  # buffers are used again
        x = torch.randn(NETWORKS, rows, 3, generator=generator(rows), dtype=torch.float64)
        parts = layers(flat, NETWORKS, SIZES)
        weights, biases = (list(part) for part in zip(*parts, strict=True))
        expected = evaluate(x, [*weights[:-1], weights[-1].mT], [*biases[:-1], biases[-1].mT])
        out = networks.forward(x)
        torch.testing.assert_close(out, expected.mT)
        loss = expected.sin().sum()
        loss = loss + sum(d / 2 * w.square().sum() for d, w in zip(decay, weights, strict=True))
        networks.backward(out.cos())
        torch.testing.assert_close(
            gradient, *torch.autograd.grad(loss, flat), rtol=1e-10, atol=1e-12
        )


def test_without_decay_a_weight_that_is_not_finite_stays_out_of_other_gradients():
    size = num_parameters(SIZES)
    flat = torch.randn(size, generator=generator())
    gradient = torch.zeros(size)
    networks = ManualMLP(layers(flat, 1, SIZES), layers(gradient, 1, SIZES), num_rows=2)
    networks.forward(torch.ones(1, 2, 3))
    flat[:] = torch.nan  # after the forward pass
    networks.backward(torch.zeros(1, 4, 2))
    assert layers(gradient, 1, SIZES)[-1][0].eq(0).all()
