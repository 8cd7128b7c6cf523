"""Sparse equations, and a network for what they leave over, where that helps."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.dynamics.base import Belief
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.dynamics.sindy.data import hold_out
from mbrl.dynamics.sindy.model import SINDy
from mbrl.roles import Dynamics
from mbrl.types import Prediction, Transitions

_log = logging.getLogger(__name__)


class Both(NamedTuple):
    """The beliefs of the two models, at the same observation."""

    sparse: Belief
    dense: Belief


class ResidualDynamics(Dynamics):
    """Add a network's prediction of the sparse model's error, if held-out rollouts get better.

    ResidualDynamics physics as in Zeng et al. 2020 (TossingBot), with SINDy for the physics.
    Fitted on four fifths of the blocks; the error after `horizon` steps on the others opens or
    shuts the gate.

    Args:
        sparse: the equations.
        dense: learns next_obs less their prediction, and the reward where the task says none.
        horizon: steps of the held-out rollouts.
        least_gain: share by which the network must lower the error after them.
    """

    open: Tensor  # () bool; whether the network is used

    def __init__(
        self, *, sparse: SINDy, dense: GaussianEnsemble, horizon: int = 10, least_gain: float = 0.05
    ):
        """Begin with the gate shut."""
        super().__init__()
        self.sparse, self.dense = sparse, dense
        self._horizon, self._least_gain = horizon, least_gain
        self.register_buffer("open", torch.tensor(False))

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit the equations, then the network to what is left; judge by rollouts."""
        blocks, train = hold_out(data, self._horizon)
        part = Transitions(*(x[train] for x in data))
        metrics = self.sparse.fit(part, generator=generator)
        with torch.no_grad():
            predicted = self.sparse.step(self.sparse.initial(part.obs), part.action)[1].next_obs
        left = part._replace(next_obs=part.obs + part.next_obs - predicted)
        dense = self.dense.fit(left, generator=generator)
        errors = [self._error(data, blocks, gate) for gate in (False, True)]
        self.open.fill_(errors[1] < (1 - self._least_gain) * errors[0])
        if not self.open:
            _log.info("dynamics: the network is left out, rollouts are no better with it")
        return {
            **metrics,
            "model/residual_mse": dense["model/holdout_mse"],
            "model/sparse_error": errors[0],
            "model/residual_error": errors[1],
            "model/residual_used": float(self.open),
        }

    @torch.no_grad()
    def _error(self, data: Transitions, blocks: Tensor, gate: bool) -> float:
        """Give the error after rollouts of blocks (K, H), in standard deviations."""
        self.open.fill_(gate)
        state = self.initial(data.obs[blocks[:, 0]])
        pred: Any = None
        for step in range(blocks.shape[1]):
            state, pred = self.step(state, data.action[blocks[:, step]])
        spread = data.obs.std(0, correction=0).clamp(min=1e-3)
        error = (pred.next_obs - data.next_obs[blocks[:, -1]]) / spread
        return error.square().mean().sqrt().item()

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Both:
        """Begin both beliefs; see Model.initial."""
        options: Any = {"num_particles": num_particles, "generator": generator}
        return Both(self.sparse.initial(obs, **options), self.dense.initial(obs, **options))

    def observe(
        self, state: Both, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Both:
        """Take in a real step; see Model.observe."""
        return Both(
            self.sparse.observe(state.sparse, action, obs),
            self.dense.observe(state.dense, action, obs),
        )

    def step(
        self,
        state: Both,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Both, Prediction]:
        """Predict one step; the uncertainty is the larger of the two."""
        options: Any = {"generator": generator, "with_uncertainty": with_uncertainty}
        _, base = self.sparse.step(state.sparse, action, **options)
        _, left = self.dense.step(state.dense, action, **options)
        pred = self._add(state.sparse.obs, action, base, left)
        return self.observe(state, action, pred.next_obs), pred

    def candidates(
        self, state: Both, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[Both, Prediction]:
        """Offer num successors of each row; K leads: (K * B, ...)."""
        begun, base = self.sparse.candidates(state.sparse, action, num, generator=generator)
        moved, left = self.dense.candidates(state.dense, action, num, generator=generator)
        obs, action = state.sparse.obs.repeat(num, 1), action.repeat(num, 1)
        pred = self._add(obs, action, base, left)
        return Both(begun._replace(obs=pred.next_obs), moved._replace(obs=pred.next_obs)), pred

    def _add(self, obs: Tensor, action: Tensor, base: Prediction, left: Prediction) -> Prediction:
        """Add the network's prediction where the gate is open."""
        if not self.open:
            return base
        outcome = self.sparse.outcome
        after, valid = outcome.bound(outcome.project(base.next_obs + left.next_obs - obs))
        known = outcome.task.reward
        reward = left.reward if known is None else known(obs, action, after)
        doubt = base.uncertainty
        if doubt is not None and left.uncertainty is not None:
            doubt = torch.maximum(doubt, left.uncertainty)
        return Prediction(after, reward, base.terminated, valid, doubt)

    @torch.no_grad()
    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the larger of the two (B,) at obs (B, obs_dim), action (B, act_dim)."""
        of_sparse = self.sparse.uncertainty(obs, action)
        return (
            torch.maximum(of_sparse, self.dense.uncertainty(obs, action))
            if self.open
            else of_sparse
        )
