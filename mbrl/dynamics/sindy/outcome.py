"""Reward, termination and validity of a predicted observation."""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor, nn

from mbrl.dynamics.sindy.codegen import active
from mbrl.dynamics.sindy.data import Limit
from mbrl.dynamics.sindy.library import evaluate_terms, polynomial, reduce_circles
from mbrl.errors import BadInput
from mbrl.types import Prediction, Task, Transitions


@final
class Outcome(nn.Module):
    """Reward, termination and validity of predicted observations.

    Args:
        obs_dim: length of an observation.
        act_dim: length of an action.
        task: what is known of the environment.
        reward: "known" for the task's function, "learned" for a sparse polynomial, "auto" for the
            first where the task has it.
        degree: of that polynomial of obs and action.

    Attributes:
        library: the polynomial's terms over [obs, action].
        learns_reward: whether the reward is learned.

    Raises:
        BadInput: if the reward should be known and the task has none.
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
        """Start without bounds and with a reward of 0."""
        super().__init__()
        if reward == "known" and task.reward is None:
            raise BadInput(
                "reward=known: should be learned, because the task has no function for it"
            )
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
        """Read the present weights."""
        self._active = active(self.library, self.weights[None].cpu().numpy())

    def fit_bounds(self, data: Transitions, margin: float, within: list[Limit]) -> None:
        """Fit the bounds of valid observations to the range of data.

        Args:
            data: transitions (B, ...).
            margin: multiple of its width by which the range is extended on each side.
            within: limits that the bounds never exceed.
        """
        obs = torch.cat([data.obs, data.next_obs])
        low, high = obs.amin(0), obs.amax(0)
        reach = torch.where(high > low, high - low, 1.0) * margin
        reach[[i for pair in self.task.angle_pairs for i in pair]] = torch.inf  # angles go round
        self.low.copy_(low - reach)
        self.high.copy_(high + reach)
        for i, least, most in within:
            self.low[i] = self.low[i].clamp(least, most)
            self.high[i] = self.high[i].clamp(least, most)

    def project(self, obs: Tensor) -> Tensor:
        """Return obs (B, obs_dim) projected onto the task's manifold, or onto its circles."""
        if self.task.project is not None:
            return self.task.project(obs)
        columns = list(obs.unbind(1))
        for c, s in self.task.angle_pairs:
            length = torch.hypot(columns[c], columns[s]).clamp(min=1e-6)
            columns[c], columns[s] = columns[c] / length, columns[s] / length
        return torch.stack(columns, 1) if self.task.angle_pairs else obs

    def bound(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return obs (B, obs_dim) clamped to the bounds, and which rows (B,) bool were inside."""
        inside = torch.minimum(torch.maximum(obs, self.low.to(obs)), self.high.to(obs))
        return inside, (inside == obs).all(1)

    def forward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Prediction:
        """Return the prediction of a step, its next observation projected and clamped.

        Args:
            obs: (B, obs_dim).
            action: (B, act_dim).
            next_obs: (B, obs_dim) as the equations have it.
        """
        next_obs, valid = self.bound(self.project(next_obs))
        if self.learns_reward:
            columns = [*obs.unbind(1), *action.to(obs.dtype).unbind(1)]
            terms, weights = self._active
            reward = torch.zeros_like(obs[:, 0])
            for weight, value in zip(weights[0], evaluate_terms(terms, columns), strict=True):
                reward = reward + float(weight) * value
        else:
            assert self.task.reward is not None
            reward = self.task.reward(obs, action, next_obs)
        ended = torch.zeros_like(valid)
        if self.task.terminated is not None:
            ended = self.task.terminated(obs, action, next_obs)
        return Prediction(next_obs, reward, ended, valid, None)
