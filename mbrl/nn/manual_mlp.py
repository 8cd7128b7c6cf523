"""Multilayer perceptrons on flat parameters, with a backward pass written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from mbrl.nn.flat import Layers
from mbrl.nn.products import products_of

silu = torch.ops.aten.silu.out
silu_backward = torch.ops.aten.silu_backward.grad_input


@final
class ManualMLP:
    """N networks with SiLU between their layers, and their gradients without autograd.

    All activations and errors are kept in buffers that are used again. An error is the derivative
    of the loss with respect to a layer's output, before its SiLU.

    Args:
        net: the networks; see mbrl.nn.flat.
        gradients: where backward() writes the gradients, of the same shapes.
        num_rows: largest number of rows of each network.
        decay: of each layer, weight decay that backward() adds to the gradient; none by default.
    """

    def __init__(
        self, net: Layers, gradients: Layers, *, num_rows: int, decay: Sequence[float] = ()
    ):
        """Allocate the buffers."""
        self._net, self._gradients = net, gradients
        self._decay = decay or [0.0] * len(net)
        self._rows = 0
        total = sum(weight[0].numel() for weight, _ in net)
        self._products = products_of(len(net[0][0]), num_rows, total)
        self._hidden = [(len(weight), weight.shape[2]) for weight, _ in net[:-1]]
        # of each hidden layer: before the SiLU, where the error is written later; after it; and the
        # derivative by that, in memory that all layers share
        sizes = [num * num_rows * width for num, width in self._hidden]
        before, after = ([net[0][0].new_empty(size) for size in sizes] for _ in range(2))
        shared = net[0][0].new_empty(max(sizes, default=0))
        self._memory = [before, after, [shared[:size] for size in sizes]]

    def _set_rows(self, rows: int) -> None:
        """Set the number of rows n of each network, which the buffers (N, n, width) are seen as."""
        self._rows = rows
        self._before, self._after, self._errors = (
            [
                buffer[: num * rows * width].view(num, rows, width)
                for buffer, (num, width) in zip(buffers, self._hidden, strict=True)
            ]
            for buffers in self._memory
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (N, out, n) for x (N, n, in)."""
        if x.shape[1] != self._rows:
            self._set_rows(x.shape[1])
        self._input = x
        layers = zip(self._net[:-1], self._before, self._after, strict=True)
        with self._products:
            for (weight, bias), before, after in layers:
                x = silu(torch.baddbmm(bias, x, weight, out=before), out=after)
            weight, bias = self._net[-1]
            return torch.baddbmm(bias, weight, x.mT)

    def backward(self, error: Tensor) -> None:
        """Write the gradients of weights and biases.

        Args:
            error: of the output of the last forward() (N, out, n).
        """
        with self._products:
            self._propagate(error)

    def _propagate(self, error: Tensor) -> None:
        """Write the gradients; see backward."""
        inputs = [self._input, *self._after]
        (weight, _), (by_weight, by_bias) = self._net[-1], self._gradients[-1]
        torch.bmm(error, inputs[-1], out=by_weight)
        torch.sum(error, 2, keepdim=True, out=by_bias)
        error, above = error.mT, weight
        for k in reversed(range(len(self._before))):
            error = torch.bmm(error, above, out=self._errors[k])
            error = silu_backward(error, self._before[k], grad_input=self._before[k])
            (weight, _), (by_weight, by_bias) = self._net[k], self._gradients[k]
            torch.bmm(inputs[k].mT, error, out=by_weight)
            torch.sum(error, 1, keepdim=True, out=by_bias)
            above = weight.mT
        for (weight, _), (by_weight, _), decay in zip(
            self._net, self._gradients, self._decay, strict=True
        ):
            if decay:
                by_weight.add_(weight, alpha=decay)
