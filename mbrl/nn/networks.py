"""Small networks of one shape trained side by side, each on its own rows."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from mbrl.errors import NumericalFault
from mbrl.nn.batched import evaluate


class Networks(nn.Module):
    """M multilayer perceptrons with SiLU, evaluated in one.

    Args:
        sizes: of the layers, inputs first.
        members: M.
        generator: source of the initial weights.
    """

    def __init__(self, sizes: list[int], members: int, *, generator: torch.Generator):
        """Draw the weights."""
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
            bound = 1 / math.sqrt(fan_in)
            weight = torch.empty(members, fan_in, fan_out, device=generator.device)
            self.weights.append(nn.Parameter(weight.uniform_(-bound, bound, generator=generator)))
            self.biases.append(nn.Parameter(weight.new_zeros(members, 1, fan_out)))

    def forward(self, x: Tensor) -> Tensor:
        """Evaluate x (M, n, in), or (n, in) for all members: (M, n, out)."""
        if x.dim() == 2:
            x = x.expand(self.weights[0].shape[0], *x.shape)
        return evaluate(x, [*self.weights], [*self.biases])


def train(
    networks: nn.Module,
    loss: Callable[[int], Tensor],
    num_updates: int,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
) -> float:
    """Minimise a loss with Adam, the rate falling to nothing; give its last value.

    Args:
        networks: what is trained.
        loss: number of the update -> the loss, summed over members.
        num_updates: gradient steps.
        learning_rate: at the start.
        weight_decay: of all weights.

    Raises:
        NumericalFault: if the loss is not finite.
    """
    optimizer = torch.optim.AdamW(
        networks.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True
    )
    value = torch.zeros(())
    for update in range(num_updates):
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - update / num_updates)
        value = loss(update)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    if not torch.isfinite(value):
        raise NumericalFault(f"a network's loss is {value.item()} after {num_updates} updates")
    return value.item()
