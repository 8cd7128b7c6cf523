"""Dynamics rewards to compare with: four that learn next to nothing, and the best choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from mbrl.dynamics.transition_filter.base import Candidates, DynamicsReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.nn.normalizer import change_spread, divisor, size, spread
from mbrl.roles import Dynamics
from mbrl.types import Transitions
from mbrl.values import Count, checked


class _ChangeScale(nn.Module):
    """Distances in standard deviations of the change of obs."""

    std: Tensor  # (obs_dim,)

    def __init__(self, obs_dim: int):
        """Initialize to deviations of 1."""
        super().__init__()
        self.register_buffer("std", torch.ones(obs_dim))

    def fit(self, data: Transitions) -> None:
        """Estimate the standard deviations from transitions (B, ...)."""
        self.std.copy_(change_spread(data.obs, data.next_obs))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the root mean square difference (...) of a (..., obs_dim) and b (..., obs_dim)."""
        return ((a - b) / divisor(self.std)).square().mean(-1).sqrt()


@final
class RandomReward(DynamicsReward):
    """Random choice: of plain candidates, a random elite as in Janner et al. 2019 (MBPO).

    Args:
        obs_dim: length of an observation.
    """

    needs_member_means = False

    @checked
    def __init__(self, obs_dim: Count):
        """Initialize without state."""
        super().__init__()

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Return no metrics: nothing is learned from data (B, ...)."""
        return {}

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw scores (K, B); without a generator the first candidate wins."""
        shape = candidates.next_obs.shape[:2]
        if generator is None:
            falling = -torch.arange(shape[0], dtype=obs.dtype, device=obs.device)
            return falling[:, None].expand(shape)
        return torch.rand(shape, generator=generator, device=generator.device)


@final
class EnsembleMeanReward(DynamicsReward):
    """Closeness to the mean of the members' means.

    Args:
        obs_dim: length of an observation.
    """

    @checked
    def __init__(self, obs_dim: Count):
        """Initialize the scale of a change to 1."""
        super().__init__()
        self.scale = _ChangeScale(obs_dim)

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Estimate the scale of a change; see DynamicsReward.fit."""
        self.scale.fit(data)
        return {}

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return minus the distance from the mean (K, B); see DynamicsReward.score."""
        return -self.scale.distance(candidates.next_obs, candidates.member_means.mean(0))


@final
class ConsensusReward(DynamicsReward):
    """Closeness to most members' means: the median of the distances.

    Args:
        obs_dim: length of an observation.
    """

    @checked
    def __init__(self, obs_dim: Count):
        """Initialize the scale of a change to 1."""
        super().__init__()
        self.scale = _ChangeScale(obs_dim)

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Estimate the scale of a change; see DynamicsReward.fit."""
        self.scale.fit(data)
        return {}

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return minus the median distance from the members (K, B); see DynamicsReward.score."""
        distances = self.scale.distance(
            candidates.next_obs[:, None], candidates.member_means[None]
        )  # (K, M, B)
        return -distances.median(1).values


@final
class MixtureLikelihoodReward(DynamicsReward):
    """Likelihood under the mixture of Gaussians around the members' means.

    Args:
        obs_dim: length of an observation.
    """

    noise: Tensor  # (obs_dim,) standard deviation of the mean model's errors

    @checked
    def __init__(self, obs_dim: Count):
        """Initialize the noise to 1."""
        super().__init__()
        self.register_buffer("noise", torch.ones(obs_dim))

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Estimate the noise from the model's errors on data; see DynamicsReward.fit."""
        with torch.no_grad():
            prediction = model.step(model.initial(data.obs), data.action)[1]
        errors = prediction.next_obs - data.next_obs
        self.noise.copy_(spread(errors, of=size(data.obs)))
        return {}

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return log densities of the mixture (K, B), up to a constant."""
        errors = candidates.next_obs[:, None] - candidates.member_means[None]
        return torch.logsumexp(-0.5 * (errors / divisor(self.noise)).square().sum(-1), 1)


@final
class OracleReward(DynamicsReward):
    """Closeness to the true successor: no reward chooses better among the same candidates.

    Args:
        obs_dim: length of an observation.
        truth: (obs, action) -> next_obs, the true environment.
    """

    @checked
    def __init__(self, obs_dim: Count, truth: Callable[[Tensor, Tensor], Tensor]):
        """Initialize the scale of a change to 1."""
        super().__init__()
        self.scale = _ChangeScale(obs_dim)
        self._truth = truth

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Estimate the scale of a change; see DynamicsReward.fit."""
        self.scale.fit(data)
        return {}

    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return minus the distance from the truth (K, B); see DynamicsReward.score."""
        return -self.scale.distance(candidates.next_obs, self._truth(obs, action))
