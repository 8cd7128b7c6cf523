"""Units of data: the spread of each component, and normalization by it.

Nothing here is in units of its own: data in meters or in millimeters give the same result. One rule
says what a constant component is, and what becomes of it:

- A component is constant if it varies by no more than the rounding of float32 does (ROUNDING times
  the size of the numbers that it was computed from).
- The spread of a constant component is 0. As an input it is ignored: normalized, it is 0 whatever
  its value. As a target it is predicted by its mean. In an error it does not count.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

ROUNDING = 8 * torch.finfo(torch.float32).eps  # relative to the size of the numbers


def size(x: Tensor) -> Tensor:
    """Return the root mean square (dim,) of each component of x (B, dim), float64."""
    return x.double().square().mean(0).sqrt()


def spread(x: Tensor, *, of: Tensor | None = None) -> Tensor:
    """Return the standard deviation (dim,) of each component, float64; 0 where it is constant.

    Args:
        x: data (B, dim).
        of: size (dim,) of the numbers that x was computed from; None for that of x itself.
    """
    std = x.double().std(0, correction=0)
    least = ROUNDING * (size(x) if of is None else of)
    return torch.where(std > least, std, 0.0)


def change_spread(obs: Tensor, next_obs: Tensor) -> Tensor:
    """Return the standard deviation (obs_dim,) of changes, float64; 0 where they are constant.

    A change is rounded as the observations are, however small it is itself.

    Args:
        obs: (B, obs_dim).
        next_obs: (B, obs_dim).
    """
    return spread(next_obs - obs, of=torch.maximum(size(obs), size(next_obs)))


def divisor(spread: Tensor) -> Tensor:
    """Return what to divide by for units of a spread (dim,): infinity where it is 0."""
    return torch.where(spread > 0, spread, torch.inf)


@final
class Normalizer(nn.Module):
    """Normalizer of each dimension by its mean and standard deviation; see the module.

    Args:
        dim: number of dimensions.
    """

    mean: Tensor  # (dim,)
    std: Tensor  # (dim,), 0 where the data are constant
    divisor: Tensor  # (dim,), std, or infinity where it is 0

    def __init__(self, dim: int):
        """Start with mean 0 and standard deviation 1."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))
        self.register_buffer("divisor", torch.ones(dim), persistent=False)
        self.register_load_state_dict_post_hook(_set_divisor)

    def fit(self, x: Tensor, *, of: Tensor | None = None) -> None:
        """Compute mean and standard deviation of x (B, dim).

        Args:
            x: (B, dim).
            of: size (dim,) of the numbers that x was computed from; see spread.
        """
        self.mean.copy_(x.double().mean(0))
        self.std.copy_(spread(x, of=of))
        self.divisor.copy_(divisor(self.std))

    def forward(self, x: Tensor) -> Tensor:
        """Return x (..., dim) normalized."""
        return (x - self.mean) / self.divisor

    def invert(self, z: Tensor) -> Tensor:
        """Return normalized z (..., dim) in the data's units."""
        return z * self.std + self.mean


def _set_divisor(normalizer: Any, _: Any) -> None:
    """Compute what to divide by from loaded deviations."""
    normalizer.divisor.copy_(divisor(normalizer.std))
