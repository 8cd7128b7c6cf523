"""Batched networks: equal to plain ones, member by member, however they are evaluated."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import silu

from mbrl.nn.mlp import (
    MLP,
    UNITS,
    cycle,
    draw_layers,
    evaluate_in_pieces,
    evaluate_transposed,
    split_blocks,
)
from tests.toys import generator

WIDTHS = [3, 16, 8, 2]


def make(members: int = 4, **options) -> MLP:
    networks = MLP(WIDTHS, members, generator=generator(), **options)
    with torch.no_grad():
        for bias in networks.biases:
            bias.normal_(generator=generator(1))
    return networks


def plain(networks: MLP, member: int) -> nn.Sequential:
    """The same network made of nn.Linear."""
    layers: list[nn.Module] = []
    for weight, bias in zip(networks.weights, networks.biases, strict=True):
        linear = nn.Linear(*weight.shape[1:])
        linear.weight.data, linear.bias.data = weight[member].T, bias[member, 0]
        layers += [linear, nn.SiLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("rows", [1, 7, UNITS // 64, UNITS // 32 + 5])
@pytest.mark.parametrize("grad", [False, True])
def test_each_member_is_a_plain_network(rows, grad):
    networks = make()
    x = torch.randn(rows, 3, generator=generator(2))
    with torch.set_grad_enabled(grad):
        everyone, two = networks(x), networks(x, [2, 0])
        own = networks(torch.stack([x, -x]), [3, 3])
    for member in range(4):
        torch.testing.assert_close(everyone[member], plain(networks, member)(x))
    assert two.shape == (2, rows, 2)
    torch.testing.assert_close(two, everyone[[2, 0]])
    torch.testing.assert_close(own[1], plain(networks, 3)(-x))


def test_gradients_are_those_of_plain_networks():
    networks = make(2)
    x = torch.randn(5, 3, generator=generator(2))
    networks(x).square().sum().backward()
    alone = plain(networks, 1)
    alone(x).square().sum().backward()
    last = alone[-1]
    assert isinstance(last, nn.Linear) and last.weight.grad is not None
    gradient = networks.weights[-1].grad
    assert gradient is not None
    torch.testing.assert_close(gradient[1], last.weight.grad.T)


def test_a_transposed_last_layer_gives_the_transposed_output():
    networks, x = make(), torch.randn(4, 6, 3, generator=generator(2))
    weights, biases = networks.layers()
    expected = networks(x).mT
    weights[-1], biases[-1] = weights[-1].mT, biases[-1].mT
    torch.testing.assert_close(evaluate_transposed(x, weights, biases, activation=silu), expected)


def test_pieces_of_rows_are_those_of_all_rows_and_are_prepared():
    networks, rows = make(), UNITS // 16 + 5
    x = torch.randn(rows, 3, generator=generator(2))
    layers = [[*of[:-1], of[-1].mT] for of in networks.layers()]
    with torch.no_grad():
        expected = networks(2 * x).mT
        pieces = list(evaluate_in_pieces(x.expand(4, -1, -1), *layers, prepare=lambda y: 2 * y))
        assert len(pieces) == 2
        for part, out in pieces:
            torch.testing.assert_close(out, expected[..., part])


def test_one_member_is_not_copied_and_the_version_grows_with_a_weight():
    networks = make()
    assert networks.layers([2])[0][0].data_ptr() == networks.weights[0][2].data_ptr()
    before = networks.version
    with torch.no_grad():
        networks.biases[1].add_(0)
    assert networks.version > before


@pytest.mark.parametrize(
    ("kind", "std", "largest", "biased"),
    [
        ("truncated_normal", 0.5 * 0.88, 1.0, False),  # cut at two standard deviations
        ("uniform", 1 / math.sqrt(3), 1.0, False),
        ("linear", 1 / math.sqrt(3), 1.0, True),
    ],
)
def test_initial_weights_scale_with_the_number_of_inputs(kind, std, largest, biased):
    weights, biases = draw_layers([100, 50, 20], 30, generator=generator(3), initialization=kind)
    assert [tuple(w.shape) for w in weights] == [(30, 100, 50), (30, 50, 20)]
    assert [tuple(b.shape) for b in biases] == [(30, 1, 50), (30, 1, 20)]
    for weight, bias, fan_in in zip(weights, biases, (100, 50), strict=True):
        unit = weight * math.sqrt(fan_in)
        assert unit.std().item() == pytest.approx(std, rel=0.02)
        assert unit.mean().abs() < 0.01 and unit.abs().max() <= largest
        assert (bias.abs().max() > 0) == biased
        assert (bias * math.sqrt(fan_in)).abs().max() <= 1
    assert not weights[0][0].equal(weights[0][1])


def test_the_same_generator_draws_the_same_networks():
    one, two = (draw_layers(WIDTHS, 2, generator=generator(5))[0] for _ in range(2))
    assert all(a.equal(b) for a, b in zip(one, two, strict=True))


def test_rows_are_divided_into_equal_blocks():
    x = torch.arange(7.0)[:, None]
    assert split_blocks(x, 3)[..., 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]
    assert split_blocks(x[:6], 2)[..., 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert split_blocks(x[:1], 1).tolist() == [[[0]]]


def test_members_come_in_turn():
    x = torch.tensor([[1.0], [2.0], [3.0]])
    assert cycle(x, 2).flatten().tolist() == [1, 2]
    assert cycle(x, 7).flatten().tolist() == [1, 2, 3, 1, 2, 3, 1]
