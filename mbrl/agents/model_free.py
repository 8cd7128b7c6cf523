"""The model-free agent: a policy learner fed with real transitions only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.nn.generators import restore
from mbrl.roles import Agent, EnvState, PolicyLearner
from mbrl.types import ActionSpec


class ModelFree(Agent):
    """Act with the learner's policy and let it learn from replay.

    Args:
        action: the environment's actions.
        learner: the policy and how it learns.
        generator: source of the actions' randomness.
        learning_starts: transitions of uniform random actions before learning begins.
        updates_per_step: learner updates per transition.
    """

    def __init__(
        self,
        *,
        action: ActionSpec,
        learner: PolicyLearner,
        generator: torch.Generator,
        learning_starts: int = 1000,
        updates_per_step: int = 1,
    ):
        """Take the parts."""
        self._action = action
        self.learner = learner
        self._generator = generator
        self._learning_starts = learning_starts
        self._updates_per_step = updates_per_step
        self._seen = 0  # transitions learned from

    def act(self, obs: Tensor, *, explore: bool, env_state: EnvState | None = None) -> Tensor:
        """Choose actions (E, act_dim), random ones before learning starts."""
        if explore and self._seen < self._learning_starts:
            return self._action.sample(obs.shape[0], generator=self._generator)
        return self.learner.select(obs, generator=self._generator, deterministic=not explore)

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Take updates_per_step updates for each new transition."""
        new = buffer.num_added - self._seen
        self._seen = buffer.num_added
        if self._seen < self._learning_starts:
            return {}
        return self.learner.improve(buffer, num_updates=self._updates_per_step * new)

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Forget nothing: the policy has no memory."""

    def state_dict(self) -> dict[str, Any]:
        """Give learner, generator and count."""
        return {
            "learner": self.learner.state_dict(),
            "generator": self._generator.get_state(),
            "seen": self._seen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take learner, generator and count back."""
        self.learner.load_state_dict(state["learner"])
        restore(self._generator, state["generator"])
        self._seen = state["seen"]
