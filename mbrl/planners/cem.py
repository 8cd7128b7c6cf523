"""Cross-entropy method: sample, fit the distribution to the elites, repeat."""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from mbrl.planners.distributions import Distribution, initial_distribution
from mbrl.planners.sampling import (
    Discount,
    Iteration,
    Risk,
    SamplingPlanner,
    Update,
    best,
    default_elites,
)
from mbrl.types import ActionSpec
from mbrl.values import AtMost, Count, NonNegative, Positive, checked


@final
class CEM(SamplingPlanner[Distribution]):
    """Cross-entropy method: a distribution over action sequences is fitted to the best samples.

    Rubinstein 1999; Chua et al. 2018 (PETS) for its use with learned models. The plan is the mean
    of the last distribution or the best sample of the last iteration, whichever scores better:
    between two good sequences the mean can be a bad one.

    Args:
        action: the environment's actions.
        horizon: decisions H.
        num_samples: candidates K per iteration.
        num_elites: best candidates that the distribution is fitted to; None for a tenth of
            num_samples, at most 50.
        num_iterations: iterations of a plan that starts without a plan before.
        warm_iterations: iterations of a plan that starts from the plan before.
        momentum: weight of the old distribution in each fit.
        std: initial standard deviation, in units of half the range of the actions.
        shrink: factor on the standard deviation in each fit.
        min_std: smallest standard deviation, in the same units.
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
        num_samples: Annotated[int, Ge(2)] = 500,
        num_elites: Annotated[int, Ge(1), AtMost("num_samples")] | None = None,
        num_iterations: Count = 20,
        warm_iterations: Count = 5,
        momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
        std: Positive = 0.5,
        shrink: Annotated[float, Interval(gt=0, le=1)] = 0.95,
        min_std: NonNegative = 0.0,
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
        self._num_elites = num_elites or default_elites(num_samples)
        self._momentum = momentum
        self._spread: dict[str, Any] = {"std": std, "min_std": min_std, "shrink": shrink}

    def start(self, num_envs: int) -> Distribution:
        """Return the initial distribution of E environments."""
        return initial_distribution(self.action, num_envs, self.horizon, **self._spread)

    def propose(
        self, proposal: Distribution, iteration: Iteration, *, generator: torch.Generator
    ) -> Tensor:
        """Sample candidates (E, K, H, A)."""
        return proposal.sample(self._num_samples, generator=generator)

    def update(
        self, proposal: Distribution, iteration: Iteration, candidates: Tensor, returns: Tensor
    ) -> Update[Distribution]:
        """Fit the distribution to the elites of candidates (E, K, H, A), by returns (E, K)."""
        elites, weights = best(candidates, returns, self._num_elites)
        proposal = proposal.fit(elites, weights, self._momentum)
        return Update(proposal, elites[:, 0], returns.max(1).values, alternative=proposal.mean())
