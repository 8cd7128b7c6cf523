"""Action hold: each decision is executed for several environment steps."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from mbrl.types import where_rows


@final
class ActionHold:
    """Actions that E environments are holding, with a counter for each environment.

    Args:
        num_steps: environment steps for which an action is held.

    Attributes:
        action: the actions being held (E, act_dim); None before the first decision.
    """

    def __init__(self, num_steps: int):
        """Start without an action."""
        self._num_steps = num_steps
        self.action: Tensor | None = None
        self._left: Tensor | None = None  # (E,) steps for which the action is still held

    @property
    def started(self) -> bool:
        """Return whether any action has been decided since the last full reset."""
        return self._left is not None

    def due(self, obs: Tensor) -> Tensor:
        """Return which environments decide now: (E,) bool, for their obs (E, obs_dim)."""
        if self._left is None or self._left.shape[0] != obs.shape[0]:
            self._left = torch.zeros(obs.shape[0], dtype=torch.int64, device=obs.device)
            self.action = None
        self._left = self._left.to(obs.device)  # a loaded one is on the CPU
        return self._left == 0

    def decide(self, action: Tensor, due: Tensor, num_steps: int | None = None) -> None:
        """Update the held actions.

        Args:
            action: new actions (E, act_dim).
            due: environments that take the new action (E,) bool; the others keep theirs.
            num_steps: steps for which the new actions are held; None for the constructor's.
        """
        assert self._left is not None
        old = self.action
        self.action = action if old is None else where_rows(due, action, old.to(action.device))
        self._left = torch.where(due, num_steps or self._num_steps, self._left)

    def take(self) -> Tensor:
        """Return the actions of this step (E, act_dim) and count the step."""
        assert self._left is not None and self.action is not None
        self._left = self._left - 1
        return self.action

    def __call__(self, action: Tensor) -> Tensor:
        """Return the actions of this step (E, act_dim): action where one is due, else the held."""
        if self._num_steps == 1:
            return action
        self.decide(action, self.due(action))
        return self.take()

    def reset(self, done: Tensor | None = None) -> None:
        """Make the environments in done (E,) bool decide at the next step; None = all of them."""
        if done is None:
            self.action = self._left = None
        elif self._left is not None:
            self._left = torch.where(done, 0, self._left)

    def state_dict(self) -> dict[str, Any]:
        """Return the held actions and the counters."""
        return {"action": self.action, "left": self._left}

    def load_state_dict(self, state: dict[str, Any], act_dim: int) -> None:
        """Restore a state_dict.

        Args:
            state: of any number of environments.
            act_dim: numbers of an action.

        Raises:
            ValueError: if the actions have another length, or no counter each.
        """
        action, left = state["action"], state["left"]
        if action is not None and (left is None or action.shape != (len(left), act_dim)):
            raise ValueError(f"held actions {tuple(action.shape)} do not fit (E, {act_dim})")
        self.action, self._left = action, left
