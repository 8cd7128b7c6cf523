"""Gated networks: what pruning keeps, what open gates cost, what is exported."""

import math

import numpy as np
import pytest
import torch

from mbrl.dynamics.sparse_relu.gated_network import RELAXED, GatedNetwork
from mbrl.relu import RELU, ZERO
from tests.toys import generator


def test_neurons_that_are_affine_on_the_data_cost_nothing():
    net = GatedNetwork(2, 3, 2, (8, 6), generator=generator())
    with torch.no_grad():
        net.weight.normal_(generator=generator(1))
        for layer in net.layers:
            layer.bias += 30 * (torch.arange(layer.bias.shape[2]) >= 3)  # always on
        net.layers[1].weight[:, 6:] = 0  # or they would drown the rest of the second layer
    x = torch.randn(2, 500, 3, generator=generator(2))
    before = net(x)
    net.prune(x, 6)  # three of either layer bend
    assert (torch.cat([layer.kind for layer in net.layers], 1) == RELU).sum(1).tolist() == [6, 6]
    torch.testing.assert_close(net(x), before, atol=2e-4, rtol=1e-4)
    net.prune(x, 3)
    assert (net(x) - before).abs().max() > 1e-2  # those were worth something


def test_a_neuron_is_worth_what_the_outputs_make_of_it():
    """Weights that lead nowhere count for nothing, and neither does a side never taken."""
    net = GatedNetwork(1, 2, 1, (3, 1), generator=generator())
    first, second = net.layers
    with torch.no_grad():
        first.weight[0] = torch.tensor([[3.0, 0, 1], [0, 1, 1]])
        first.bias.zero_()
        second.weight.zero_()
        second.weight[0, 2:4, 0] = torch.tensor([100.0, 0])  # reads the first loudly ...
        second.bias.fill_(-1e4)  # ... and never speaks
        net.weight[0, :, 0] = torch.tensor([0.0, 0, 0, 0.5, 0.2, 5])
    net.prune(torch.randn(1, 500, 2, generator=generator(2)), 2)
    assert first.kind[0].tolist() == [ZERO, RELU, RELU] and second.kind.item() == ZERO


def test_an_open_gate_is_closed_without_a_jump():
    net = GatedNetwork(1, 3, 2, (8,), generator=generator())
    with torch.no_grad():
        net.weight.normal_(generator=generator(1))
    net.relax()
    layer = net.layers[0]
    assert (layer.kind == RELAXED).all()
    with torch.no_grad():
        layer.logits.normal_(generator=generator(4))
    x = torch.randn(1, 500, 3, generator=generator(2))
    before = net(x)
    net.prune(x, 8)  # all stay: the identity's share moves into the skip
    torch.testing.assert_close(net(x), before, atol=1e-4, rtol=1e-4)


def test_the_cost_of_excess_relus_closes_gates():
    net = GatedNetwork(1, 3, 2, (8,), generator=generator())
    net.relax()
    assert net.excess(2).item() == pytest.approx(8 * net.layers[0].gates()[0, 0, 0, 0].item() - 2)
    assert net.excess(8).item() == 0
    net.excess(2).sum().backward()
    assert (net.layers[0].logits.grad[..., 0] > 0).all()  # a step down the gradient closes them


def test_instability_by_hand():
    net = GatedNetwork(1, 2, 1, (1,), generator=generator())
    with torch.no_grad():
        net.layers[0].weight[0, :, 0] = torch.tensor([2.0, -1.0])
        net.layers[0].bias[:] = 0.5
    x = torch.tensor([[[1.0, 0.5], [0.0, 0.4]]])  # preactivations 2 and 0.1, each +- 0.3
    expected = -(math.tanh(1 + 1.7 * 2.3) + math.tanh(1 - 0.2 * 0.4)) / 2
    assert net.instability(x, 0.1).item() == pytest.approx(expected)


def test_pruning_replaces_a_neuron_by_its_linear_fit():
    """The best affine fit of a ReLU of a symmetric input is half of it, and its mean."""
    net = GatedNetwork(1, 1, 1, (1,), generator=generator())
    with torch.no_grad():
        net.layers[0].weight.fill_(1)
        net.layers[0].bias.zero_()
        net.weight[0, :, 0] = torch.tensor([0.0, 2.0])
    x = torch.linspace(-1, 1, 2001)[None, :, None]
    net.prune(x, 0)
    torch.testing.assert_close(net(x), x + 0.5, atol=1e-3, rtol=0)


def test_an_export_has_the_living_neurons_alone_and_computes_the_same():
    net = GatedNetwork(2, 3, 2, (4, 3), generator=generator())
    with torch.no_grad():
        net.weight.normal_(generator=generator(1))
    x = torch.randn(2, 50, 3, generator=generator(2))
    net.prune(x, 4)
    for member in range(2):
        layers, weight, bias = net.export(member)
        assert sum(len(layer.bias) for layer in layers) == 4
        values = x[member].double().numpy()
        for layer in layers:
            neurons = np.maximum(values @ layer.weight.T + layer.bias, 0)
            values = np.concatenate([values, neurons], 1)
        torch.testing.assert_close(
            values @ weight.T + bias,
            net(x)[member].detach().double().numpy(),
            atol=1e-5,
            rtol=1e-5,
        )
