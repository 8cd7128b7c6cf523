"""Negative log likelihood of Gaussian ensembles, and its gradient written out.

M networks predict mean and log variance of T targets. A log variance is between soft bounds, which
are parameters too (Chua et al. 2018). S ensembles of one shape (1 of an ensemble alone) are one
batch; n rows of each network. The networks' last layer is transposed, as in mbrl.nn.flat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mbrl.nn.flat import layers, num_parameters
from mbrl.nn.manual_mlp import ManualMLP

BOUNDS_WEIGHT = 0.01  # of the distance between the bounds in the loss


def bounded(raw: Tensor, highest: Tensor, lowest: Tensor) -> Tensor:
    """Return raw log variances between soft bounds; all shapes are broadcast."""
    return lowest + softplus(highest - softplus(highest - raw) - lowest)


class Examples(NamedTuple):
    """What an ensemble is fitted to, in normalized units."""

    inputs: Tensor  # (N, in)
    targets: Tensor  # (N, T)
    varies: Tensor  # (T,) 1 where a target varies, else 0


@final
class LikelihoodGradient:
    """Gradient of the negative log likelihood of S ensembles, without autograd.

    Args:
        examples: of each ensemble, as many rows each.
        num_members: M.
        widths: of a network's input, hidden layers and output.
        decay: of each layer, weight decay that is added to the gradient.
        num_rows: largest n.

    Attributes:
        parameters: of the S * M networks, flat; upper and lower bounds (S, T). Not set yet.
        gradients: of the sum of the losses, of the same shapes.
    """

    def __init__(
        self,
        examples: Sequence[Examples],
        *,
        num_members: int,
        widths: Sequence[int],
        decay: Sequence[float],
        num_rows: int,
    ):
        """Allocate parameters, gradients and buffers."""
        rows = [torch.cat([x.inputs, x.targets], 1) for x in examples]
        self._rows = rows[0] if len(rows) == 1 else torch.cat(rows)  # (S * N, in + T)
        self._first = len(rows[0]) * torch.arange(len(rows), device=rows[0].device)[:, None, None]
        self._varies = torch.stack([x.varies for x in examples])[:, None, :, None]  # (S, 1, T, 1)
        self._widths, self._shape = widths, (len(examples), num_members)
        networks = len(examples) * num_members
        self._batch = rows[0].new_empty(networks * num_rows, rows[0].shape[1])
        self.parameters, self.gradients = (
            [
                rows[0].new_empty(networks * num_parameters(widths)),
                *rows[0].new_empty(2, len(examples), widths[-1] // 2),
            ]
            for _ in range(2)
        )
        net, gradients = (layers(x[0], networks, widths) for x in (self.parameters, self.gradients))
        self._networks = ManualMLP(net, gradients, num_rows=num_rows, decay=decay)
        self._highest, self._lowest = (x[:, None, :, None] for x in self.parameters[1:])
        self._by_highest, self._by_lowest = self.gradients[1:]

    def of_fit(self, tensors: Sequence[Tensor], fit: int) -> list[Tensor]:
        """Return an ensemble's layers, then its bounds (T,), of parameters or gradients."""
        ensembles, members = self._shape
        own = slice(fit * members, (fit + 1) * members)
        net = layers(tensors[0], ensembles * members, self._widths)
        return [*(x[own] for layer in net for x in layer), *(x[fit] for x in tensors[1:])]

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Tensor:
        """Write the gradients for a batch, and return the losses (S,).

        A loss is the sum of the members' means over rows and targets of
        (mean - y)^2 / variance + log_var, and BOUNDS_WEIGHT * sum(highest - lowest).

        Args:
            rows: numbers of the examples (S, M, n).
        """
        num_rows, num_inputs = rows.shape[2], self._widths[0]
        weight = self._varies / (num_rows * self._varies.shape[2])
        where = (rows + self._first if len(self._first) > 1 else rows).reshape(-1)
        batch = self._batch[: len(where)]
        torch.index_select(self._rows, 0, where, out=batch)
        batch = batch.view(-1, num_rows, batch.shape[1])
        y = batch[..., num_inputs:].mT.unflatten(0, self._shape)  # (S, M, T, n)

        out = self._networks.forward(batch[..., :num_inputs])
        mean, raw = out.unflatten(0, self._shape).chunk(2, 2)  # (S, M, T, n) each
        gap = self._highest - self._lowest
        below_highest = self._highest - raw
        above_lowest = gap - softplus(below_highest)
        # 1 / variance = exp(-lowest - softplus(above_lowest))
        precision = torch.sigmoid(-above_lowest).mul_(torch.exp(-self._lowest))
        error = mean - y
        by_mean = error * precision
        square = error.mul_(by_mean)
        losses = precision.log_().neg_().add_(square).mul_(weight).sum((1, 2, 3))

        # derivatives by log_var, then by the log variance below highest, then by raw
        by_log_var = torch.addcmul(weight, weight, square, value=-1)
        by_lower = above_lowest.sigmoid_().mul_(by_log_var)
        torch.mul(below_highest.sigmoid_(), by_lower, out=raw)
        torch.sum(by_log_var.sub_(by_lower), (1, 3), out=self._by_lowest).sub_(BOUNDS_WEIGHT)
        torch.sum(by_lower.sub_(raw), (1, 3), out=self._by_highest).add_(BOUNDS_WEIGHT)
        torch.mul(by_mean.mul_(2), weight, out=mean)
        self._networks.backward(out)
        return losses.add_(gap.sum((1, 2, 3)), alpha=BOUNDS_WEIGHT)
