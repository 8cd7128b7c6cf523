"""Penalties on imagined rewards where the model is uncertain: MOPO's and MOBILE's."""

from __future__ import annotations

from typing import Annotated, final

import torch
from annotated_types import Ge
from torch import Tensor

from mbrl.dynamics.base import candidates_of
from mbrl.roles import Dynamics, PolicyLearner
from mbrl.types import Transitions
from mbrl.values import Fraction, NonNegative, checked


@final
class UncertaintyPenalty:
    """Penalty proportional to the model's uncertainty (MOPO, Yu et al. 2020).

    With GaussianEnsemble's `uncertainty="std"` it is the paper's: the largest standard deviation of
    a member. By default it is the spread of the elites' means.

    Args:
        scale: penalty per unit of uncertainty, which is in standard deviations of a change.
    """

    @checked
    def __init__(self, *, scale: NonNegative = 1.0):
        """Store the scale."""
        self._scale = scale

    def __call__(self, transition: Transitions, model: Dynamics, learner: PolicyLearner) -> Tensor:
        """Return the penalties (B,) of transitions (B, ...)."""
        return self._scale * model.uncertainty(transition.obs, transition.action)


@final
class BellmanPenalty:
    """Penalty for next states whose values differ between members (MOBILE, Sun et al. 2023).

    It is computed once, when a transition is imagined, by the critics of that moment; the paper's
    code computes it anew in every update.

    Args:
        scale: penalty per unit of standard deviation of the discounted values.
        num_candidates: next states asked of the model, one of each member in turn, without noise.
        discount: of the values.
    """

    @checked
    def __init__(
        self,
        *,
        scale: NonNegative = 1.0,
        num_candidates: Annotated[int, Ge(2)] = 5,
        discount: Fraction = 0.99,
    ):
        """Store the settings."""
        self._scale = scale
        self._num_candidates = num_candidates
        self._discount = discount

    @torch.no_grad()
    def __call__(self, transition: Transitions, model: Dynamics, learner: PolicyLearner) -> Tensor:
        """Return the penalties (B,) of transitions (B, ...)."""
        state = model.initial(transition.obs)
        _, pred = candidates_of(
            model, state, transition.action, self._num_candidates, generator=None
        )
        not_terminated = (~pred.terminated).to(transition.reward.dtype)
        value = self._discount * not_terminated * learner.value(pred.next_obs)
        return self._scale * value.view(self._num_candidates, -1).std(0, correction=0)
