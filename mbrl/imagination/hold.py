"""Hold each action for several steps: fewer, longer decisions, counted apart per environment."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ActionHold:
    """Replace actions by those decided on up to num - 1 steps before.

    Args:
        num: environment steps for which an action is held.
    """

    def __init__(self, num: int):
        """Hold nothing yet."""
        self._num = num
        self._held: Tensor | None = None  # (E, act_dim)
        self._age: Tensor | None = None  # (E,) steps since it was decided

    def __call__(self, action: Tensor) -> Tensor:
        """Give what is to be done now (E, act_dim), given what would be decided now."""
        if self._num == 1:
            return action
        held, age = self._held, self._age
        if held is None or age is None or held.shape != action.shape:
            held, age = action, torch.zeros_like(action[:, 0], dtype=torch.int64)
        held, age = held.to(action.device), age.to(action.device)  # a loaded one is on the CPU
        held = torch.where((age == 0)[:, None], action, held)
        self._held, self._age = held, (age + 1) % self._num
        return held

    def reset(self, done: Tensor | None = None) -> None:
        """Decide anew in the environments in done (E,) bool; None = in all."""
        if done is None:
            self._held = self._age = None
        elif self._age is not None:
            self._age = torch.where(done, 0, self._age)

    def state_dict(self) -> dict[str, Any]:
        """Give what is held."""
        return {"held": self._held, "age": self._age}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        self._held, self._age = state["held"], state["age"]
