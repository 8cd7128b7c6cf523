"""Scaling to zero mean and unit variance, safe for dimensions that do not vary."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalizer(nn.Module):
    """Standardise each dimension.

    A constant dimension (a reward of 1 at every step, say) has a standard deviation near zero;
    dividing by it would blow rounding up into targets, so it is floored.

    Args:
        dim: number of dimensions.
        floor: smallest standard deviation, in the data's units.
    """

    mean: Tensor  # (dim,)
    std: Tensor  # (dim,)

    def __init__(self, dim: int, *, floor: float = 1e-3):
        """Start as the identity."""
        super().__init__()
        self.floor = floor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, x: Tensor) -> None:
        """Take mean and standard deviation from x (B, dim)."""
        x = x.double()
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0, correction=0).clamp(min=self.floor))

    def forward(self, x: Tensor) -> Tensor:
        """Scale x (..., dim)."""
        return (x - self.mean) / self.std

    def invert(self, z: Tensor) -> Tensor:
        """Undo the scaling of z (..., dim)."""
        return z * self.std + self.mean
