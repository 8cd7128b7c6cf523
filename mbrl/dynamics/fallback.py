"""Sparse equations while they are stable, an ensemble of networks while they are not."""

from __future__ import annotations

import logging
from typing import Any, final

import torch
from torch import Tensor

from mbrl.dynamics.base import candidates_of
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.dynamics.sindy.model import SINDy
from mbrl.nn.generators import as_generator
from mbrl.roles import Dynamics
from mbrl.types import Prediction, Transitions

_log = logging.getLogger(__name__)


@final
class FallbackDynamics(Dynamics):
    """SINDy with a fallback: an ensemble predicts while the last fit of SINDy is unstable.

    Args:
        sparse: the model that is fitted first.
        dense: the fallback, fitted only when the sparse model is unstable.

    Attributes:
        falls_back: whether the fallback is in use.
    """

    falls_back: Tensor  # () bool

    def __init__(self, *, sparse: SINDy, dense: GaussianEnsemble):
        """Start with the sparse model."""
        super().__init__()
        self.sparse, self.dense = sparse, dense
        self.obs_dim, self.act_dim = sparse.obs_dim, sparse.act_dim
        self.register_buffer("falls_back", torch.tensor(False))

    def fit(self, data: Transitions, *, generator: torch.Generator | int) -> dict[str, float]:
        """Fit the sparse model and, if it is unstable, the dense one; see Dynamics.fit."""
        generator = as_generator(generator, data.obs.device)
        metrics = self.sparse.fit(data, generator=generator)
        self.falls_back.copy_(~self.sparse.stable | self.sparse.worse_than_no_change)
        if self.falls_back:
            _log.warning(
                "FallbackDynamics: the sparse model is unstable, the ensemble is used instead"
            )
            metrics |= self.dense.fit(data, generator=generator)
        return {**metrics, "model/falls_back": float(self.falls_back)}

    def _chosen(self) -> Dynamics:
        """Return the model in use."""
        return self.dense if self.falls_back else self.sparse

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Any:
        """Return a belief of the model in use at obs (B, obs_dim); see Model.initial."""
        return self._chosen().initial(obs, num_particles=num_particles, generator=generator)

    def observe(
        self, state: Any, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Any:
        """Update the belief by a real step, action (B, act_dim) to obs (B, obs_dim)."""
        return self._chosen().observe(state, action, obs, env_state)

    def step(
        self,
        state: Any,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Any, Prediction]:
        """Predict one step for action (B, act_dim); see Model.step."""
        model = self._chosen()
        return model.step(state, action, generator=generator, with_uncertainty=with_uncertainty)

    def candidates(
        self, state: Any, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[Any, Prediction]:
        """Return num successors of each row for action (B, act_dim); see OffersCandidates."""
        return candidates_of(self._chosen(), state, action, num, generator=generator)

    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the uncertainty (B,) of the model in use.

        Args:
            obs: (B, obs_dim).
            action: (B, act_dim).
        """
        return self._chosen().uncertainty(obs, action)
