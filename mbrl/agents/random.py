"""Uniform random actions: the baseline that every other agent should beat."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.nn.generators import as_generator, restore
from mbrl.roles import Agent
from mbrl.types import ActionSpec


@final
class Random(Agent):
    """Agent that acts uniformly at random, in evaluation too.

    Args:
        action: the actions to draw from.
        generator: source of the draws; an evaluation has its own, with another seed.
    """

    def __init__(self, *, action: ActionSpec, generator: torch.Generator | int):
        """Seed the generator of evaluation."""
        generator = as_generator(generator, action.low.device)
        self._action, self.device = action, action.low.device
        self._generator = generator
        self._eval_generator = torch.Generator(generator.device).manual_seed(
            generator.initial_seed() ^ 1
        )

    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Sample actions (E, act_dim)."""
        generator = self._generator if explore else self._eval_generator
        return self._action.sample(obs.shape[0], generator=generator)

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Do nothing: there is nothing to learn."""
        return {}

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Do nothing: there is no episode memory."""

    def state_dict(self) -> dict[str, Any]:
        """Return the generators' states."""
        return {
            "generator": self._generator.get_state(),
            "eval_generator": self._eval_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        restore(self._generator, state["generator"])
        restore(self._eval_generator, state["eval_generator"])
