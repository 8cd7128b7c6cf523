"""Random shooting: the best of many random action sequences. A planner of one's own."""

from typing import Any, final

import torch
from torch import Tensor

from mbrl.planners import Objective, Plan, Planner
from mbrl.types import ActionSpec
from mbrl.values import Count, checked


@final
class RandomShooting(Planner):
    """Best of num_samples uniform action sequences and of the plan before, shifted by one step."""

    @checked
    def __init__(
        self,
        *,
        action: ActionSpec,
        horizon: Count = 15,
        num_samples: Count = 500,
        num_particles: Count = 1,
        action_hold: Count = 1,
    ):
        self.objective = Objective(action, num_particles, action_hold)
        self.num_particles, self.action_hold = num_particles, action_hold
        self.action, self.horizon, self.num_samples = action, horizon, num_samples

    def start(self, num_envs: int) -> Tensor:
        middle = (self.action.low + self.action.high) / 2
        return middle.expand(num_envs, self.horizon, -1).clone()

    def plan(
        self,
        state: Any,
        model: Any,
        *,
        generator: torch.Generator,
        previous: Plan | None = None,
        deadline: float | None = None,
    ) -> Plan:
        envs = self.objective.num_envs(state)
        last = self.start(envs) if previous is None else previous.memory
        shifted = torch.cat([last[:, 1:], last[:, -1:]], 1)
        drawn = self.action.sample(envs * self.num_samples * self.horizon, generator=generator)
        drawn = drawn.view(envs, self.num_samples, self.horizon, -1)
        samples = torch.cat([shifted[:, None], drawn], 1)  # (E, K, H, act_dim)
        value = self.objective(model, state, samples, generator=generator)  # (E, K)
        best = samples[torch.arange(envs), value.argmax(1)]
        return Plan(best, value.amax(1), memory=best, info={})
