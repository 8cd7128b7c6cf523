"""Model predictive path integral control: a softmax over the returns of noisy sequences.

Williams et al. 2017, "Information Theoretic MPC for Model-Based Reinforcement Learning".
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from mbrl.planners.base import Plan, Planner
from mbrl.planners.distributions import Distribution, undecided
from mbrl.planners.objective import Objective
from mbrl.types import ActionSpec


class MPPI(Planner):
    """Average noisy action sequences, weighted by exp(return / temperature).

    Args:
        action: the environment's actions.
        horizon: decisions H.
        num_samples: candidates per iteration K.
        num_iterations: weighted averages taken in a first plan; 1 is the paper's.
        warm_iterations: weighted averages taken from the plan before.
        temperature: in standard deviations of the candidates' returns.
        adapt_std: let the spread follow the weighted samples between iterations.
        std: first spread of the noise, in units where actions span [-1, 1].
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
        """Give an undecided distribution for E environments."""
        return undecided(self.objective.action, num_envs, self.horizon, **self._spread)

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
        began = time.monotonic()
        objective = self.objective
        cold = previous is None
        belief: Distribution = (
            self.start(objective.num_envs(state)) if cold else previous.memory.shift()
        )
        expected = torch.empty(0)
        done = 0
        for _ in range(self._num_iterations if cold else self._warm_iterations):
            samples = belief.sample(self._num_samples, generator=generator)
            value = objective(model, state, samples, generator=generator)
            counted = torch.isfinite(value)  # -inf rules a candidate out: its weight is 0
            spread = _std(value, counted).clamp(min=1e-8)
            weights = torch.softmax(value / (self._temperature * spread), dim=1)
            expected = (weights * torch.where(counted, value, 0)).sum(1)
            belief = belief.fit(samples, weights, 0.0)
            done += 1
            if deadline is not None and time.monotonic() - began > deadline:
                break
        mean = belief.mean()
        info = {"iterations": done, "latency": time.monotonic() - began}
        return Plan(objective.scale(mean), expected, belief, info)


def _std(value: Tensor, counted: Tensor) -> Tensor:
    """Give the standard deviation (E, 1) of the values (E, K) that are counted."""
    if counted.all():
        return value.std(1, keepdim=True)
    number = counted.sum(1, keepdim=True)
    kept = torch.where(counted, value, 0)
    mean = kept.sum(1, keepdim=True) / number
    squares = torch.where(counted, (kept - mean).square(), 0).sum(1, keepdim=True)
    return (squares / (number - 1).clamp(min=1)).sqrt()
