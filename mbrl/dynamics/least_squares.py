"""Least squares on polynomials of degree 1 or 2: the model that others should beat."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor

from mbrl.dynamics.base import Belief, MarkovDynamics, complete_prediction
from mbrl.nn.normalizer import divisor, spread
from mbrl.types import ActionSpec, Prediction, Task, Transitions
from mbrl.values import NonNegative, checked


@final
class LeastSquares(MarkovDynamics):
    """Ridge regression of the change of obs on polynomials of obs and action, with its intervals.

    Hoerl and Kennard 1970 (ridge regression). A sampled prediction has the normal distribution of
    the residuals, wider where the data do not determine the weights. The uncertainty is the latter
    alone: the root of a row's leverage times the residuals' deviation, in units of the change.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: what is known of the environment.
        degree: of the polynomials; 1 is a linear model with an intercept.
        ridge: penalty on the weights of standardized features, relative to the number of rows.
    """

    @checked
    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        task: Task,
        degree: Literal[1, 2] = 1,
        ridge: NonNegative = 1e-9,
    ):
        """Start with no change."""
        super().__init__()
        self.obs_dim, self.act_dim, self.task = obs_dim, action.dim, task
        self._degree, self._ridge = degree, ridge
        inputs = obs_dim + action.dim
        count = inputs + (inputs * (inputs + 1) // 2 if degree == 2 else 0)
        self._num_targets = obs_dim + (task.reward is None)
        self._upper = torch.triu_indices(inputs, inputs)
        for name, shape in (
            ("center", (inputs,)),
            ("unit", (inputs,)),
            ("weights", (count + 1, self._num_targets)),
            ("whiten", (count + 1, count + 1)),
            ("noise", (self._num_targets,)),
            ("change", (self._num_targets,)),
        ):
            start = torch.ones(shape) if name in ("unit", "change") else torch.zeros(shape)
            self.register_buffer(name, start.double())
        self.to(action.low.device)

    center: Tensor  # (inputs,)
    unit: Tensor  # (inputs,)
    weights: Tensor  # (F, targets), the intercept last
    whiten: Tensor  # (F, F) of the leverage
    noise: Tensor  # (targets,) deviation of the residuals
    change: Tensor  # (targets,) deviation of the targets

    def _features(self, x: Tensor) -> Tensor:
        """Return the features (B, n + 1) of inputs x (B, inputs)."""
        z = (x.double() - self.center) / self.unit
        parts = [z, torch.ones_like(z[:, :1])]
        if self._degree == 2:
            i, j = self._upper
            parts.insert(1, z[:, i] * z[:, j])
        return torch.cat(parts, 1)

    @torch.no_grad()
    def fit(self, data: Transitions, *, generator: torch.Generator | int) -> dict[str, float]:
        """Fit to all data; see Dynamics.fit."""
        x = torch.cat([data.obs, data.action], 1).double()
        self.center.copy_(x.mean(0))
        self.unit.copy_(divisor(spread(x)))
        y = (data.next_obs - data.obs).double()
        if self.task.reward is None:
            y = torch.cat([y, data.reward[:, None].double()], 1)
        features = self._features(x)
        gram = features.T @ features
        penalty = torch.full((len(gram),), self._ridge * len(x), dtype=x.dtype, device=x.device)
        penalty[-1] = 0  # the intercept
        values, vectors = torch.linalg.eigh(gram + penalty.diag())
        rank = values > len(values) * torch.finfo(x.dtype).eps * values[-1]
        inverse = torch.where(rank, 1 / values.clamp(min=values[-1] * 1e-300), 0)
        self.whiten.copy_(vectors * inverse.sqrt())
        self.weights.copy_(self.whiten @ (self.whiten.T @ (features.T @ y)))
        residual = features @ self.weights - y
        freedom = max(1, len(x) - int(rank.sum()))
        self.noise.copy_((residual.square().sum(0) / freedom).sqrt())
        self.change.copy_(divisor(spread(y)))
        # errors of rows that are left out, in closed form
        left = residual / (1 - self._leverage(features)).clamp(min=1 / len(x))[:, None]
        return {"model/holdout_mse": (left / self.change).square().mean().item()}

    def _leverage(self, features: Tensor) -> Tensor:
        """Return the leverage (B,) of features (B, F): at most 1 in the data."""
        return (features @ self.whiten).square().sum(1)

    def step(
        self,
        state: Belief,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Belief, Prediction]:
        """Predict one step; see Model.step."""
        features = self._features(torch.cat([state.obs, action], 1))
        out, leverage = features @ self.weights, self._leverage(features)[:, None]
        if generator is not None:
            draws = torch.randn(out.shape, generator=generator, device=out.device)
            out = out + draws * self.noise * (1 + leverage).sqrt()
        uncertainty = None
        if with_uncertainty:
            share = (self.noise / self.change)[: self.obs_dim].square().mean()
            uncertainty = (leverage[:, 0] * share).sqrt().to(state.obs)
        out = out.to(state.obs)
        reward = out[:, -1] if self.task.reward is None else None
        next_obs = state.obs + out[:, : self.obs_dim]
        pred = complete_prediction(self.task, state.obs, action, next_obs, reward=reward)
        return Belief(pred.next_obs, state.members), pred._replace(uncertainty=uncertainty)
