"""Model predictive path integral control: an average of noisy sequences, weighted by return."""

from __future__ import annotations

import math
from typing import Annotated, Any, final

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from mbrl.planners.distributions import Distribution, initial_distribution
from mbrl.planners.sampling import Discount, Iteration, Risk, SamplingPlanner, Update, winner
from mbrl.types import ActionSpec
from mbrl.values import Count, NonNegative, Positive, checked


@final
class MPPI(SamplingPlanner[Distribution]):
    """Model predictive path integral control: an average weighted by exp(return / temperature).

    Williams et al. 2017, "Information Theoretic MPC for Model-Based Reinforcement Learning". The
    plan is the average. With discrete actions it is the most likely sequence or the best candidate
    of the last iteration, whichever scores better: likely actions need not be a good sequence.

    Args:
        action: the environment's actions.
        horizon: decisions H.
        num_samples: candidates K per iteration.
        num_iterations: iterations of a plan that starts without a plan before; 1 is the paper's.
        warm_iterations: iterations of a plan that starts from the plan before.
        temperature: in standard deviations of the candidates' returns, by those above the median.
        adapt_std: whether the standard deviation is fitted to the weighted candidates as well.
        std: initial standard deviation, in units of half the range of the actions.
        shrink: factor on an adapted standard deviation in each fit.
        min_std: smallest standard deviation, in the same units.
        color: exponent of the power spectrum of the noise over time: 0 white, 1 pink, 2 red.
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
        num_iterations: Count = 20,
        warm_iterations: Count = 5,
        temperature: Positive = 0.5,
        adapt_std: bool = True,
        std: Positive = 0.5,
        shrink: Annotated[float, Interval(gt=0, le=1)] = 0.9,
        min_std: NonNegative = 0.0,
        color: NonNegative = 0.0,
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
        self._temperature = temperature
        self._spread: dict[str, Any] = {
            **{"std": std, "min_std": min_std, "color": color},
            **{"adapt_std": adapt_std, "shrink": shrink},
        }

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
        """Fit the distribution to candidates (E, K, H, A), weighted by returns (E, K)."""
        weights = self.weights(returns)
        proposal = proposal.fit(candidates, weights, 0.0)
        if self.action.kind == "discrete":
            return Update(proposal, *winner(candidates, returns), alternative=proposal.mean())
        finite = returns.clamp(min=torch.finfo(returns.dtype).min)  # -inf has no weight
        return Update(proposal, proposal.mean(), (weights * finite).sum(1))

    def weights(self, returns: Tensor) -> Tensor:
        """Return the weights (E, K) of candidates with returns (E, K)."""
        spread = _spread_above(returns, self._temperature)
        return torch.softmax(returns / torch.where(spread > 0, spread, 1.0), dim=1)


def _spread_above(returns: Tensor, factor: float) -> Tensor:
    """Return the root mean square (E, 1) of returns (E, K) above their median, times sqrt(2).

    Times factor as well: without it, the standard deviation where returns are normal. Where some
    are very bad, as in an unstable system, or ruled out (-inf), their size does not count, and the
    weights still tell good candidates apart. Where more than half are ruled out, the median is that
    of the others.
    """
    median = returns.median(1, keepdim=True).values
    if not math.isfinite(median.sum()):
        finite = torch.where(returns > -torch.inf, returns, torch.nan)
        median = finite.nanmedian(1, keepdim=True).values
    above = (returns - median).clamp_(min=0)
    # in float32 squares of small or large units would be lost
    norm = torch.linalg.vector_norm(above, dim=1, keepdim=True, dtype=torch.float64)
    return norm.mul_(factor * (2 / returns.shape[1]) ** 0.5).to(returns.dtype)
