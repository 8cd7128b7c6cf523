"""The objective of planners: the return of an action sequence in a model."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mbrl.errors import BadInput, NumericalFault
from mbrl.imagination.rollout import rollout
from mbrl.roles import HasTerminalValue, Model, has_ability
from mbrl.types import ActionSpec, State


class Objective:
    """Objective of planners: returns of action sequences in a model, averaged over particles.

    Args:
        action: the environment's actions.
        num_particles: model rows per candidate, over which returns are averaged.
        action_hold: environment steps for which each action is held.
        discount: per environment step.
        risk: share of the worst particles that count; None for all of them.
        terminal_value: value (B,) of the last observations (B, obs_dim); None for the model's own,
            if it has one.

    Raises:
        BadInput: if risk is set with one particle.
    """

    def __init__(
        self,
        action: ActionSpec,
        num_particles: int = 1,
        action_hold: int = 1,
        discount: float = 1.0,
        risk: float | None = None,
        terminal_value: Callable[[Tensor], Tensor] | None = None,
    ):
        """Store the settings."""
        if risk is not None and num_particles == 1:
            raise BadInput(f"risk={risk}: should be null with num_particles=1, or more particles")
        self.action, self.risk = action, risk
        self.num_particles, self.action_hold = num_particles, action_hold
        self.discount = discount
        self.terminal_value = terminal_value

    def __call__(
        self,
        model: Model[State],
        state: State,
        candidates: Tensor,
        *,
        generator: torch.Generator | None,
        all_may_fail: bool = False,
    ) -> Tensor:
        """Compute the returns (E, K) of candidates (E, K, H, A), in environment units.

        A return of -inf rules a candidate out.

        Args:
            model: the model.
            state: its state, num_particles rows for each of E environments.
            candidates: action sequences (E, K, H, A).
            generator: source of the model's noise.
            all_may_fail: whether all candidates of an environment may be ruled out.

        Raises:
            NumericalFault: if a return is NaN or inf, or if all of several are -inf.
        """
        terminal_value, part = self.terminal_value, model
        if terminal_value is None and has_ability(part, HasTerminalValue):
            terminal_value = part.terminal_value
        value = rollout(
            model,
            state,
            candidates,
            num_particles=self.num_particles,
            risk=self.risk,
            generator=generator,
            discount=self.discount,
            hold=self.action_hold,
            terminal_value=terminal_value,
        ).value
        if not math.isfinite(value.detach().sum()):  # one synchronization for all of them
            _check_returns(value, all_may_fail)
        return value.to(candidates.dtype)  # a model may compute in float64

    def num_envs(self, state: object) -> int:
        """Return the number of environments of a model's state."""
        leaf = state
        while isinstance(leaf, tuple):
            leaf = leaf[0]
        assert isinstance(leaf, Tensor)
        return leaf.shape[0] // self.num_particles


def _check_returns(returns: Tensor, all_may_fail: bool) -> None:
    """Raise a NumericalFault that names the environment whose returns (E, K) are no use."""
    is_wrong = torch.isnan(returns) | torch.isposinf(returns)
    for index, row in enumerate(returns):
        if is_wrong[index].any():
            what = "NaN" if torch.isnan(row).any() else "inf"
            raise NumericalFault(f"environment {index}: the model gave a plan a return of {what}")
        if row.shape[0] > 1 and not all_may_fail and torch.isneginf(row).all():
            raise NumericalFault(f"environment {index}: the model gave every plan a return of -inf")
