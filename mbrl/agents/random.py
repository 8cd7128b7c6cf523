"""The agent that every other one must beat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.nn.generators import restore
from mbrl.roles import Agent, EnvState
from mbrl.types import ActionSpec


class Random(Agent):
    """Act uniformly at random, in evaluation too.

    Args:
        action: the actions to draw from.
        generator: source of the draws; evaluation has its own, seeded apart.
    """

    def __init__(self, *, action: ActionSpec, generator: torch.Generator):
        """Seed the generator of evaluation."""
        self._action = action
        self._generator = generator
        self._eval_generator = torch.Generator(generator.device).manual_seed(
            generator.initial_seed() ^ 1
        )

    def act(self, obs: Tensor, *, explore: bool, env_state: EnvState | None = None) -> Tensor:
        """Draw actions (E, act_dim)."""
        generator = self._generator if explore else self._eval_generator
        return self._action.sample(obs.shape[0], generator=generator)

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Learn nothing."""
        return {}

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Forget nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Give the generators' states."""
        return {
            "generator": self._generator.get_state(),
            "eval_generator": self._eval_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take the generators' states back."""
        restore(self._generator, state["generator"])
        restore(self._eval_generator, state["eval_generator"])
