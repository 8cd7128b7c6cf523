"""Random shooting: the best of many random action sequences. A planner of one's own."""

from typing import NamedTuple, Self, final

import torch
from torch import Tensor

from mbrl.planners.sampling import SamplingPlanner, Update, winner
from mbrl.types import ActionSpec
from mbrl.values import Count, checked


class Best(NamedTuple):
    """What the next plan starts from: the best sequence so far."""

    actions: Tensor  # (E, H, act_dim)

    def shift(self, *, generator: torch.Generator) -> Self:
        return self._replace(actions=torch.cat([self.actions[:, 1:], self.actions[:, -1:]], 1))


@final
class RandomShooting(SamplingPlanner[Best]):
    """Best of num_samples uniform action sequences and of the best one so far."""

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
        common = {"num_particles": num_particles, "action_hold": action_hold}
        super().__init__(
            action=action, horizon=horizon, num_iterations=1, warm_iterations=1, **common
        )
        self.num_samples = num_samples

    def start(self, num_envs: int) -> Best:
        middle = (self.action.low + self.action.high) / 2
        return Best(middle.expand(num_envs, self.horizon, -1).clone())

    def propose(self, proposal, iteration, *, generator):
        envs = proposal.actions.shape[0]
        drawn = self.action.sample(envs * self.num_samples * self.horizon, generator=generator)
        drawn = drawn.view(envs, self.num_samples, self.horizon, -1)
        return torch.cat([proposal.actions[:, None], drawn], 1)  # (E, K, H, act_dim)

    def update(self, proposal, iteration, candidates, returns):
        actions, value = winner(candidates, returns)
        return Update(Best(actions), actions, value)
