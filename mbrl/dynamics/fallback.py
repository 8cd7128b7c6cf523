"""A sparse model where it holds, a dense one where it does not."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from mbrl.dynamics.base import candidates_of
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.dynamics.sindy.model import SINDy
from mbrl.roles import Dynamics
from mbrl.types import Prediction, Transitions

_log = logging.getLogger(__name__)


class FallbackDynamics(Dynamics):
    """Use a sparse model unless its last fit was unstable on held-out rollouts.

    Args:
        sparse: the model asked first.
        dense: fitted only where the sparse one is unstable, and asked until it is not.
    """

    falls_back: Tensor  # () bool

    def __init__(self, *, sparse: SINDy, dense: GaussianEnsemble):
        """Begin with the sparse model."""
        super().__init__()
        self.sparse, self.dense = sparse, dense
        self.register_buffer("falls_back", torch.tensor(False))

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit the sparse model; if it is unstable, the dense one too."""
        metrics = self.sparse.fit(data, generator=generator)
        self.falls_back.copy_(~self.sparse.stable)
        if self.falls_back:
            _log.warning("dynamics: the sparse model is unstable, the ensemble is used instead")
            metrics |= self.dense.fit(data, generator=generator)
        return {**metrics, "model/falls_back": float(self.falls_back)}

    def _chosen(self) -> Dynamics:
        """Give the model in use."""
        return self.dense if self.falls_back else self.sparse

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Any:
        """Begin a belief of the model in use; see Model.initial."""
        return self._chosen().initial(obs, num_particles=num_particles, generator=generator)

    def observe(
        self, state: Any, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Any:
        """Take in a real step; see Model.observe."""
        return self._chosen().observe(state, action, obs, env_state)

    def step(
        self,
        state: Any,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Any, Prediction]:
        """Predict one step; see Model.step."""
        model = self._chosen()
        return model.step(state, action, generator=generator, with_uncertainty=with_uncertainty)

    def candidates(
        self, state: Any, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[Any, Prediction]:
        """Offer num successors of each row; see Model.candidates."""
        return candidates_of(self._chosen(), state, action, num, generator=generator)

    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return that of the model in use (B,) at obs (B, obs_dim), action (B, act_dim)."""
        return self._chosen().uncertainty(obs, action)
