"""iCEM: the cross-entropy method for real-time planning."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, final

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
from mbrl.values import AtMost, Count, Fraction, NonNegative, Positive, checked


class ElitesProposal(NamedTuple):
    """A distribution and the elites that it was last fitted to."""

    distribution: Distribution
    elites: Tensor  # (E, N, H, A)
    num_kept: int  # elites that stay candidates

    def shift(self, *, generator: torch.Generator) -> ElitesProposal:
        """Return the proposal one decision later; each kept elite gets a new last action."""
        distribution = self.distribution.shift(generator=generator)
        last = distribution.sample(self.num_kept, generator=generator)[:, :, -1:]
        elites = torch.cat([self.elites[:, : self.num_kept, 1:], last], 2)
        return self._replace(distribution=distribution, elites=elites)


@final
class ICEM(SamplingPlanner[ElitesProposal]):
    """Improved CEM: colored noise, kept elites, and fewer samples in each iteration.

    Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method for Real-time Planning". Elites are
    kept between iterations and between plans; the last iteration also scores the mean. The plan is
    the best candidate of the last iteration.

    Args:
        action: the environment's actions.
        horizon: decisions H.
        num_samples: candidates sampled in the first iteration.
        num_elites: best candidates that the distribution is fitted to; None for a tenth of
            num_samples, at most 50.
        num_iterations: iterations of a plan that starts without a plan before.
        warm_iterations: iterations of a plan that starts from the plan before.
        decay: each iteration samples 1 / decay as many candidates as the one before, but never
            fewer than 2 * num_elites.
        keep_elites: fraction of the elites that are candidates again, in the next iteration and in
            the next plan.
        color: exponent of the power spectrum of the noise over time: 0 white, 1 pink, 2 red.
        color_decay: factor on the color after each iteration; 1 is the paper's. Slow noise
            explores, but does not separate neighboring decisions.
        momentum: weight of the old distribution in each fit.
        std: initial standard deviation, in units of half the range of the actions.
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
        decay: Annotated[float, Ge(1)] = 1.03,
        keep_elites: Fraction = 0.3,
        color: NonNegative = 2.0,
        color_decay: Fraction = 0.5,
        momentum: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
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
        self._num_elites = num_elites or default_elites(num_samples)
        self._decay = decay
        self._num_kept = int(keep_elites * self._num_elites)
        self._momentum = momentum
        self._spread: dict[str, Any] = {"std": std, "color": color, "color_decay": color_decay}

    def start(self, num_envs: int) -> ElitesProposal:
        """Return the initial distribution of E environments, with its mean for all elites."""
        initial = initial_distribution(self.action, num_envs, self.horizon, **self._spread)
        elites = initial.mean()[:, None].repeat(1, self._num_elites, 1, 1)
        return ElitesProposal(initial, elites, self._num_kept)

    def propose(
        self, proposal: ElitesProposal, iteration: Iteration, *, generator: torch.Generator
    ) -> Tensor:
        """Sample candidates (E, K, H, A), and add the kept elites and at last the mean."""
        distribution = proposal.distribution
        sampled = distribution.sample(self._num_sampled(iteration.index), generator=generator)
        parts = [sampled]
        if iteration.index or iteration.is_warm:
            parts.append(proposal.elites[:, : self._num_kept])
        if iteration.index == iteration.total - 1:
            parts.append(distribution.mean()[:, None])
        return torch.cat(parts, 1)

    def update(
        self, proposal: ElitesProposal, iteration: Iteration, candidates: Tensor, returns: Tensor
    ) -> Update[ElitesProposal]:
        """Fit the distribution to the elites of candidates (E, K, H, A), by returns (E, K)."""
        elites, weights = best(candidates, returns, self._num_elites)
        distribution = proposal.distribution.fit(elites, weights, self._momentum)
        proposal = ElitesProposal(distribution, elites, self._num_kept)
        return Update(proposal, elites[:, 0], returns.max(1).values)

    def _num_sampled(self, index: int) -> int:
        """Return the number of candidates sampled in an iteration."""
        return max(2 * self._num_elites, int(self._num_samples / self._decay**index))

    def evaluations(self, iterations: int) -> int:
        """Return the candidates, per environment, that a plan from the plan before scores."""
        sampled = sum(map(self._num_sampled, range(iterations)))
        return sampled + iterations * self._num_kept + 1
