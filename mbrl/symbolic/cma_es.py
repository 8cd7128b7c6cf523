"""CMA-ES (Hansen 2016, "The CMA Evolution Strategy: A Tutorial"), with the tutorial's symbols.

It has weighted recombination, cumulative step-size adaptation and the rank-one and rank-mu updates,
without negative weights; it maximizes. Distillation also reads the covariance and rescales the
search, which the packages for CMA-ES do not offer in public.
"""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor


@final
class CmaEs:
    """Search distribution N(m, sigma^2 C), adapted to the better half of its samples.

    Args:
        mean: (n,) float64, of the first samples.
        covariance: (n, n), of the first samples.
        population: lambda, samples of an iteration.
        generator: source of the samples.

    Attributes:
        mean: m (n,).
        sigma: the step size.
    """

    def __init__(
        self, mean: Tensor, covariance: Tensor, population: int, generator: torch.Generator
    ):
        """Compute the strategy parameters of the tutorial's table 1."""
        n = len(mean)
        self.mean, self._population, self._generator = mean.clone(), population, generator
        mu = population // 2
        weights = math.log((population + 1) / 2) - torch.arange(1, mu + 1).log()
        self._weights = (weights / weights.sum()).to(mean)
        self._mu_eff = mu_eff = 1 / self._weights.square().sum().item()
        self._c_c = (4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n)
        self._c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
        self._c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)
        c_mu = 2 * (mu_eff - 2 + 1 / mu_eff) / ((n + 2) ** 2 + mu_eff)
        self._c_mu = min(1 - self._c_1, c_mu)
        self._d_sigma = 1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + self._c_sigma
        self._chi_n = math.sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n))  # E ||N(0, I)||
        self.sigma = math.sqrt(covariance.diagonal().mean().item())
        self._C = covariance / self.sigma**2
        self._p_c, self._p_sigma = torch.zeros_like(mean), torch.zeros_like(mean)  # paths
        self._generation = 0
        self._decompose()

    @property
    def covariance(self) -> Tensor:
        """Return the covariance sigma^2 C (n, n) of the next samples."""
        return self.sigma**2 * self._C

    def _decompose(self) -> None:
        """Compute B and D of C = B D^2 B^T."""
        values, self._B = torch.linalg.eigh((self._C + self._C.T) / 2)
        self._D = values.clamp(min=1e-20).sqrt()

    def ask(self) -> Tensor:
        """Sample the candidates x = m + sigma y of an iteration (population, n)."""
        mean = self.mean
        self._z = torch.randn(
            (self._population, len(mean)),
            generator=self._generator,
            device=mean.device,
            dtype=mean.dtype,
        )
        self._y = (self._z * self._D) @ self._B.T
        return mean + self.sigma * self._y

    def tell(self, values: Tensor) -> None:
        """Update the distribution by the values (population,) of the candidates; more is better."""
        n, best = len(self.mean), values.argsort(descending=True)[: len(self._weights)]
        y = self._y[best]
        y_w = self._weights @ y
        self.mean = self.mean + self.sigma * y_w
        self._generation += 1
        c_sigma, c_c, c_1, c_mu = self._c_sigma, self._c_c, self._c_1, self._c_mu
        whitened = self._B @ (self._weights @ self._z[best])  # C^(-1/2) y_w
        self._p_sigma = (1 - c_sigma) * self._p_sigma + (
            math.sqrt(c_sigma * (2 - c_sigma) * self._mu_eff) * whitened
        )
        norm = self._p_sigma.norm().item()
        expected = math.sqrt(1 - (1 - c_sigma) ** (2 * self._generation)) * self._chi_n
        h_sigma = float(norm < (1.4 + 2 / (n + 1)) * expected)  # 0 stalls p_c after long steps
        self._p_c = (1 - c_c) * self._p_c + (
            h_sigma * math.sqrt(c_c * (2 - c_c) * self._mu_eff) * y_w
        )
        delta = (1 - h_sigma) * c_c * (2 - c_c)
        self._C = (
            (1 - c_1 - c_mu + c_1 * delta) * self._C
            + c_1 * torch.outer(self._p_c, self._p_c)
            + c_mu * (y.T * self._weights) @ y
        )
        self.sigma *= math.exp(min(1.0, c_sigma / self._d_sigma * (norm / self._chi_n - 1)))
        self._decompose()

    def shrink(self, max_norm: float) -> None:
        """Scale mean and step size down to a norm of the mean of at most max_norm."""
        factor = min(1.0, max_norm / self.mean.norm().item())
        self.mean = factor * self.mean
        self.sigma *= factor
