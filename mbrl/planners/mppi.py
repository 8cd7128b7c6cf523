"""Model predictive path integral control: a softmax over the returns of noisy sequences."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mbrl.planners.cem import winner
from mbrl.planners.clock import Clock
from mbrl.planners.distributions import Distribution, initial_distribution
from mbrl.planners.objective import Objective
from mbrl.roles import Plan, Planner
from mbrl.types import ActionSpec


class MPPI(Planner):
    """Average noisy action sequences, weighted by exp(return / temperature).

    Williams et al. 2017, "Information Theoretic MPC for Model-Based Reinforcement Learning".

    Args:
        action: the environment's actions.
        horizon: decisions H.
        num_samples: candidates per iteration K.
        num_iterations: weighted averages taken in a first plan; 1 is the paper's.
        warm_iterations: weighted averages taken from the plan before.
        temperature: in standard deviations of the candidates' returns.
        adapt_std: let the spread follow the weighted samples between iterations.
        std: first spread of the noise, in units of half the range of the actions.
        shrink: an adapted spread is multiplied by this each time.
        min_std: least spread.
        colour: exponent of the noise over time; 0 is white.
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
        num_iterations: int = 20,
        warm_iterations: int = 5,
        temperature: float = 0.5,
        adapt_std: bool = True,
        std: float = 0.5,
        shrink: float = 0.9,
        min_std: float = 0.0,
        colour: float = 0.0,
        num_particles: int = 1,
        action_hold: int = 1,
        discount: float = 1.0,
    ):
        """Keep the settings."""
        self.objective = Objective(action, num_particles, action_hold, discount)
        self.num_particles, self.action_hold = num_particles, action_hold
        self.horizon = horizon
        self._num_samples = num_samples
        self._num_iterations, self._warm_iterations = num_iterations, warm_iterations
        self._temperature = temperature
        self._spread: dict[str, Any] = {
            **{"std": std, "min_std": min_std, "colour": colour},
            **{"adapt_std": adapt_std, "shrink": shrink},
        }

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
        samples = value = weights = torch.empty(0)
        for _ in clock.rounds(iterations):
            samples = belief.sample(self._num_samples, generator=generator)
            value = objective(model, state, samples, generator=generator)
            weights = self.weights(value)
            belief = belief.fit(samples, weights, 0.0)
            clock.evaluations += samples.shape[1]
        finite = value.clamp(min=torch.finfo(value.dtype).min)  # what is ruled out weighs nothing
        actions, expected = belief.mean(), (weights * finite).sum(1)
        if objective.action.kind == "discrete":  # likely actions need not make a good sequence
            if not clock.late():
                samples = torch.stack([actions, winner(samples, value)[0]], 1)
                value = objective(model, state, samples, generator=generator, all_may_fail=True)
                clock.evaluations += 2
            actions, expected = winner(samples, value)
        return Plan(actions, expected, belief, clock.info())

    def weights(self, value: Tensor) -> Tensor:
        """Weigh candidates by value (E, K), the temperature in standard deviations: (E, K)."""
        spread = _std(value).mul_(self._temperature)
        return torch.softmax(value / spread.clamp_(min=1e-8), dim=1)


def _std(value: Tensor) -> Tensor:
    """Give the standard deviation (E, 1) of the values (E, K), of those not ruled out by -inf."""
    spread = value.std(1, keepdim=True)
    if math.isfinite(spread.sum()):
        return spread
    counted = value > -torch.inf
    number = counted.sum(1, keepdim=True)
    kept = torch.where(counted, value, 0)
    mean = kept.sum(1, keepdim=True) / number
    squares = torch.where(counted, (kept - mean).square(), 0).sum(1, keepdim=True)
    return (squares / (number - 1).clamp(min=1)).sqrt()
