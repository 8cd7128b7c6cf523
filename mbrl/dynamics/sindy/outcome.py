"""Reward, termination and validity of a predicted observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import torch
from torch import Tensor, nn

from mbrl.dynamics.sindy.codegen import active
from mbrl.dynamics.sindy.data import Limit
from mbrl.dynamics.sindy.library import (
    Library,
    Term,
    evaluate_terms,
    polynomial,
    reduce_circles,
)
from mbrl.dynamics.sindy.structure import Circle
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
        library: the polynomial's terms over [obs, action, angles].
        num_angle_terms: number of its last terms, which are of angles.
        learns_reward: whether the reward is learned.

    Raises:
        BadInput: if the reward should be known and the task has none.
    """

    weights: Tensor  # (F,) of the reward, float64
    low: Tensor  # (obs_dim,) predictions are valid from low to high
    high: Tensor
    least: Tensor  # (obs_dim,) bounds that clip predictions
    most: Tensor
    radius: Tensor  # (obs_dim // 2,) of the circles that pairs lie on

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
        variables = range(obs_dim + act_dim)
        angles = [Term((obs_dim + act_dim + i,)) for i in range(2 * (obs_dim // 2))]
        self.library = reduce_circles(polynomial(variables, degree), task.angle_pairs)
        angles += [a * a for a in angles] if degree > 1 else []
        self.num_angle_terms = len(angles)
        self.library |= Library(angles)
        limit = torch.full((obs_dim,), torch.inf, dtype=torch.float64)
        self.register_buffer("weights", torch.zeros(len(self.library), dtype=torch.float64))
        for name, value in (("low", -limit), ("high", limit), ("least", -limit), ("most", limit)):
            self.register_buffer(name, value.clone())
        self.register_buffer("radius", torch.ones(obs_dim // 2, dtype=torch.float64))
        self.rebuild(task.angle_pairs)

    def rebuild(self, pairs: tuple[tuple[int, int], ...]) -> None:
        """Read the present weights, and set the pairs (cos, sin) that lie on circles."""
        self._active = active(self.library, self.weights[None].cpu().numpy())
        self._circles = [(c, s, r) for (c, s), r in zip(pairs, self.radius.tolist(), strict=False)]
        self._clips = bool(torch.isfinite(torch.cat([self.least, self.most])).any())

    def fit_structure(self, circles: Sequence[Circle], least: Tensor, most: Tensor) -> None:
        """Store circles, and bounds (obs_dim,) that clip predictions."""
        self.radius.fill_(1.0)
        for row, circle in enumerate(circles):
            self.radius[row] = circle.radius
        self.least.copy_(least)
        self.most.copy_(most)

    def columns(self, obs: Tensor, action: Tensor) -> list[Tensor]:
        """Return the variables of the reward (B,) each: obs, action and the angles of circles.

        A circle has two angles, from its first component and from its second, because it is not
        known which of them is the cosine. They are 0 where there are fewer circles.

        Args:
            obs: (B, obs_dim).
            action: (B, act_dim).
        """
        values = [*obs.unbind(1), *action.to(obs.dtype).unbind(1)]
        for row in range(obs.shape[1] // 2):
            if row < len(self._circles):
                c, s, _ = self._circles[row]
                values += [torch.atan2(obs[:, s], obs[:, c]), torch.atan2(obs[:, c], obs[:, s])]
            else:
                values += [torch.zeros_like(obs[:, 0])] * 2
        return values

    def variable_names(self, names: Sequence[str]) -> list[str]:
        """Return the names of the reward's variables.

        Args:
            names: of the observations and actions.
        """
        extra = ["", ""] * len(self.radius)
        for row, (c, s, _) in enumerate(self._circles):
            extra[2 * row] = f"angle({names[c]},{names[s]})"
            extra[2 * row + 1] = f"angle({names[s]},{names[c]})"
        return [*names, *extra]

    def fit_bounds(self, data: Transitions, margin: float, within: list[Limit]) -> None:
        """Fit the bounds of valid observations to the range of data.

        Args:
            data: transitions (B, ...).
            margin: multiple of its width by which the range is extended on each side.
            within: limits that the bounds never exceed.
        """
        obs = torch.cat([data.obs, data.next_obs])
        low, high = obs.amin(0), obs.amax(0)
        reach = torch.where(high > low, high - low, torch.inf) * margin
        reach[[i for c, s, _ in self._circles for i in (c, s)]] = torch.inf  # angles go round
        self.low.copy_(low - reach)
        self.high.copy_(high + reach)
        for i, least, most in within:
            self.low[i] = self.low[i].clamp(least, most)
            self.high[i] = self.high[i].clamp(least, most)

    def project(self, obs: Tensor) -> Tensor:
        """Return obs (B, obs_dim) on the task's manifold or circles, clipped where data are."""
        if self.task.project is not None:
            obs = self.task.project(obs)
        elif self._circles:
            columns = list(obs.unbind(1))
            for c, s, radius in self._circles:
                length = torch.hypot(columns[c], columns[s])
                share = radius / torch.where(length > 0, length, radius)
                columns[c], columns[s] = columns[c] * share, columns[s] * share
            obs = torch.stack(columns, 1)
        if self._clips:
            obs = torch.minimum(torch.maximum(obs, self.least.to(obs)), self.most.to(obs))
        return obs

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
            columns = self.columns(obs, action)
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
