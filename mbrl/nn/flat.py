"""Networks of one shape on one flat tensor of parameters, and Adam on it.

N networks are stacked: a hidden layer is a weight (N, in, out) and a bias (N, 1, out). The last
layer is transposed, with (N, out, in) and (N, out, 1): a product with few rows is faster than one
with few columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

Layers = list[tuple[Tensor, Tensor]]


def layers(flat: Tensor, num: int, sizes: Sequence[int]) -> Layers:
    """Return flat (num_parameters,) as views: weights and biases, the last layer's transposed."""
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
    parts = flat.split([n for i, o in pairs for n in (num * i * o, num * o)])
    *hidden, (weight, bias) = [
        (weight.view(num, i, o), bias.view(num, 1, o))
        for weight, bias, (i, o) in zip(parts[::2], parts[1::2], pairs, strict=True)
    ]
    return [*hidden, (weight.view(num, sizes[-1], -1), bias.mT)]


def num_parameters(sizes: Sequence[int]) -> int:
    """Return the number of parameters of one network."""
    return sum((i + 1) * o for i, o in zip(sizes[:-1], sizes[1:], strict=True))


@torch.no_grad()
def copy(sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
    """Copy each source to the target of its shape."""
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)


def merge(flats: Sequence[Tensor], num: int, sizes: Sequence[int]) -> Tensor:
    """Return the flat parameters of several groups of num networks as those of one, in turn."""
    groups = zip(*(layers(flat, num, sizes) for flat in flats), strict=True)
    parts = [torch.cat(group).flatten() for layer in groups for group in zip(*layer, strict=True)]
    return torch.cat(parts)


def group_of(flat: Tensor, num: int, sizes: Sequence[int], *, index: int, of: int) -> Tensor:
    """Return the flat parameters of one of several merged groups, not copied where it is all.

    Args:
        flat: of all groups.
        num: networks of a group.
        sizes: of their layers.
        index: of the group.
        of: number of groups.
    """
    if of == 1:
        return flat
    own = slice(index * num, (index + 1) * num)
    parts = [x[own].flatten() for layer in layers(flat, of * num, sizes) for x in layer]
    return torch.cat(parts)


@final
class Adam:
    """Adam (Kingma and Ba 2015) on flat tensors, with its state as attributes.

    Args:
        parameters: changed in place.
        learning_rate: the step size; a CUDA graph reads it anew at each step only from a tensor ().
    """

    def __init__(self, *parameters: Tensor, learning_rate: float | Tensor):
        """Start with moments of zero."""
        self._parameters = list(parameters)
        self.learning_rate = learning_rate
        self.mean = [torch.zeros_like(p) for p in parameters]
        self.square = [torch.zeros_like(p) for p in parameters]
        self.steps = [torch.zeros((), device=p.device) for p in parameters]

    @torch.no_grad()
    def step(self, *gradients: Tensor) -> None:
        """Update the parameters by one step along gradients of their shapes."""
        torch._foreach_add_(self.steps, 1)
        torch._fused_adam_(
            self._parameters,
            list(gradients),
            self.mean,
            self.square,
            [],
            self.steps,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state(self) -> dict[str, list[Tensor]]:
        """Return moments and step counts, not copied."""
        return {"mean": self.mean, "square": self.square, "steps": self.steps}
