"""The objective of planners: the return of an action sequence in a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mbrl.errors import NumericalFault
from mbrl.imagination.rollout import rollout
from mbrl.types import ActionSpec


class Objective:
    """Score action sequences.

    Args:
        action: the environment's actions.
        num_particles: imagined rows per candidate.
        action_hold: environment steps for which each action is held.
        discount: per environment step.
        terminal_value: what the last obs (B, obs_dim) are worth (B,); by default the model's own
            terminal_value, where it has one.
    """

    def __init__(
        self,
        action: ActionSpec,
        num_particles: int = 1,
        action_hold: int = 1,
        discount: float = 1.0,
        terminal_value: Callable[[Tensor], Tensor] | None = None,
    ):
        """Keep the settings."""
        self.action = action
        self.num_particles, self.action_hold = num_particles, action_hold
        self.discount = discount
        self.terminal_value = terminal_value

    def __call__(
        self,
        model: Any,
        state: Any,
        candidates: Tensor,
        *,
        generator: torch.Generator | None,
        all_may_fail: bool = False,
    ) -> Tensor:
        """Give the returns (E, K) of candidates (E, K, H, A), in environment units.

        A return of -inf rules a candidate out; all_may_fail says that all of several may be.

        Raises:
            NumericalFault: if one is a NaN or inf, or if all of several are ruled out.
        """
        value = rollout(
            model,
            state,
            candidates,
            num_particles=self.num_particles,
            generator=generator,
            discount=self.discount,
            hold=self.action_hold,
            terminal_value=self.terminal_value or getattr(model, "terminal_value", None),
        ).value
        if not math.isfinite(value.detach().sum()):  # one look at all of them
            _name(value, all_may_fail)
        return value.to(candidates.dtype)  # a model may compute in float64

    def num_envs(self, state: Any) -> int:
        """Count the environments of a belief."""
        leaf = state
        while not isinstance(leaf, Tensor):
            leaf = leaf[0]
        return leaf.shape[0] // self.num_particles


def _name(value: Tensor, all_may_fail: bool) -> None:
    """Name the environment whose returns (E, K) cannot be planned with."""
    wrong = torch.isnan(value) | torch.isposinf(value)
    for index, row in enumerate(value):
        if wrong[index].any():
            what = "NaN" if torch.isnan(row).any() else "inf"
            raise NumericalFault(f"environment {index}: the model gave a plan a return of {what}")
        if row.shape[0] > 1 and not all_may_fail and torch.isneginf(row).all():
            raise NumericalFault(f"environment {index}: the model gave every plan a return of -inf")
