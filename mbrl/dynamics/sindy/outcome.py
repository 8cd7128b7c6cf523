"""What follows from a predicted observation: its circles, the reward, the end, the validity."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mbrl.dynamics.sindy.codegen import active
from mbrl.dynamics.sindy.data import Limit
from mbrl.dynamics.sindy.library import evaluate_terms, polynomial, reduce_circles
from mbrl.errors import BadInput
from mbrl.types import Prediction, Task, Transitions


class Outcome(nn.Module):
    """Complete a prediction.

    Args:
        obs_dim: length of an observation.
        act_dim: length of an action.
        task: what is known of the environment.
        reward: "known" takes it from the task, "learned" is a sparse polynomial, "auto" chooses.
        degree: of that polynomial in obs and action.

    Attributes:
        library: the reward's terms over [obs, action].
        learns_reward: whether it is learned.

    Raises:
        BadInput: if the reward is to be known and the task does not say it.
    """

    weights: Tensor  # (F,) of the reward, float64
    low: Tensor  # (obs_dim,) predictions are valid from low to high
    high: Tensor

    def __init__(
        self,
        obs_dim: int,
        act_dim: int,
        task: Task,
        reward: Literal["auto", "known", "learned"],
        degree: int,
    ):
        """Begin without bounds and with a reward of 0."""
        super().__init__()
        if reward == "known" and task.reward is None:
            raise BadInput("dynamics.reward=known: this environment does not say it; learned?")
        self.task = task
        self.learns_reward = reward == "learned" or (reward == "auto" and task.reward is None)
        self.library = reduce_circles(
            polynomial(range(obs_dim + act_dim), degree), task.angle_pairs
        )
        limit = torch.full((obs_dim,), torch.inf, dtype=torch.float64)
        self.register_buffer("weights", torch.zeros(len(self.library), dtype=torch.float64))
        self.register_buffer("low", -limit)
        self.register_buffer("high", limit)
        self.rebuild()

    def rebuild(self) -> None:
        """Take over the weights as they are now."""
        self._active = active(self.library, self.weights[None].cpu().numpy())

    def fit_bounds(self, data: Transitions, widen: float, within: list[Limit]) -> None:
        """Bound observations by the data's range, widened so many times both ways, and within."""
        seen = torch.cat([data.obs, data.next_obs])
        low, high = seen.amin(0), seen.amax(0)
        reach = torch.where(high > low, high - low, 1.0) * widen
        reach[[i for pair in self.task.angle_pairs for i in pair]] = torch.inf  # may turn round
        self.low.copy_(low - reach)
        self.high.copy_(high + reach)
        for i, least, most in within:
            self.low[i] = self.low[i].clamp(least, most)
            self.high[i] = self.high[i].clamp(least, most)

    def project(self, obs: Tensor) -> Tensor:
        """Bring obs (B, obs_dim) back onto its circles."""
        if self.task.project is not None:
            return self.task.project(obs)
        columns = list(obs.unbind(1))
        for c, s in self.task.angle_pairs:
            length = torch.hypot(columns[c], columns[s]).clamp(min=1e-6)
            columns[c], columns[s] = columns[c] / length, columns[s] / length
        return torch.stack(columns, 1) if self.task.angle_pairs else obs

    def bound(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Clamp obs (B, obs_dim) to the bounds; tell which rows (B,) were inside."""
        inside = torch.minimum(torch.maximum(obs, self.low.to(obs)), self.high.to(obs))
        return inside, (inside == obs).all(1)

    def forward(self, obs: Tensor, action: Tensor, after: Tensor) -> Prediction:
        """Complete obs, action (B, ...) -> after (B, obs_dim), which is projected and bounded."""
        after, valid = self.bound(self.project(after))
        if self.learns_reward:
            columns = [*obs.unbind(1), *action.to(obs.dtype).unbind(1)]
            terms, weights = self._active
            reward = torch.zeros_like(obs[:, 0])
            for weight, value in zip(weights[0], evaluate_terms(terms, columns), strict=True):
                reward = reward + float(weight) * value
        else:
            assert self.task.reward is not None
            reward = self.task.reward(obs, action, after)
        ended = torch.zeros_like(valid)
        if self.task.terminated is not None:
            ended = self.task.terminated(obs, action, after)
        return Prediction(after, reward, ended, valid, None)
