"""The cross-entropy method: sample, keep the elites, refit, again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.planners.clock import Clock
from mbrl.planners.distributions import Distribution, initial_distribution
from mbrl.planners.objective import Objective
from mbrl.roles import Plan, Planner
from mbrl.types import ActionSpec


class CEM(Planner):
    """Refit a distribution over action sequences to the best samples.

    Rubinstein 1999; Chua et al. 2018 (PETS) for its use with learned models. The plan is the mean,
    or the best sample of the last refit where that is better.

    Args:
        action: the environment's actions.
        horizon: decisions H.
        num_samples: candidates per iteration K.
        num_elites: samples refitted to.
        num_iterations: refits of a first plan.
        warm_iterations: refits of a plan that starts from the one before.
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
        momentum: float = 0.0,
        std: float = 0.5,
        shrink: float = 0.95,
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
        self._momentum = momentum
        self._spread: dict[str, Any] = {"std": std, "min_std": min_std, "shrink": shrink}

    def start(self, num_envs: int) -> Distribution:
        """Return the initial distribution for E environments."""
        return initial_distribution(self.objective.action, num_envs, self.horizon, **self._spread)

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
        belief: Distribution
        if previous is None:
            belief, iterations = self.start(objective.num_envs(state)), self._num_iterations
        else:
            belief, iterations = previous.memory.shift(), self._warm_iterations
        samples = value = elites = torch.empty(0)
        for _ in clock.rounds(iterations):
            samples = belief.sample(self._num_samples, generator=generator)
            value = objective(model, state, samples, generator=generator)
            elites, weights = best(samples, value, self._num_elites)
            belief = belief.fit(elites, weights, self._momentum)
            clock.evaluations += samples.shape[1]
        if not clock.late():  # between two good sequences the mean can be a bad one
            samples = torch.stack([belief.mean(), elites[:, 0]], 1)
            value = objective(model, state, samples, generator=generator, all_may_fail=True)
            clock.evaluations += 2
        return Plan(*winner(samples, value), belief, clock.info())


def best(samples: Tensor, value: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Take the num best samples (E, num, H, A) of each environment, with equal weights (E, num).

    What a return of -inf rules out has no weight, where too few are left to fill the elites.
    """
    values, index = value.topk(num, dim=1)
    elites = samples.gather(1, index[:, :, None, None].expand(-1, -1, *samples.shape[2:]))
    counted = torch.isfinite(values)
    number = counted.sum(1, keepdim=True).clamp(min=1).to(samples.dtype)
    return elites, torch.where(counted, 1 / number, 0)


def winner(samples: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Take the best sample (E, H, A) of each environment, and its value (E,)."""
    return best(samples, value, 1)[0][:, 0], value.max(1).values
