"""Roles of dynamics rewards: high where (obs, action, next_obs) looks like the data.

    DynamicsReward         scores the candidates of each (obs, action) against each other
    LearnedDynamicsReward  also rewards single transitions, which a threshold can be compared with
    PointwiseReward        scores each candidate by its own reward alone

Scores are compared at one (obs, action): only their order among its candidates matters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol, final, runtime_checkable

import torch
from torch import Tensor, nn

from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.nn.normalizer import size
from mbrl.roles import Dynamics
from mbrl.types import Transitions


class Candidates(NamedTuple):
    """Successors that a filter chooses from: K of each of B rows."""

    next_obs: Tensor  # (K, B, obs_dim)
    member_means: Tensor  # (M, B, obs_dim) means of the ensemble's members


class DynamicsReward(nn.Module, ABC):
    """Scores of candidate transitions.

    Attributes:
        needs_holdout_ensemble: whether fit asks for a tail-holdout ensemble.
        needs_member_means: whether score reads the members' means.
    """

    needs_holdout_ensemble: bool = False
    needs_member_means: bool = True

    @abstractmethod
    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Fit to transitions.

        Args:
            data: transitions (B, ...).
            model: fitted to data; its predictions are to be told apart from them.
            holdout_ensemble: fitted to data, for rewards that need it.
            generator: source of every random draw.

        Returns:
            Metrics.
        """

    @abstractmethod
    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the scores (K, B) of candidates of obs (B, obs_dim), action (B, act_dim).

        Args:
            obs: (B, obs_dim).
            action: (B, act_dim).
            candidates: K successors of each row.
            generator: source of random draws; without one nothing is drawn.
        """


@runtime_checkable
class RewardsTransitions(Protocol):
    """Ability to reward single transitions."""

    @property
    def scores_are_rewards(self) -> bool:
        """Return whether score returns these rewards, or something else."""
        ...

    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return the rewards (N,) of obs (N, obs_dim), action (N, act_dim), next_obs (N, ...)."""
        ...


class LearnedDynamicsReward(DynamicsReward):
    """Dynamics reward of single transitions; satisfies RewardsTransitions.

    Attributes:
        scores_are_rewards: whether score returns these rewards, or something else.
    """

    needs_member_means = False
    scores_are_rewards: bool = True

    @abstractmethod
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return the rewards (N,) of obs (N, obs_dim), action (N, act_dim), next_obs (N, ...)."""


class PointwiseReward(LearnedDynamicsReward):
    """Dynamics reward that scores each candidate by its own reward alone."""

    @final
    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the reward of every candidate (K, B); see DynamicsReward.score."""
        return reward_candidates(self, obs, action, candidates)


def reward_candidates(
    dynamics_reward: RewardsTransitions, obs: Tensor, action: Tensor, candidates: Candidates
) -> Tensor:
    """Return the reward of every candidate of obs (B, obs_dim), action (B, act_dim): (K, B)."""
    count = candidates.next_obs.shape[0]
    next_obs = candidates.next_obs.flatten(0, 1)
    rewards = dynamics_reward.reward(obs.repeat(count, 1), action.repeat(count, 1), next_obs)
    return rewards.view(count, -1)


def transition_size(data: Transitions) -> Tensor:
    """Return the size (2 obs_dim + act_dim,) of the numbers of [obs, action, change]; see spread.

    Args:
        data: transitions (B, ...).
    """
    obs = size(data.obs)
    return torch.cat([obs, size(data.action), obs])
