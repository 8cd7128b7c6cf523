"""One polynomial as a model, its degree chosen by extrapolation."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomials import monomials, num_monomials
from mbrl.nn.normalizer import Normalizer, size
from mbrl.types import Transitions
from mbrl.values import Count, CountOrZero, Degree, NonNegative, checked


@final
class PolynomialModel(nn.Module):
    """Polynomial in (obs, action) for the change of obs.

    Args:
        obs_dim: length of an observation.
        act_dim: length of an action.
        degrees: to choose from.
        ridge: of the regression, on standardized variables.
        max_features: degrees with more monomials are left out.
    """

    degree: Tensor  # () int64
    weights: Tensor  # (F, obs_dim) float64

    @checked
    def __init__(
        self,
        obs_dim: Count,
        act_dim: CountOrZero,
        *,
        degrees: tuple[Degree, ...] = (1, 2, 3, 4),
        ridge: NonNegative = 1e-8,
        max_features: Count = 600,
    ):
        """Initialize to no change at all."""
        super().__init__()
        inputs = obs_dim + act_dim
        self.degrees = tuple(d for d in degrees if num_monomials(inputs, d) <= max_features)
        self._ridge = ridge
        self.inputs, self.targets = Normalizer(inputs), Normalizer(obs_dim)
        self.register_buffer("degree", torch.tensor(0))
        largest = num_monomials(inputs, max(self.degrees))
        self.register_buffer("weights", torch.zeros(largest, obs_dim, dtype=torch.float64))

    def fit(self, data: Transitions, holdout_ensemble: TailHoldoutEnsemble) -> dict[str, float]:
        """Choose the degree that extrapolates best, and fit it to all data.

        Each degree is fitted without each tail of the data, and its errors there are compared.

        Args:
            data: transitions (B, ...).
            holdout_ensemble: fitted to data; gives the tails.

        Returns:
            Metrics.
        """
        x = torch.cat([data.obs, data.action], 1)
        self.inputs.fit(x)
        self.targets.fit(data.next_obs - data.obs, of=size(data.obs))
        z = self.inputs(x).double()
        y = self.targets(data.next_obs - data.obs).double()
        tails = holdout_ensemble.tails(data.obs, data.action)
        errors = []
        for degree in self.degrees:
            phi = monomials(z, degree)
            each = [
                (phi[tail] @ self._solve(phi[~tail], y[~tail]) - y[tail]).square().mean().sqrt()
                for tail in tails
                if tail.any()  # an axis of constant components has no ends
            ]
            # geometric: no tail decides alone
            errors.append(torch.stack(each).log().mean() if each else z.new_zeros(()))
        near = torch.stack(errors) < min(errors) + 0.1
        best = int(near.nonzero()[0])  # the lowest degree within 10% of the least error
        self.degree.fill_(self.degrees[best])
        self.weights.zero_()
        weights = self._solve(monomials(z, self.degrees[best]), y)
        self.weights[: len(weights)] = weights
        return {"model/polynomial_degree": float(self.degrees[best])}

    def _solve(self, phi: Tensor, y: Tensor) -> Tensor:
        """Return the ridge regression (F, t) of y (N, t) on phi (N, F)."""
        gram = phi.T @ phi / len(phi)
        gram.diagonal().add_(self._ridge)
        return torch.linalg.solve(gram, phi.T @ y / len(phi))

    @torch.no_grad()
    def predict(self, obs: Tensor, action: Tensor) -> Tensor:
        """Predict next_obs (B, obs_dim) of obs (B, obs_dim), action (B, act_dim)."""
        z = self.inputs(torch.cat([obs, action], 1)).double()
        phi = monomials(z, int(self.degree))
        return obs + self.targets.invert((phi @ self.weights[: phi.shape[1]]).to(obs.dtype))
