"""The offline agents: a policy learned from a dataset, with or without a model of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.imagination.branched_rollouts import BranchedRollouts
from mbrl.nn.generators import restore
from mbrl.roles import Dynamics, EnvState, OfflineAgent, Penalty, PolicyLearner


class Offline(OfflineAgent):
    """Let a learner improve on the dataset alone: behaviour cloning, TD3+BC, IQL, SAC.

    Args:
        learner: the policy and how it learns.
        generator: source of the actions' randomness.
    """

    def __init__(self, *, learner: PolicyLearner, generator: torch.Generator):
        """Take the parts."""
        self.learner = learner
        self._generator = generator

    def act(self, obs: Tensor, *, explore: bool, env_state: EnvState | None = None) -> Tensor:
        """Choose the policy's actions (E, act_dim)."""
        return self.learner.select(obs, generator=self._generator, deterministic=not explore)

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Forget nothing: the policy has no memory."""

    def fit(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Do nothing: there is no model."""
        return {}

    def learn(self, buffer: ReplayBuffer, num_updates: int) -> dict[str, float]:
        """Take num_updates updates on the dataset."""
        return self.learner.improve(buffer, num_updates=num_updates)

    def state_dict(self) -> dict[str, Any]:
        """Give learner and generator."""
        return {"learner": self.learner.state_dict(), "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take learner and generator back."""
        self.learner.load_state_dict(state["learner"])
        restore(self._generator, state["generator"])


class OfflineDyna(OfflineAgent):
    """Fit a model to the dataset, then learn from it and from rollouts in the model.

    MOPO (Yu et al. 2020) charges for uncertainty, MOBILE (Sun et al. 2023) for inconsistent values,
    COMBO (Yu et al. 2021) has a conservative critic, MOREC (Luo et al. 2024) filters the model.

    Args:
        dynamics: the model, fitted once.
        learner: the policy and how it learns.
        generator: source of the agent's randomness.
        penalty: taken off imagined rewards; None for nothing.
        num_rollouts: imagined rollouts of a branching, from observations of the dataset.
        rollout_length: steps of each, at most.
        rollout_interval: updates between branchings.
        retain_rollouts: branchings whose rows are kept.
        drop_invalid: leave out imagined steps that the model does not stand by; by default they are
            learned from, truncated.

    Raises:
        BadInput: if the dynamics are a simulator.
    """

    def __init__(
        self,
        *,
        dynamics: Dynamics,
        learner: PolicyLearner,
        generator: torch.Generator,
        penalty: Penalty | None = None,
        num_rollouts: int = 50_000,
        rollout_length: int = 5,
        rollout_interval: int = 1000,
        retain_rollouts: int = 5,
        drop_invalid: bool = False,
    ):
        """Take the parts."""
        if not dynamics.learned:
            raise BadInput("dynamics=simulator: an offline agent learns its model; choose ensemble")
        self.dynamics = dynamics
        self.learner = learner
        self._generator = generator
        self._rollout_length = rollout_length
        self._rollout_interval = rollout_interval
        self._updates = 0  # so far
        self.imagination = BranchedRollouts(
            dynamics,
            learner,
            learner,
            penalty=penalty,
            num_rollouts=num_rollouts,
            retain=retain_rollouts,
            drop_invalid=drop_invalid,
            generator=generator,
        )

    def act(self, obs: Tensor, *, explore: bool, env_state: EnvState | None = None) -> Tensor:
        """Choose the policy's actions (E, act_dim)."""
        return self.learner.select(obs, generator=self._generator, deterministic=not explore)

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Forget nothing: the policy has no memory."""

    def fit(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Fit the model to the dataset."""
        return self.dynamics.fit(buffer.all(), generator=self._generator)

    def learn(self, buffer: ReplayBuffer, num_updates: int) -> dict[str, float]:
        """Take num_updates updates on both buffers; branch off rollouts when they are due."""
        metrics: dict[str, float] = {}
        end = self._updates + num_updates
        while self._updates < end:
            if self._updates % self._rollout_interval == 0:
                metrics |= self.imagination.branch(buffer, self._rollout_length)
            due = self._rollout_interval - self._updates % self._rollout_interval
            taken = min(due, end - self._updates)
            imagined = self.imagination.buffer
            metrics |= self.learner.improve(buffer, imagined, num_updates=taken)
            self._updates += taken
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Give model, learner, imagined rows, generator and count."""
        return {
            "dynamics": self.dynamics.state_dict(),
            "learner": self.learner.state_dict(),
            "imagined": self.imagination.state_dict(),
            "generator": self._generator.get_state(),
            "updates": self._updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take everything back."""
        self.dynamics.load_state_dict(state["dynamics"])
        self.learner.load_state_dict(state["learner"])
        self.imagination.load_state_dict(state["imagined"])
        restore(self._generator, state["generator"])
        self._updates = state["updates"]
