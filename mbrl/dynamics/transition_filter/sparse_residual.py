"""Dynamics reward from sparse equations: how far a transition is from what they predict."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.dynamics.sindy.model import SINDy
from mbrl.dynamics.transition_filter.base import PointwiseReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.nn.normalizer import change_spread, divisor
from mbrl.roles import Dynamics
from mbrl.types import Transitions
from mbrl.values import Count, checked


@final
class SparseResidualReward(PointwiseReward):
    """Minus the residual of sparse equations, Brunton et al. 2016 (SINDy).

    Args:
        obs_dim: length of an observation.
        sparse: the equations.
    """

    scale: Tensor  # (obs_dim,) standard deviation of a change

    @checked
    def __init__(self, *, obs_dim: Count, sparse: SINDy):
        """Initialize the scale of a change to 1."""
        super().__init__()
        self.sparse = sparse
        self.register_buffer("scale", torch.ones(obs_dim))

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Fit the equations; see DynamicsReward.fit."""
        self.scale.copy_(change_spread(data.obs, data.next_obs))
        metrics = self.sparse.fit(data, generator=generator)
        return {"model/sparse_mse": metrics["model/holdout_mse"]}

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return minus the residuals (N,) of obs (N, obs_dim), action (N, act_dim), next_obs.

        The unit is one standard deviation of a change.
        """
        prediction = self.sparse.step(self.sparse.initial(obs), action)[1]
        error = (next_obs - prediction.next_obs) / divisor(self.scale)
        return -error.square().mean(1).sqrt()
