"""What is taken off imagined rewards where the model is in doubt: MOPO's and MOBILE's penalties."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.dynamics.base import candidates_of
from mbrl.roles import PolicyLearner
from mbrl.types import Transitions


class UncertaintyPenalty:
    """Charge for the model's uncertainty (MOPO, Yu et al. 2020).

    With an ensemble of `uncertainty: std` it is the paper's: the largest member's standard
    deviation; by default the spread of the elites' means.

    Args:
        scale: reward taken off per unit of uncertainty, which is in standard deviations of a
            change.
    """

    def __init__(self, *, scale: float = 1.0):
        """Keep the scale."""
        self._scale = scale

    def __call__(self, transition: Transitions, model: Any, learner: PolicyLearner) -> Tensor:
        """Give the penalty (B,)."""
        return self._scale * model.uncertainty(transition.obs, transition.action)


class BellmanPenalty:
    """Charge for how far the members' values of the next state lie apart (MOBILE, Sun et al. 2023).

    Taken when a transition is imagined, by the critics of that moment; the paper's code takes it
    anew in every update.

    Args:
        scale: reward taken off per unit of standard deviation of the discounted values.
        num_candidates: successors asked of the model, one of each member in turn, without noise.
        discount: of the values.
    """

    def __init__(self, *, scale: float = 1.0, num_candidates: int = 5, discount: float = 0.99):
        """Keep the settings."""
        self._scale = scale
        self._num = num_candidates
        self._discount = discount

    @torch.no_grad()
    def __call__(self, transition: Transitions, model: Any, learner: PolicyLearner) -> Tensor:
        """Give the penalty (B,)."""
        state = model.initial(transition.obs)
        _, pred = candidates_of(model, state, transition.action, self._num, generator=None)
        goes_on = (~pred.terminated).to(transition.reward.dtype)
        value = self._discount * goes_on * learner.value(pred.next_obs)
        return self._scale * value.view(self._num, -1).std(0, correction=0)
