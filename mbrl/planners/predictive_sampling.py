"""Predictive sampling: the best of the plan before and noisy copies of it."""

from __future__ import annotations

from typing import Annotated, final

import torch
from annotated_types import Ge
from torch import Tensor

from mbrl.planners.distributions import Distribution, initial_distribution
from mbrl.planners.sampling import Discount, Iteration, Risk, SamplingPlanner, Update, best
from mbrl.types import ActionSpec
from mbrl.values import Count, NonNegative, Positive, checked


@final
class PredictiveSampling(SamplingPlanner[Distribution]):
    """Predictive sampling: the plan is the best of the plan before and noisy copies of it.

    Howell et al. 2022, "Predictive Sampling: Real-time Behaviour Synthesis with MuJoCo". With more
    than one iteration, each one samples around the best candidate of the one before.

    Args:
        action: the environment's actions.
        horizon: decisions H.
        num_samples: noisy candidates per iteration.
        num_iterations: iterations of a plan that starts without a plan before.
        warm_iterations: iterations of a plan that starts from the plan before.
        color: exponent of the power spectrum of the noise over time: 0 white, 1 pink, 2 red.
        std: standard deviation of the noise, in units of half the range of the actions.
        num_particles: model rows per candidate, over which returns are averaged.
        risk: share of the worst particles, over which returns are averaged instead of all (the
            conditional value at risk); None for all.
        action_hold: environment steps for which each action is held.
        discount: per environment step.
    """

    @checked
    def __init__(
        self,
        *,
        action: ActionSpec,
        horizon: Count = 20,
        num_samples: Annotated[int, Ge(2)] = 100,
        num_iterations: Count = 1,
        warm_iterations: Count = 1,
        color: NonNegative = 2.0,
        std: Positive = 0.5,
        num_particles: Count = 1,
        risk: Risk | None = None,
        action_hold: Count = 1,
        discount: Discount = 1.0,
    ):
        """Store the settings."""
        super().__init__(
            action=action,
            horizon=horizon,
            num_iterations=num_iterations,
            warm_iterations=warm_iterations,
            num_particles=num_particles,
            risk=risk,
            action_hold=action_hold,
            discount=discount,
        )
        self._num_samples = num_samples
        self._color, self._std = color, std

    def start(self, num_envs: int) -> Distribution:
        """Return noise around the middle of the bounds, for E environments."""
        return initial_distribution(
            self.action, num_envs, self.horizon,
            std=self._std, color=self._color, adapt_std=False,
        )  # fmt: skip

    def propose(
        self, proposal: Distribution, iteration: Iteration, *, generator: torch.Generator
    ) -> Tensor:
        """Sample candidates (E, K, H, A) around the best sequence so far, which is one of them.

        A sequence of the plan before has no last action: both the one before it and a random
        one are tried.
        """
        mean = proposal.mean()[:, None]
        parts = [mean]
        if iteration.is_warm and iteration.index == 0:
            last = proposal.sample(1, generator=generator)[:, :, -1:]
            parts.insert(0, torch.cat([mean[:, :, :-1], last], 2))
        return torch.cat([proposal.sample(self._num_samples, generator=generator), *parts], 1)

    def update(
        self, proposal: Distribution, iteration: Iteration, candidates: Tensor, returns: Tensor
    ) -> Update[Distribution]:
        """Move to the best of candidates (E, K, H, A), by returns (E, K)."""
        winners, weights = best(candidates, returns, 1)
        return Update(proposal.fit(winners, weights, 0.0), winners[:, 0], returns.max(1).values)
