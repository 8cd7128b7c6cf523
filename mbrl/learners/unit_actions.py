"""Actions in the units of a policy: [-1, 1] in each component that can move."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.types import ActionSpec


@final
class UnitActions:
    """Conversion between an environment's actions and those of a policy.

    A component whose bounds are equal has one value. It is no part of the policy's actions, and has
    neither an entropy nor an effect on a critic.

    Args:
        action: the environment's actions, continuous and bounded.
        device: of the tensors.

    Attributes:
        dim: components that can move.
        act_dim: all components.

    Raises:
        BadInput: if the actions are discrete or unbounded, or no component can move.
    """

    def __init__(self, action: ActionSpec, device: torch.device | str):
        """Find the components that can move."""
        if action.kind != "continuous" or not torch.isfinite(action.high - action.low).all():
            raise BadInput(
                "action: discrete or without finite bounds; this learner takes continuous actions "
                "with finite bounds"
            )
        low, high = action.low.to(device), action.high.to(device)
        middle, half = (high + low) / 2, (high - low) / 2
        self._free = torch.nonzero(half > 0)[:, 0]
        self.dim, self.act_dim = len(self._free), action.dim
        if not self.dim:
            raise BadInput(
                f"action: low={low.tolist()} is high in every component; one should be able to move"
            )
        self._all = self.dim == action.dim
        self._low, self._high = low, high
        self._middle, self._half = middle[self._free], half[self._free]

    def __eq__(self, other: object) -> bool:
        """Return whether the bounds are the same."""
        return (
            isinstance(other, UnitActions)
            and self._low.equal(other._low)
            and self._high.equal(other._high)
        )

    def from_env(self, action: Tensor) -> Tensor:
        """Return a policy's actions (..., dim) for an environment's (..., act_dim)."""
        return (self.select(action) - self._middle) / self._half

    def to_env(self, action: Tensor) -> Tensor:
        """Return an environment's actions (..., act_dim), within the bounds, for (..., dim)."""
        return self.complete(self._middle + self._half * action)

    def select(self, action: Tensor) -> Tensor:
        """Return the components (..., dim) of actions (..., act_dim) that can move."""
        return action if self._all else action[..., self._free]

    def complete(self, moved: Tensor) -> Tensor:
        """Return actions (..., act_dim), within the bounds, of the components that can move.

        Args:
            moved: (..., dim) in environment units.
        """
        if not self._all:
            fixed = self._low.expand(*moved.shape[:-1], -1)
            moved = fixed.index_copy(fixed.dim() - 1, self._free, moved)
        return torch.minimum(torch.maximum(moved, self._low), self._high)

    def spec(self) -> ActionSpec:
        """Return the components that can move, as an environment's actions."""
        return ActionSpec("continuous", self._low[self._free], self._high[self._free])
