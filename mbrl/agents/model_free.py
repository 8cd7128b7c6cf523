"""Model-free agent: a policy learner on real transitions only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.nn.generators import as_generator, restore
from mbrl.roles import Agent, PolicyLearner, stack_parts
from mbrl.types import ActionSpec
from mbrl.values import Count, Positive, checked


@final
class ModelFree(Agent):
    """Off-policy agent without a model: a learner and the replay buffer.

    Args:
        action: the environment's actions.
        learner: the policy and how it learns.
        generator: source of the actions' randomness.
        learning_starts: transitions of uniform random actions before learning begins.
        updates_per_step: learner updates per transition; below 1 with many environments, where a
            step of all of them brings many transitions.
    """

    @checked
    def __init__(
        self,
        *,
        action: ActionSpec,
        learner: PolicyLearner,
        generator: torch.Generator | int,
        learning_starts: Count = 1000,
        updates_per_step: Positive = 1,
    ):
        """Store the parts."""
        generator = as_generator(generator, action.low.device)
        self._action = action
        self.learner = learner
        self._generator = generator
        self._learning_starts = learning_starts
        self._updates_per_step = updates_per_step
        self._num_transitions = 0  # so far

    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Return actions (E, act_dim); uniform random ones before learning begins."""
        if explore and self._num_transitions < self._learning_starts:
            return self._action.sample(obs.shape[0], generator=self._generator)
        return self.learner.select(obs, generator=self._generator, deterministic=not explore)

    def update(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Update the policy updates_per_step times for each new transition."""
        num_updates = self._count(buffer)
        return self.learner.improve(buffer, num_updates=num_updates) if num_updates else {}

    def _count(self, buffer: ReplayBuffer) -> int:
        """Count the new transitions; return the updates due, 0 before learning begins."""
        before, self._num_transitions = self._num_transitions, buffer.num_added
        if self._num_transitions < self._learning_starts:
            return 0
        rate = self._updates_per_step
        return int(rate * self._num_transitions) - int(rate * before)

    @staticmethod
    def stack(parts: Sequence[ModelFree]) -> ModelFreeStack:
        """Return agents that differ in their seeds as one; see Stacks."""
        return ModelFreeStack(parts)

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Do nothing: a policy has no episode memory."""

    def state_dict(self) -> dict[str, Any]:
        """Return learner, generator and counter."""
        return {
            "learner": self.learner.state_dict(),
            "generator": self._generator.get_state(),
            "seen": self._num_transitions,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self.learner.load_state_dict(state["learner"])
        restore(self._generator, state["generator"])
        self._num_transitions = state["seen"]


@final
class ModelFreeStack:
    """Model-free agents of several seeds that learn as one batch.

    Args:
        agents: of one seed each.

    Raises:
        BadInput: if their learners cannot.
    """

    def __init__(self, agents: Sequence[ModelFree]):
        """Stack the learners."""
        self._agents = agents
        self._learner = stack_parts("learner", [agent.learner for agent in agents])

    def act(self, obs: Sequence[Tensor]) -> list[Tensor]:
        """Return actions (E, act_dim) of each agent; see AgentStack."""
        agents, first = self._agents, self._agents[0]
        if first._num_transitions < first._learning_starts:
            return [a.act(rows, explore=True) for a, rows in zip(agents, obs, strict=True)]
        return self._learner.select(obs, generators=[agent._generator for agent in agents])

    def update(self, buffers: Sequence[ReplayBuffer]) -> list[dict[str, float]]:
        """Update all policies; see AgentStack."""
        due = [agent._count(buffer) for agent, buffer in zip(self._agents, buffers, strict=True)]
        return self._learner.improve(buffers, [None] * len(buffers), num_updates=due[0])
