"""Normalization to zero mean and unit variance, also of dimensions that do not vary."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn


@final
class Normalizer(nn.Module):
    """Normalizer of each dimension by its mean and standard deviation.

    A constant dimension, such as a reward of 1 at every step, has a standard deviation near zero.
    Divided by it, rounding errors would become targets, so it has a floor.

    Args:
        dim: number of dimensions.
        floor: smallest standard deviation, in the data's units.
    """

    mean: Tensor  # (dim,)
    std: Tensor  # (dim,)

    def __init__(self, dim: int, *, floor: float = 1e-3):
        """Start with mean 0 and standard deviation 1."""
        super().__init__()
        self.floor = floor
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    def fit(self, x: Tensor) -> None:
        """Compute mean and standard deviation of x (B, dim)."""
        x = x.double()
        self.mean.copy_(x.mean(0))
        self.std.copy_(x.std(0, correction=0).clamp(min=self.floor))

    def forward(self, x: Tensor) -> Tensor:
        """Return x (..., dim) normalized."""
        return (x - self.mean) / self.std

    def invert(self, z: Tensor) -> Tensor:
        """Return normalized z (..., dim) in the data's units."""
        return z * self.std + self.mean
