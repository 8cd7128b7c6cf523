"""Networks of one shape, a member each, evaluated as one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

CHUNK = 1024  # rows evaluated at once where no gradient is asked for


def in_blocks(x: Tensor, blocks: int) -> Tensor:
    """Divide rows x (B, in) into equal blocks (blocks, n, in), the last row filling them up."""
    size = -(-x.shape[0] // blocks)
    return torch.cat([x, x[-1:].expand(blocks * size - x.shape[0], -1)]).view(blocks, size, -1)


def in_turn(x: Tensor, num: int) -> Tensor:
    """Give num members' x (M, ...), again from the first if there are fewer: (num, ...)."""
    return x[:num] if num <= len(x) else x.repeat(-(-num // len(x)), *[1] * (x.dim() - 1))[:num]


def draw(
    members: int, widths: Sequence[int], *, generator: torch.Generator
) -> tuple[nn.ParameterList, nn.ParameterList]:
    """Draw the layers of networks, weights from a truncated normal distribution as in MBPO.

    Args:
        members: M.
        widths: of input, hidden layers and output.
        generator: source of the weights.

    Returns:
        Weights (M, in, out) and biases (M, 1, out), layer by layer.
    """
    weights, biases = nn.ParameterList(), nn.ParameterList()
    for fan_in, fan_out in zip(widths[:-1], widths[1:], strict=True):
        weight = torch.empty(members, fan_in, fan_out, device=generator.device)
        std = 1 / (2 * math.sqrt(fan_in))
        nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
        weights.append(nn.Parameter(weight))
        biases.append(nn.Parameter(torch.zeros(members, 1, fan_out)))
    return weights, biases


def evaluate(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """Evaluate members on their rows, SiLU between the layers.

    Args:
        x: (G, n, in).
        weights: of each layer (G, in, out).
        biases: of each layer (G, 1, out).

    Returns:
        (G, n, out) of the last layer.
    """
    if torch.is_grad_enabled() or x.is_cuda or x.shape[1] <= CHUNK:
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            x = silu(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(biases[-1], x, weights[-1])
    members = zip(x, zip(*weights, strict=True), zip(*biases, strict=True), strict=True)
    return torch.stack([_in_pieces(*member) for member in members])


def _in_pieces(x: Tensor, weights: tuple[Tensor, ...], biases: tuple[Tensor, ...]) -> Tensor:
    """Evaluate one network on many rows x (n, in), so that its hidden units stay in the cache."""
    pieces = []
    for rows in x.split(CHUNK):
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            rows = silu(torch.mm(rows, weight).add_(bias), inplace=True)
        pieces.append(torch.mm(rows, weights[-1]).add_(biases[-1]))
    return torch.cat(pieces)
