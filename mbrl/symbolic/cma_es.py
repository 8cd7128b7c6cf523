"""Search for numbers that earn much: CMA-ES (Hansen 2016, "The CMA Evolution Strategy").

Weighted recombination, cumulative step-size control, rank-one and rank-mu updates; maximises.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class CmaEs:
    """Adapt a normal distribution to where more is earned.

    Args:
        mean: (n,) float64, where to begin.
        covariance: (n, n) of the first draws.
        population: draws of an iteration.
        generator: source of the draws.

    Attributes:
        mean: (n,).
        covariance: (n, n), of the next draws.
    """

    def __init__(
        self, mean: Tensor, covariance: Tensor, population: int, generator: torch.Generator
    ):
        """Set the strategy parameters that Hansen gives (his table 1, without negative weights)."""
        n = len(mean)
        self.mean, self._population, self._generator = mean.clone(), population, generator
        parents = population // 2
        weights = math.log((population + 1) / 2) - torch.arange(1, parents + 1).log()
        self._weights = (weights / weights.sum()).to(mean)
        self._mass = mass = 1 / self._weights.square().sum().item()
        self._path_rate = (4 + mass / n) / (n + 4 + 2 * mass / n)
        self._step_rate = (mass + 2) / (n + mass + 5)
        self._rank_one = 2 / ((n + 1.3) ** 2 + mass)
        rank_mu = 2 * (mass - 2 + 1 / mass) / ((n + 2) ** 2 + mass)
        self._rank_mu = min(1 - self._rank_one, rank_mu)
        self._damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (n + 1)) - 1) + self._step_rate
        self._length = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))  # of a normal vector
        self._step = math.sqrt(covariance.diagonal().mean().item())
        self._shape = covariance / self._step**2
        self._path, self._step_path = torch.zeros_like(mean), torch.zeros_like(mean)
        self._iterations = 0
        self._decompose()

    @property
    def covariance(self) -> Tensor:
        """Give the covariance (n, n) of the next draws."""
        return self._step**2 * self._shape

    def _decompose(self) -> None:
        """Take the shape apart, for draws."""
        values, self._axes = torch.linalg.eigh((self._shape + self._shape.T) / 2)
        self._lengths = values.clamp(min=1e-20).sqrt()

    def ask(self) -> Tensor:
        """Draw the next candidates (population, n)."""
        mean = self.mean
        self._noise = torch.randn(
            (self._population, len(mean)),
            generator=self._generator,
            device=mean.device,
            dtype=mean.dtype,
        )
        self._moves = (self._noise * self._lengths) @ self._axes.T
        return mean + self._step * self._moves

    def tell(self, earned: Tensor) -> None:
        """Adapt to what the candidates earned (population,)."""
        n, order = len(self.mean), earned.argsort(descending=True)[: len(self._weights)]
        moves = self._moves[order]
        move = self._weights @ moves
        self.mean = self.mean + self._step * move
        self._iterations += 1
        rate = self._step_rate
        straight = self._axes @ (self._weights @ self._noise[order])
        self._step_path = (1 - rate) * self._step_path + (
            math.sqrt(rate * (2 - rate) * self._mass) * straight
        )
        length = self._step_path.norm().item()
        usual = math.sqrt(1 - (1 - rate) ** (2 * self._iterations)) * self._length
        calm = float(length < (1.4 + 2 / (n + 1)) * usual)  # else the path waits
        along = self._path_rate
        self._path = (1 - along) * self._path + (
            calm * math.sqrt(along * (2 - along) * self._mass) * move
        )
        missing = (1 - calm) * along * (2 - along)
        one, many = self._rank_one, self._rank_mu
        self._shape = (
            (1 - one - many + one * missing) * self._shape
            + one * torch.outer(self._path, self._path)
            + many * (moves.T * self._weights) @ moves
        )
        self._step *= math.exp(min(1.0, rate / self._damping * (length / self._length - 1)))
        self._decompose()

    def shrink(self, longest: float) -> None:
        """Scale mean and step down to a mean of this length at most, where only ratios count."""
        factor = min(1.0, longest / self.mean.norm().item())
        self.mean = factor * self.mean
        self._step *= factor
