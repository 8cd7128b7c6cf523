"""Offline agents: a policy learned from a dataset, with or without a model of it."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput
from mbrl.imagination.branched_rollouts import BranchedRollouts
from mbrl.nn.early_stopping import holdout_episodes
from mbrl.nn.generators import as_generator, restore
from mbrl.roles import Dynamics, OfflineAgent, Penalty, PolicyLearner
from mbrl.types import Transitions
from mbrl.values import Count, Fraction, checked


@final
class Offline(OfflineAgent):
    """Model-free offline agent: a learner on a dataset (behavior cloning, TD3+BC, IQL, SAC).

    Args:
        learner: the policy and how it learns.
        generator: source of the actions' randomness.
    """

    def __init__(self, *, learner: PolicyLearner, generator: torch.Generator | int):
        """Store the parts."""
        generator = as_generator(generator)
        self.learner = learner
        self._generator = generator

    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Return the policy's actions (E, act_dim)."""
        return self.learner.select(obs, generator=self._generator, deterministic=not explore)

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Do nothing: a policy has no episode memory."""

    def fit(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Do nothing: there is no model."""
        return {}

    def learn(self, buffer: ReplayBuffer, num_updates: int) -> dict[str, float]:
        """Update the policy num_updates times with the dataset."""
        return self.learner.improve(buffer, num_updates=num_updates)

    def state_dict(self) -> dict[str, Any]:
        """Return learner and generator."""
        return {"learner": self.learner.state_dict(), "generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self.learner.load_state_dict(state["learner"])
        restore(self._generator, state["generator"])


@final
class OfflineDyna(OfflineAgent):
    """Model-based offline agent: a model of the dataset, and branched rollouts in it.

    MOPO (Yu et al. 2020) subtracts a penalty for uncertainty, MOBILE (Sun et al. 2023) one for
    inconsistent values; COMBO (Yu et al. 2021) has a conservative critic, MOREC (Luo et al. 2024)
    filters the model.

    Args:
        dynamics: the model, fitted once.
        learner: the policy and how it learns.
        generator: source of the agent's randomness.
        penalty: subtracted from the rewards of model rollouts; None for nothing.
        num_rollouts: model rollouts started at once, from states of the dataset.
        rollout_length: steps of a rollout that does not end before.
        rollout_interval: updates of the policy between two sets of rollouts.
        retain_rollouts: sets of rollouts that are kept.
        drop_invalid: leave out steps outside the model's validity region. By default they are
            learned from as truncated steps.
        holdout_episodes: share of the dataset's episodes to which the model is not fitted, so that
            a report can measure its error on them; the policy learns from all episodes.

    Raises:
        BadInput: if the dynamics are a simulator.
    """

    @checked
    def __init__(
        self,
        *,
        dynamics: Dynamics,
        learner: PolicyLearner,
        generator: torch.Generator | int,
        penalty: Penalty | None = None,
        num_rollouts: Count = 50_000,
        rollout_length: Count = 5,
        rollout_interval: Count = 1000,
        retain_rollouts: Count = 5,
        drop_invalid: bool = False,
        holdout_episodes: Fraction = 0.05,
    ):
        """Store the parts."""
        generator = as_generator(generator)
        if not dynamics.learned:
            raise BadInput(
                "dynamics: a simulator cannot be fitted to a dataset; choose a learned model"
            )
        self.dynamics = dynamics
        self.learner = learner
        self._generator = generator
        self._rollout_length = rollout_length
        self._rollout_interval = rollout_interval
        self._holdout_episodes = holdout_episodes
        self._updates = 0  # so far
        self.branched_rollouts = BranchedRollouts(
            dynamics,
            learner,
            learner,
            penalty=penalty,
            num_rollouts=num_rollouts,
            retain=retain_rollouts,
            drop_invalid=drop_invalid,
            generator=generator,
        )

    def act(self, obs: Tensor, *, explore: bool, env_state: Tensor | None = None) -> Tensor:
        """Return the policy's actions (E, act_dim)."""
        return self.learner.select(obs, generator=self._generator, deterministic=not explore)

    def reset(self, done: Tensor | None = None, *, explore: bool = True) -> None:
        """Do nothing: a policy has no episode memory."""

    def fit(self, buffer: ReplayBuffer) -> dict[str, float]:
        """Fit the model to the dataset, but for what is held out and for unknown successors.

        Raises:
            BadInput: if no successor is known.
        """
        data = buffer.recorded()
        if len(data.reward) == 0:
            raise BadInput("the dataset holds no step whose successor is known: no model of it")
        held = self.held_out(data)
        if held.any():
            data = data.select(~held)
        return self.dynamics.fit(data, generator=self._generator)

    def held_out(self, data: Transitions) -> Tensor:
        """Return the rows (B,) of the dataset to which the model is not fitted, bool."""
        return holdout_episodes(data.episode, self._holdout_episodes)

    def learn(self, buffer: ReplayBuffer, num_updates: int) -> dict[str, float]:
        """Update the policy num_updates times with dataset and rollouts; renew these when due."""
        metrics: dict[str, float] = {}
        end = self._updates + num_updates
        while self._updates < end:
            if self._updates % self._rollout_interval == 0:
                metrics |= self.branched_rollouts.generate(buffer, self._rollout_length)
            until_due = self._rollout_interval - self._updates % self._rollout_interval
            number = min(until_due, end - self._updates)
            imagined = self.branched_rollouts.buffer
            metrics |= self.learner.improve(buffer, imagined, num_updates=number)
            self._updates += number
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return model, learner, model rollouts, generator and counter."""
        return {
            "dynamics": self.dynamics.state_dict(),
            "learner": self.learner.state_dict(),
            "imagined": self.branched_rollouts.state_dict(),
            "generator": self._generator.get_state(),
            "updates": self._updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self.dynamics.load_state_dict(state["dynamics"])
        self.learner.load_state_dict(state["learner"])
        self.branched_rollouts.load_state_dict(state["imagined"])
        restore(self._generator, state["generator"])
        self._updates = state["updates"]
