"""Planning by gradient ascent on the actions, through the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.planners.cem import winner
from mbrl.planners.clock import Clock
from mbrl.planners.objective import Objective
from mbrl.roles import Plan, Planner
from mbrl.types import ActionSpec


class Gradient(Planner):
    """Climb the predicted return with Adam from several starts; the model must be differentiable.

    As in Heess et al. 2015 and Bharadhwaj et al. 2020; the best start is kept.

    Args:
        action: the environment's actions, continuous.
        horizon: decisions H.
        num_starts: sequences climbed from side by side.
        num_iterations: steps of Adam in a first plan.
        warm_iterations: steps of Adam from the plan before.
        learning_rate: in units where actions span [-1, 1]; falls to a tenth.
        std: spread of the random starts.
        num_particles: imagined rows per candidate.
        action_hold: environment steps for which each action is held.
        discount: per environment step.

    Raises:
        BadInput: if the actions are discrete.
    """

    def __init__(
        self,
        *,
        action: ActionSpec,
        horizon: int = 20,
        num_starts: int = 4,
        num_iterations: int = 100,
        warm_iterations: int = 30,
        learning_rate: float = 0.1,
        std: float = 0.3,
        num_particles: int = 1,
        action_hold: int = 1,
        discount: float = 1.0,
    ):
        """Keep the settings."""
        if action.kind == "discrete":
            raise BadInput("planner=gradient takes continuous actions; choose cem, icem or mppi")
        self.objective = Objective(action, num_particles, action_hold, discount)
        self.num_particles, self.action_hold = num_particles, action_hold
        self.horizon = horizon
        self._num_starts = num_starts
        self._num_iterations, self._warm_iterations = num_iterations, warm_iterations
        self._learning_rate = learning_rate
        self._std = std

    def start(self, num_envs: int) -> Tensor:
        """Give actions (E, H, A) in the middle of the bounds."""
        action = self.objective.action
        return torch.zeros(num_envs, self.horizon, action.dim, device=action.low.device)

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
        num_envs = objective.num_envs(state)
        shape = (num_envs, self._num_starts, self.horizon, objective.action.dim)
        noise = torch.randn(shape, generator=generator, device=generator.device)
        start = (self._std * noise).clamp(-1, 1)
        start[:, 0] = 0
        if previous is not None:
            start[:, 0, :-1] = previous.memory[:, 1:]
        iterations = self._num_iterations if previous is None else self._warm_iterations
        # the model's own noise, if it draws any, is the same in every iteration
        noise_seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        draws = torch.Generator(generator.device)

        allowed = start.clone()
        candidates = start.requires_grad_()
        adam = torch.optim.Adam([candidates], lr=self._learning_rate)
        decay = 0.1 ** (1 / iterations)
        top = torch.full((num_envs,), -torch.inf, device=start.device)
        found = start.detach()[:, 0].clone()
        for i in clock.rounds(iterations + 1):  # the last only looks where the climb has led
            with torch.enable_grad():
                draws.manual_seed(noise_seed)
                actions = self._scale(candidates)
                value = objective(model, state, actions, generator=draws, all_may_fail=i > 0)
            clock.evaluations += self._num_starts
            leader, reached = winner(candidates.detach(), value.detach())
            better = reached > top
            found = torch.where(better[:, None, None], leader, found)
            top = torch.where(better, reached, top)
            if i == iterations:
                break
            # Adam is blind to scale, so that each start climbs at its own
            (slope,) = torch.autograd.grad(-value.sum(), candidates)
            ruled_out = torch.isneginf(value)[:, :, None, None]  # such a start goes back
            allowed = torch.where(ruled_out, allowed, candidates.detach())
            candidates.data.copy_(allowed)
            candidates.grad = torch.where(ruled_out, 0, slope)
            adam.step()
            adam.param_groups[0]["lr"] *= decay
            with torch.no_grad():
                candidates.clamp_(-1, 1)
        return Plan(self._scale(found), top, found, clock.info())

    def _scale(self, candidates: Tensor) -> Tensor:
        """Turn units of [-1, 1] into the environment's."""
        action = self.objective.action
        middle, half = (action.high + action.low) / 2, (action.high - action.low) / 2
        return action.clip(middle + half * candidates)
