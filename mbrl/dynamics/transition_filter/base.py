"""The role of a judge: a dynamics reward, high where (obs, action, next_obs) looks like the data.

Baselines that need no learning stand here too. Scores are compared at one (obs, action): only their
order among its candidates matters, except where a filter's threshold is calibrated on them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.roles import Dynamics
from mbrl.types import Transitions


class Candidates(NamedTuple):
    """What a filter chooses from: K successors of each of B rows."""

    next_obs: Tensor  # (K, B, obs_dim)
    means: Tensor  # (M, B, obs_dim) the members' means, for judges that look at their spread


class DynamicsReward(nn.Module, ABC):
    """Score transitions.

    Attributes:
        needs_edges: whether fit must be given edge members.
        needs_means: whether score looks at the members' means.
    """

    needs_edges: bool = False
    needs_means: bool = True

    @abstractmethod
    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Learn what transitions look like.

        Args:
            data: transitions (B, ...).
            model: fitted to data; its predictions are what is to be told from them.
            edges: networks that never saw one edge of the data, for judges that need them.
            generator: source of every random draw.
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
        """Score candidates of obs (B, obs_dim) and action (B, act_dim): (K, B), high is good."""


class LearnedDynamicsReward(DynamicsReward):
    """Score each transition by itself.

    Attributes:
        scores_rewards: whether scores are the rewards, and not something of the same order.
    """

    needs_means = False
    scores_rewards: bool = True

    @abstractmethod
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Give the reward (N,) of obs (N, obs_dim), action (N, act_dim), next_obs (N, obs_dim)."""

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Score every candidate; see DynamicsReward.score."""
        count = candidates.next_obs.shape[0]
        after = candidates.next_obs.flatten(0, 1)
        return self.reward(obs.repeat(count, 1), action.repeat(count, 1), after).view(count, -1)


class Baseline(DynamicsReward):
    """Choose without having learned anything.

    Args:
        obs_dim: length of an observation.
    """

    scale: Tensor  # (obs_dim,) standard deviation of a change

    def __init__(self, obs_dim: int):
        """Begin with changes of size 1."""
        super().__init__()
        self.register_buffer("scale", torch.ones(obs_dim))

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Learn nothing; take the scale of a change."""
        self.scale.copy_((data.next_obs - data.obs).std(0, correction=0).clamp(min=1e-6))
        return {}

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Measure how far a (..., obs_dim) is from b in standard deviations of a change."""
        return ((a - b) / self.scale).square().mean(-1).sqrt()


class RandomPick(Baseline):
    """Pick any candidate: with the plain pool a random elite, as MBPO does."""

    needs_means = False

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw scores; without a generator the first candidate wins."""
        shape = candidates.next_obs.shape[:2]
        if generator is None:
            return -torch.arange(shape[0], dtype=obs.dtype, device=obs.device)[:, None].expand(
                shape
            )
        return torch.rand(shape, generator=generator, device=generator.device)


class EnsembleMean(Baseline):
    """Pick what is nearest to the mean of the members' means."""

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Score by closeness to the mean."""
        return -self._distance(candidates.next_obs, candidates.means.mean(0))


class Consensus(Baseline):
    """Pick the candidate with the least median distance to the members' means."""

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Score by closeness to most members."""
        apart = self._distance(candidates.next_obs[:, None], candidates.means[None])
        return -apart.median(1).values


class MixtureLikelihood(Baseline):
    """Pick what the mixture of the members' Gaussians thinks likeliest.

    Args:
        obs_dim: length of an observation.
    """

    noise: Tensor  # (obs_dim,) standard deviation of the mean model's errors

    def __init__(self, obs_dim: int):
        """Begin with noise of size 1."""
        super().__init__(obs_dim)
        self.register_buffer("noise", torch.ones(obs_dim))

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Take the noise from the members' errors on the data: one number an observation."""
        super().fit(data, model, edges=edges, generator=generator)
        with torch.no_grad():
            state = model.initial(data.obs)
            pred = model.step(state, data.action)[1]
        self.noise.copy_((pred.next_obs - data.next_obs).std(0, correction=0).clamp(min=1e-6))
        return {}

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Score by the log density of the mixture."""
        apart = (candidates.next_obs[:, None] - candidates.means[None]) / self.noise
        return torch.logsumexp(-0.5 * apart.square().sum(-1), 1)


class Oracle(Baseline):
    """Pick what is nearest to the truth: what no judge can beat, given a pool.

    Args:
        obs_dim: length of an observation.
        truth: (obs, action) -> next_obs, the true environment.
    """

    def __init__(self, obs_dim: int, truth: Callable[[Tensor, Tensor], Tensor]):
        """Take the truth."""
        super().__init__(obs_dim)
        self._truth = truth

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Score by closeness to the truth."""
        return -self._distance(candidates.next_obs, self._truth(obs, action))
