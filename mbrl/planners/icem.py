"""iCEM: the cross-entropy method made fit for real time."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.planners.cem import best
from mbrl.planners.clock import Clock
from mbrl.planners.distributions import Distribution, initial_distribution
from mbrl.planners.objective import Objective
from mbrl.roles import Plan, Planner
from mbrl.types import ActionSpec


class Memory(NamedTuple):
    """What the next plan starts from."""

    belief: Distribution
    elites: Tensor  # (E, N, H, A)


class ICEM(Planner):
    """Run CEM with coloured noise, kept elites and fewer samples in each iteration.

    Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method for Real-time Planning"; elites are
    kept between iterations and steps. With one elite of one iteration it is predictive sampling
    (Howell et al. 2022).

    Args:
        action: the environment's actions.
        horizon: decisions H.
        num_samples: candidates of the first iteration.
        num_elites: samples refitted to.
        num_iterations: refits of a first plan.
        warm_iterations: refits of a plan that starts from the one before.
        decay: each iteration has 1 / decay of the samples of the one before.
        keep_elites: share of the elites that go on to the next iteration, and to the next step.
        colour: exponent of the noise over time; 0 is white.
        whiten: the colour is multiplied by this at each refit, for slow waves explore but cannot
            tell neighbouring decisions apart; 1 is the paper's.
        momentum: share of the old distribution kept at a refit.
        std: first spread, in units of half the range of the actions.
        shrink: the spread is multiplied by this at each refit.
        min_std: least spread.
        num_particles: imagined rows per candidate.
        action_hold: environment steps for which each action is held.
        discount: per environment step.
    """

    def __init__(
        self,
        *,
        action: ActionSpec,
        horizon: int = 20,
        num_samples: int = 500,
        num_elites: int = 50,
        num_iterations: int = 20,
        warm_iterations: int = 5,
        decay: float = 1.03,
        keep_elites: float = 0.3,
        colour: float = 2.0,
        whiten: float = 0.5,
        momentum: float = 0.0,
        std: float = 0.5,
        shrink: float = 1.0,
        min_std: float = 0.0,
        num_particles: int = 1,
        action_hold: int = 1,
        discount: float = 1.0,
    ):
        """Keep the settings."""
        self.objective = Objective(action, num_particles, action_hold, discount)
        self.num_particles, self.action_hold = num_particles, action_hold
        self.horizon = horizon
        self._num_samples = num_samples
        self._num_elites = min(num_elites, num_samples)
        self._num_iterations, self._warm_iterations = num_iterations, warm_iterations
        self._decay = decay
        self._num_kept = int(keep_elites * self._num_elites)
        self._momentum = momentum
        self._spread: dict[str, Any] = {
            **{"std": std, "min_std": min_std, "shrink": shrink},
            **{"colour": colour, "whiten": whiten},
        }

    def start(self, num_envs: int) -> Memory:
        """Return the initial distribution, and its mean for elites."""
        belief = initial_distribution(self.objective.action, num_envs, self.horizon, **self._spread)
        return Memory(belief, belief.mean()[:, None].repeat(1, self._num_elites, 1, 1))

    @torch.no_grad()
    def plan(
        self,
        state: Any,
        model: Any,
        *,
        generator: torch.Generator,
        previous: Plan | None = None,
        deadline: float | None = None,
    ) -> Plan:
        """Plan for every environment of a belief; see Planner.plan."""
        clock, objective = Clock(deadline), self.objective
        if previous is None:
            belief, elites = self.start(objective.num_envs(state))
            kept, iterations = elites[:, :0], self._num_iterations
        else:
            belief, elites = previous.memory
            belief, iterations = belief.shift(), self._warm_iterations
            # the elites of the step before, one decision later, each with a new last action
            last = belief.sample(self._num_kept, generator=generator)[:, :, -1:]
            kept = torch.cat([elites[:, : self._num_kept, 1:], last], 2)
        for i in clock.rounds(iterations):
            parts = [belief.sample(self._num_drawn(i), generator=generator), kept]
            if i == iterations - 1:
                parts.append(belief.mean()[:, None])
            samples = torch.cat(parts, 1)
            value = objective(model, state, samples, generator=generator)
            elites, weights = best(samples, value, self._num_elites)
            belief = belief.fit(elites, weights, self._momentum)
            kept = elites[:, : self._num_kept]
            clock.evaluations += samples.shape[1]
        # the best of the last iteration, of which the mean of those before was one
        return Plan(elites[:, 0], value.max(1).values, Memory(belief, elites), clock.info())

    def _num_drawn(self, iteration: int) -> int:
        """Give the fresh samples of an iteration."""
        return max(2 * self._num_elites, int(self._num_samples / self._decay**iteration))

    def evaluations(self, iterations: int) -> int:
        """Count the sequences that a plan from the one before scores per environment."""
        drawn = sum(map(self._num_drawn, range(iterations)))
        return drawn + iterations * self._num_kept + 1
