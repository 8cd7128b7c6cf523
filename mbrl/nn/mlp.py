"""Multilayer perceptrons of one shape, evaluated together as batched matrix products.

M members, G evaluated at once (some of them, or one twice), n rows of each. A layer is a weight
(M, in, out) and a bias (M, 1, out).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from mbrl.nn.products import FastProducts, products_of

UNITS = 2**18  # hidden units of a layer that are evaluated at once; they stay in the cache

Initialization = Literal["truncated_normal", "uniform", "linear"]


def draw_layers(
    widths: Sequence[int],
    num_members: int,
    *,
    generator: torch.Generator,
    initialization: Initialization = "uniform",
) -> tuple[list[Tensor], list[Tensor]]:
    """Sample the initial layers of batched networks.

    Initializations, for a layer with fan_in inputs:

    - "truncated_normal": weights of standard deviation 1 / (2 sqrt(fan_in)), cut at two of them,
      biases 0, as in MBPO (Janner et al. 2019).
    - "uniform": weights within 1 / sqrt(fan_in), biases 0.
    - "linear": weights and biases within 1 / sqrt(fan_in), as nn.Linear has them.

    Args:
        widths: of the input, the hidden layers and the output.
        num_members: M.
        generator: source of the weights, layer by layer.
        initialization: one of those above.

    Returns:
        Weights (M, in, out) and biases (M, 1, out), layer by layer.
    """
    weights, biases = [], []
    device = generator.device
    for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
        shape = (num_members, fan_in, fan_out)
        bias = torch.zeros(num_members, 1, fan_out, device=device)
        if initialization == "truncated_normal":
            std = 1 / (2 * math.sqrt(fan_in))
            weight = torch.empty(shape, device=device)
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
        elif initialization == "uniform":
            bound = 1 / math.sqrt(fan_in)
            weight = torch.empty(shape, device=device).uniform_(-bound, bound, generator=generator)
        else:
            weight, bias = (
                (2 * torch.rand(size, generator=generator, device=device) - 1) / math.sqrt(fan_in)
                for size in (shape, bias.shape)
            )
        weights.append(weight)
        biases.append(bias)
    return weights, biases


class MLP(nn.Module):
    """M multilayer perceptrons of one shape, SiLU between their layers.

    Args:
        widths: of the input, the hidden layers and the output.
        num_members: M.
        generator: source of the initial weights.
        initialization: see draw_layers.

    Attributes:
        weights: (M, in, out) of each layer.
        biases: (M, 1, out) of each layer.
    """

    def __init__(
        self,
        widths: Sequence[int],
        num_members: int,
        *,
        generator: torch.Generator,
        initialization: Initialization = "uniform",
    ):
        """Sample the weights."""
        super().__init__()
        weights, biases = draw_layers(
            widths, num_members, generator=generator, initialization=initialization
        )
        self._chosen: dict[tuple[int, ...], Tensor] = {}  # numbers of members, on the device
        self.weights = nn.ParameterList(nn.Parameter(weight) for weight in weights)
        self.biases = nn.ParameterList(nn.Parameter(bias) for bias in biases)
        self._all = [*self.weights, *self.biases]  # a ParameterList is slow to read

    @property
    def num_members(self) -> int:
        """Return M."""
        return self.weights[0].shape[0]

    @property
    def version(self) -> int:
        """Return a number that grows whenever a weight or a bias changes."""
        return sum(parameter._version for parameter in self._all)

    def layers(self, members: Sequence[int] | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Return the weights and biases of the named members, or of all as they stand."""
        weights, biases = self._all[: len(self._all) // 2], self._all[len(self._all) // 2 :]
        if members is None or list(members) == list(range(self.num_members)):
            return weights, biases
        if len(members) == 1:
            return [x[members[0]][None] for x in weights], [x[members[0]][None] for x in biases]
        chosen = self.index(members)
        return [weight[chosen] for weight in weights], [bias[chosen] for bias in biases]

    def transposed(self) -> list[Tensor]:
        """Return weights and biases in turn, not copied, the last layer's transposed."""
        parts = [x for layer in zip(self.weights, self.biases, strict=True) for x in layer]
        return [*parts[:-2], *(x.mT for x in parts[-2:])]

    def index(self, members: Sequence[int]) -> Tensor:
        """Return members' numbers as a tensor, which is copied to the device once."""
        key, device = tuple(members), self.weights[0].device
        known = self._chosen.get(key)
        if known is None or known.device != device:
            known = self._chosen[key] = torch.tensor(key, dtype=torch.int64, device=device)
        return known

    def forward(self, x: Tensor, members: Sequence[int] | None = None) -> Tensor:
        """Evaluate members, each on its own rows or all on the same.

        Args:
            x: (G, n, in), or (n, in) for all members alike.
            members: the G members; None for all, G = M.

        Returns:
            (G, n, out).
        """
        if x.dim() == 2:
            x = x.expand(self.num_members if members is None else len(members), *x.shape)
        return evaluate(x, *self.layers(members))


def evaluate(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """Evaluate networks on their rows, SiLU between the layers.

    Args:
        x: (G, n, in).
        weights: of each layer (G, in, out).
        biases: of each layer (G, 1, out).

    Returns:
        (G, n, out).
    """
    if _is_one_piece(x, weights):
        with _products(x, weights):
            for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
                x = silu(torch.baddbmm(bias, x, weight))
            return torch.baddbmm(biases[-1], x, weights[-1])
    out = x.new_empty(*x.shape[:2], weights[-1].shape[2])
    transposed = ([*layers[:-1], layers[-1].mT] for layers in (weights, biases))
    for rows, piece in evaluate_in_pieces(x, *transposed):
        out[:, rows] = piece.mT
    return out


def _is_one_piece(x: Tensor, weights: Sequence[Tensor]) -> bool:
    """Return whether all rows (G, n, in) are evaluated as one batch."""
    if torch.is_grad_enabled() or x.is_cuda:
        return True
    return x.shape[0] * x.shape[1] * _largest_width(weights) <= UNITS


def _largest_width(weights: Sequence[Tensor]) -> int:
    """Return the width of the largest hidden layer; 1 without any."""
    return max([weight.shape[2] for weight in weights[:-1]], default=1)


def _products(x: Tensor, weights: Sequence[Tensor]) -> AbstractContextManager[object]:
    """Return the context for products of rows (G, n, in) with the layers' weights."""
    total = sum([weight.numel() for weight in weights])  # of the G networks
    return products_of(x.shape[1], total)


def evaluate_in_pieces(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    prepare: Callable[[Tensor], Tensor] = lambda rows: rows,
) -> Iterator[tuple[slice, Tensor]]:
    """Evaluate networks on one piece of their rows after the other, SiLU between the layers.

    Many rows are evaluated network by network, so that hidden units stay in the cache; their memory
    is used again. Few rows, and those on a GPU or with gradients, are one piece. See
    evaluate_transposed.

    Args:
        x: (G, n, in).
        weights: of each layer (G, in, out), but of the last one (G, out, in).
        biases: of each layer (G, 1, out), but of the last one (G, out, 1).
        prepare: what is done with rows of x (..., in) before.

    Yields:
        Rows, and the outputs for them (G, out, rows).
    """
    if _is_one_piece(x, weights):
        activation = partial(silu, inplace=not torch.is_grad_enabled())
        with _products(x, weights):
            out = evaluate_transposed(prepare(x), weights, biases, activation=activation)
        yield slice(0, x.shape[1]), out
        return
    width = _largest_width(weights)
    size = max(1, UNITS // width)
    networks = [
        [(weight[k], bias[k]) for weight, bias in zip(weights, biases, strict=True)]
        for k in range(x.shape[0])
    ]
    memory = [x.new_empty(size * width) for _ in range(2)]
    for start in range(0, x.shape[1], size):
        rows = slice(start, start + size)
        pieces = zip(x[:, rows], networks, strict=True)
        with FastProducts():
            out = [_evaluate_piece(prepare(piece), net, memory) for piece, net in pieces]
        yield rows, torch.stack(out)


def _evaluate_piece(
    x: Tensor, net: Sequence[tuple[Tensor, Tensor]], memory: Sequence[Tensor]
) -> Tensor:
    """Evaluate one network, whose last layer is transposed, on x (n, in): (out, n).

    Args:
        x: (n, in).
        net: weights (in, out) and biases (1, out), of the last layer (out, in) and (out, 1).
        memory: of two layers' hidden units.
    """

    def other(like: Tensor, width: int) -> Tensor:
        return memory[0].view(like.dtype)[: len(x) * width].view(len(x), width)

    *hidden, (last, last_bias) = net
    for weight, bias in hidden:
        if x.dtype != weight.dtype:
            x = other(weight, x.shape[1]).copy_(x)
            memory = memory[::-1]
        x = torch.addmm(bias, x, weight, out=other(weight, weight.shape[1]))
        x, memory = silu(x, inplace=True), memory[::-1]
    return torch.addmm(last_bias, last, x.to(last.dtype).T)


def evaluate_transposed(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    activation: Callable[[Tensor], Tensor],
) -> Tensor:
    """Evaluate networks whose last layer, and so their output, is transposed.

    A matrix product with few rows is up to 6x faster than one with few columns. A layer of lower
    precision computes in it.

    Args:
        x: (G, n, in).
        weights: of each layer (G, in, out), but of the last one (G, out, in).
        biases: of each layer (G, 1, out), but of the last one (G, out, 1).
        activation: between the layers; may change its argument in place.

    Returns:
        (G, out, n).
    """
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        if x.dtype != weight.dtype:
            x = x.to(weight.dtype)
        x = activation(torch.baddbmm(bias, x, weight))
    return torch.baddbmm(biases[-1], weights[-1], x.to(weights[-1].dtype).mT)


def split_blocks(x: Tensor, num_blocks: int) -> Tensor:
    """Return rows x (B, in) as equal blocks (num_blocks, n, in), the last row filling them up."""
    size = -(-x.shape[0] // num_blocks)
    if size * num_blocks == x.shape[0]:
        return x.unflatten(0, (num_blocks, size))
    padding = x[-1:].expand(num_blocks * size - x.shape[0], -1)
    return torch.cat([x, padding]).view(num_blocks, size, -1)


def cycle(x: Tensor, num: int) -> Tensor:
    """Return num of the members' x (M, ...), from the first again where num > M: (num, ...)."""
    return x[:num] if num <= len(x) else x.repeat(-(-num // len(x)), *[1] * (x.dim() - 1))[:num]
