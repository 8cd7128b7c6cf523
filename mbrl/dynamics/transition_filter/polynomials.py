"""Monomials of standardized variables, and their whitening."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from mbrl.values import Count, Degree, NonNegative, checked


def monomials(z: Tensor, degree: int) -> Tensor:
    """Compute all monomials of z (N, n) up to a degree: (N, F), the constant first.

    Those of each degree are products of the degree below and one variable, none of a lower index
    than the last factor.
    """
    columns, last = [torch.ones_like(z[:, :1])], [0]
    begin = 0
    for _ in range(degree):
        end = len(last)
        parts, owner = [], []
        block = columns[-1]
        for v in range(z.shape[1]):
            rows = [i - begin for i in range(begin, end) if last[i] <= v]
            parts.append(block[:, rows] * z[:, v : v + 1])
            owner += [v] * len(rows)
        begin = end
        columns.append(torch.cat(parts, 1))
        last += owner
    return torch.cat(columns, 1)


def num_monomials(variables: int, degree: int) -> int:
    """Return the number of monomials of so many variables up to a degree."""
    return math.comb(variables + degree, degree)


def highest_degree(variables: int, degree: int, max_features: int) -> int:
    """Return the highest degree with at most max_features monomials: 1 at least, degree at most."""
    fitting = [d for d in range(1, degree + 1) if num_monomials(variables, d) <= max_features]
    return max(fitting, default=1)


@final
class WhitenedMonomials(nn.Module):
    """Monomials of standardized inputs, without the constant, uncorrelated and of variance 1.

    Args:
        inputs: number n of the inputs.
        degree: of the monomials, lower where there would be more than max_features.
        max_features: largest number of monomials.
        floor: variance added to that of each principal direction.
    """

    center: Tensor  # (F,) mean of the monomials
    whiten: Tensor  # (F, F)

    @checked
    def __init__(
        self,
        inputs: Count,
        *,
        degree: Degree = 2,
        max_features: Count = 100,
        floor: NonNegative = 1e-4,
    ):
        """Initialize the whitening to the identity."""
        super().__init__()
        self.degree = highest_degree(inputs, degree, max_features)
        self.size = num_monomials(inputs, self.degree) - 1
        self._floor = floor
        self.register_buffer("center", torch.zeros(self.size))
        self.register_buffer("whiten", torch.eye(self.size))

    def fit(self, z: Tensor) -> None:
        """Compute the whitening of the monomials of z (B, n)."""
        phi = monomials(z.double(), self.degree)[:, 1:]
        self.center.copy_(phi.mean(0))
        values, vectors = torch.linalg.eigh((phi - phi.mean(0)).T @ (phi - phi.mean(0)) / len(phi))
        self.whiten.copy_(vectors / (values.clamp(min=0) + self._floor).sqrt())

    def forward(self, z: Tensor) -> Tensor:
        """Return the features (..., F) of z (..., n)."""
        phi = monomials(z.flatten(0, -2), self.degree)[:, 1:]
        return ((phi - self.center) @ self.whiten).unflatten(0, z.shape[:-1])
