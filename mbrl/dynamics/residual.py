"""Sparse equations, and an ensemble for their residual where that helps."""

from __future__ import annotations

import logging
import math
from typing import Annotated, Any, NamedTuple, final

import torch
from annotated_types import Interval
from torch import Tensor

from mbrl.dynamics.base import Belief
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.dynamics.sindy.data import hold_out
from mbrl.dynamics.sindy.model import SINDy
from mbrl.imagination.open_loop import open_loop_errors
from mbrl.nn.generators import as_generator
from mbrl.nn.normalizer import divisor, spread
from mbrl.roles import Dynamics
from mbrl.types import Prediction, Transitions
from mbrl.values import Count, checked

_log = logging.getLogger(__name__)


class ResidualBelief(NamedTuple):
    """Beliefs of the two models, at the same observations."""

    sparse: Belief
    dense: Belief


@final
class ResidualDynamics(Dynamics):
    """SINDy plus an ensemble for its error, used only where that improves held-out rollouts.

    Residual physics as in Zeng et al. 2020 (TossingBot), with SINDy for the physics. Both models
    are fitted to four fifths of the data's blocks. The ensemble is used if it lowers the error
    after `horizon` steps on the others.

    Args:
        sparse: the equations.
        dense: predicts next_obs minus the equations' prediction, and the reward where the task has
            no function for it.
        horizon: steps of the held-out rollouts.
        least_gain: smallest relative improvement of their error for which the ensemble is used.

    Attributes:
        open: whether the ensemble is used.

    Raises:
        BadInput: for a value out of range.
    """

    open: Tensor  # () bool

    @checked
    def __init__(
        self,
        *,
        sparse: SINDy,
        dense: GaussianEnsemble,
        horizon: Count = 10,
        least_gain: Annotated[float, Interval(ge=0, lt=1)] = 0.05,
    ):
        """Start without the ensemble."""
        super().__init__()
        self.sparse, self.dense = sparse, dense
        self.obs_dim, self.act_dim = sparse.obs_dim, sparse.act_dim
        self._horizon, self._least_gain = horizon, least_gain
        self.register_buffer("open", torch.tensor(False))

    def fit(self, data: Transitions, *, generator: torch.Generator | int) -> dict[str, float]:
        """Fit the equations, then the ensemble to their residual; see Dynamics.fit."""
        generator = as_generator(generator, data.obs.device)
        blocks, train = hold_out(data, self._horizon)
        part = data.select(train)
        metrics = self.sparse.fit(part, generator=generator)
        with torch.no_grad():
            predicted = self.sparse.step(self.sparse.initial(part.obs), part.action)[1].next_obs
        residual = part._replace(next_obs=part.obs + part.next_obs - predicted)
        dense = self.dense.fit(residual, generator=generator)
        errors = []
        unit = divisor(spread(data.obs)).to(data.obs.dtype)
        for is_open in (False, True):
            self.open.fill_(is_open)
            errors.append(open_loop_errors(self, data, blocks, unit)[-1].item())
        is_better = errors[1] < (1 - self._least_gain) * errors[0]
        self.open.fill_(is_better or (math.isnan(errors[0]) and math.isfinite(errors[1])))
        if not self.open:
            _log.info("ResidualDynamics: the ensemble is not used, rollouts are no better with it")
        return {
            **metrics,
            "model/residual_mse": dense["model/holdout_mse"],
            "model/sparse_error": errors[0],
            "model/residual_error": errors[1],
            "model/residual_used": float(self.open),
        }

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> ResidualBelief:
        """Return the beliefs of both models at obs (B, obs_dim); see Model.initial."""
        options: Any = {"num_particles": num_particles, "generator": generator}
        return ResidualBelief(
            self.sparse.initial(obs, **options), self.dense.initial(obs, **options)
        )

    def observe(
        self, state: ResidualBelief, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> ResidualBelief:
        """Update both beliefs by a real step, action (B, act_dim) to obs (B, obs_dim)."""
        return ResidualBelief(
            self.sparse.observe(state.sparse, action, obs),
            self.dense.observe(state.dense, action, obs),
        )

    def step(
        self,
        state: ResidualBelief,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[ResidualBelief, Prediction]:
        """Predict one step for action (B, act_dim); the uncertainty is the larger of the two."""
        options: Any = {"generator": generator, "with_uncertainty": with_uncertainty}
        _, base = self.sparse.step(state.sparse, action, **options)
        _, residual = self.dense.step(state.dense, action, **options)
        pred = self._add(state.sparse.obs, action, base, residual)
        return self.observe(state, action, pred.next_obs), pred

    def candidates(
        self, state: ResidualBelief, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[ResidualBelief, Prediction]:
        """Return num successors of each row for action (B, act_dim); see OffersCandidates."""
        options: Any = {"generator": generator}
        sparse, base = self.sparse.candidates(state.sparse, action, num, **options)
        dense, residual = self.dense.candidates(state.dense, action, num, **options)
        obs, action = state.sparse.obs.repeat(num, 1), action.repeat(num, 1)
        pred = self._add(obs, action, base, residual)
        following = ResidualBelief(
            sparse._replace(obs=pred.next_obs), dense._replace(obs=pred.next_obs)
        )
        return following, pred

    @torch.no_grad()
    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the larger uncertainty (B,) of the two models.

        Args:
            obs: (B, obs_dim).
            action: (B, act_dim).
        """
        uncertainty = self.sparse.uncertainty(obs, action)
        if self.open:
            uncertainty = torch.maximum(uncertainty, self.dense.uncertainty(obs, action))
        return uncertainty

    def refusal(self) -> str:
        """Return why an agent should not act by the model, empty if it may; see MayRefuse."""
        return "" if self.open else self.sparse.refusal()

    def _add(
        self, obs: Tensor, action: Tensor, base: Prediction, residual: Prediction
    ) -> Prediction:
        """Return the equations' prediction, with the ensemble's residual if it is used."""
        if not self.open:
            return base
        outcome = self.sparse.outcome
        next_obs = outcome.project(base.next_obs + residual.next_obs - obs)
        next_obs, valid = outcome.bound(next_obs)
        reward = residual.reward
        if outcome.task.reward is not None:
            reward = outcome.task.reward(obs, action, next_obs)
        uncertainty = base.uncertainty
        if uncertainty is not None and residual.uncertainty is not None:
            uncertainty = torch.maximum(uncertainty, residual.uncertainty)
        return Prediction(next_obs, reward, base.terminated, valid, uncertainty)
