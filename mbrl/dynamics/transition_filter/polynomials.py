"""Monomials of standardised variables, and the polynomial that fits the data alone."""

from __future__ import annotations

from itertools import combinations_with_replacement

import torch
from torch import Tensor, nn

from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.nn.normalizer import Normalizer
from mbrl.types import Transitions


def monomials(z: Tensor, degree: int) -> Tensor:
    """Evaluate all monomials of z (N, n) up to a degree: (N, F), the constant first.

    Each degree is made of the one below, by the variables not before its last.
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


def count(variables: int, degree: int) -> int:
    """Count the monomials of so many variables up to a degree."""
    return sum(
        1 for d in range(degree + 1) for _ in combinations_with_replacement(range(variables), d)
    )


class Whitened(nn.Module):
    """Give the monomials of standardised inputs but the constant, uncorrelated and of variance 1.

    Args:
        inputs: n.
        degree: of the monomials, lower where there would be more than max_features.
        max_features: see degree.
        floor: variance of a direction that counts as none.
    """

    center: Tensor  # (F,) mean of the monomials
    whiten: Tensor  # (F, F)

    def __init__(
        self, inputs: int, *, degree: int = 2, max_features: int = 100, floor: float = 1e-4
    ):
        """Begin with the monomials as they are."""
        super().__init__()
        fitting = [d for d in range(1, degree + 1) if count(inputs, d) <= max_features]
        self.degree, self._floor = max(fitting, default=1), floor
        self.size = count(inputs, self.degree) - 1
        self.register_buffer("center", torch.zeros(self.size))
        self.register_buffer("whiten", torch.eye(self.size))

    def fit(self, z: Tensor) -> None:
        """Find the whitening of z (B, n)."""
        phi = monomials(z.double(), self.degree)[:, 1:]
        self.center.copy_(phi.mean(0))
        values, vectors = torch.linalg.eigh((phi - phi.mean(0)).T @ (phi - phi.mean(0)) / len(phi))
        self.whiten.copy_(vectors / (values.clamp(min=0) + self._floor).sqrt())

    def forward(self, z: Tensor) -> Tensor:
        """Give the features (..., F) of z (..., n)."""
        phi = monomials(z.flatten(0, -2), self.degree)[:, 1:]
        return ((phi - self.center) @ self.whiten).unflatten(0, z.shape[:-1])


class PolynomialModel(nn.Module):
    """Predict the change of obs by one polynomial in (obs, action), its degree found at the edges.

    Args:
        obs_dim: length of an observation.
        act_dim: length of an action.
        degrees: tried.
        ridge: of the normalised regression.
        max_features: degrees with more monomials are left out.
    """

    degree: Tensor  # () int64
    weights: Tensor  # (F, obs_dim)

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        *,
        degrees: tuple[int, ...] = (1, 2, 3, 4),
        ridge: float = 1e-8,
        max_features: int = 600,
    ):
        """Begin with no change at all."""
        super().__init__()
        inputs = obs_dim + act_dim
        self.degrees = tuple(d for d in degrees if count(inputs, d) <= max_features)
        self._ridge = ridge
        self.inputs, self.targets = Normalizer(inputs), Normalizer(obs_dim, floor=1e-6)
        self.register_buffer("degree", torch.tensor(0))
        largest = count(inputs, max(self.degrees))
        self.register_buffer("weights", torch.zeros(largest, obs_dim, dtype=torch.float64))

    def fit(self, data: Transitions, edges: TailHoldoutEnsemble) -> dict[str, float]:
        """Choose the degree that extrapolates best to the edges; fit it to everything."""
        x = torch.cat([data.obs, data.action], 1)
        self.inputs.fit(x)
        self.targets.fit(data.next_obs - data.obs)
        z = self.inputs(x).double()
        y = self.targets(data.next_obs - data.obs).double()
        outside = edges.edges(data.obs, data.action)
        errors = []
        for degree in self.degrees:
            phi = monomials(z, degree)
            each = [
                (phi[edge] @ self._solve(phi[~edge], y[~edge]) - y[edge]).square().mean().sqrt()
                for edge in outside
            ]
            errors.append(torch.stack(each).log().mean())  # geometric: no split decides alone
        near = torch.stack(errors) < min(errors) + 0.1
        best = int(near.nonzero()[0])  # the lowest degree that is about as good
        self.degree.fill_(self.degrees[best])
        self.weights.zero_()
        solved = self._solve(monomials(z, self.degrees[best]), y)
        self.weights[: len(solved)] = solved
        return {"model/polynomial_degree": float(self.degrees[best])}

    def _solve(self, phi: Tensor, y: Tensor) -> Tensor:
        """Regress y (N, t) on phi (N, F), with a ridge: (F, t)."""
        gram = phi.T @ phi / len(phi)
        gram.diagonal().add_(self._ridge)
        return torch.linalg.solve(gram, phi.T @ y / len(phi))

    @torch.no_grad()
    def predict(self, obs: Tensor, action: Tensor) -> Tensor:
        """Give the successor of obs (B, obs_dim) under action (B, act_dim)."""
        z = self.inputs(torch.cat([obs, action], 1)).double()
        phi = monomials(z, int(self.degree))
        return obs + self.targets.invert((phi @ self.weights[: phi.shape[1]]).to(obs.dtype))
