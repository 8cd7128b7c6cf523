"""A dynamics reward from sparse equations: how far a transition is from what they say."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.dynamics.sindy.model import SINDy
from mbrl.dynamics.transition_filter.base import LearnedDynamicsReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.roles import Dynamics
from mbrl.types import Transitions


class SparseResidual(LearnedDynamicsReward):
    """Reward transitions by minus the residual of sparse equations, Brunton et al. 2016 (SINDy).

    Args:
        obs_dim: length of an observation.
        sparse: the equations.
    """

    scale: Tensor  # (obs_dim,) of a change

    def __init__(self, *, obs_dim: int, sparse: SINDy):
        """Take the equations."""
        super().__init__()
        self.sparse = sparse
        self.register_buffer("scale", torch.ones(obs_dim))

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Fit the equations; see DynamicsReward.fit."""
        self.scale.copy_((data.next_obs - data.obs).std(0, correction=0).clamp(min=1e-6))
        found = self.sparse.fit(data, generator=generator)
        return {"model/sparse_mse": found["model/holdout_mse"]}

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Give minus the distance (N,) in standard deviations of a change."""
        told = self.sparse.step(self.sparse.initial(obs), action)[1].next_obs
        return -((next_obs - told) / self.scale).square().mean(1).sqrt()
