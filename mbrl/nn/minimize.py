"""Minimization of a loss by a fixed number of Adam steps."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mbrl.errors import NumericalFault
from mbrl.nn.products import FastProducts


@FastProducts()
def minimize(
    networks: nn.Module,
    loss: Callable[[int], Tensor],
    num_updates: int,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
) -> float:
    """Fit networks by Adam (Kingma and Ba 2015), the learning rate falling linearly to zero.

    Args:
        networks: whose parameters are fitted.
        loss: number of the update -> the loss, summed over members.
        num_updates: gradient steps.
        learning_rate: at the start.
        weight_decay: of all weights, decoupled (Loshchilov and Hutter 2019).

    Returns:
        The last loss.

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
        name = type(networks).__name__
        raise NumericalFault(f"{name}: the loss is {value.item()} after {num_updates} updates")
    return value.item()
