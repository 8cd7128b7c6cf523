"""Costs that samplers and mixed-integer programs score alike: piecewise linear and convex."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mbrl.relu.linear_relaxation import EPS, affine
from mbrl.relu.network import RELU, Array, Layer, ReluNetwork, append

Kind = Literal["l1", "linf", "hinge", "linear"]


class Term(NamedTuple):
    """One term of weight @ [outputs, action] + bias, the outputs being next_obs (and a reward).

    l1 sums the absolute values of its rows, linf takes the largest, hinge sums the positive
    parts (a limit with a slack), linear sums the rows as they are.
    """

    kind: Kind
    weight: Array  # (rows, width): over the first entries of [outputs, action]
    bias: Array  # (rows,)

    def __call__(self, y: Tensor) -> Tensor:
        """Score y (..., num_outputs + act_dim): (...,)."""
        weight, bias = (torch.as_tensor(x).to(y) for x in (self.weight, self.bias))
        value = y[..., : weight.shape[1]] @ weight.T + bias
        if self.kind == "l1":
            return value.abs().sum(-1)
        if self.kind == "linf":
            return value.abs().amax(-1)
        return (value.clamp(min=0) if self.kind == "hinge" else value).sum(-1)

    def evaluate(self, y: Array) -> Array:
        """Score y (..., num_outputs + act_dim), numpy: (...,)."""
        value = y[..., : self.weight.shape[1]] @ self.weight.T + self.bias
        if self.kind == "l1":
            return np.abs(value).sum(-1)
        if self.kind == "linf":
            return np.abs(value).max(-1)
        return (np.maximum(value, 0) if self.kind == "hinge" else value).sum(-1)

    def least(self, low: Array, high: Array) -> float:
        """Bound the charge from below over the box low <= y <= high, rounded outward."""
        width = self.weight.shape[1]
        low, high = low[:width], high[:width]
        size = np.abs(self.weight) @ np.maximum(np.abs(low), np.abs(high)) + np.abs(self.bias)
        least, most = affine(self.weight, self.bias, low, high, size)
        if self.kind == "linear":
            return float(least.sum() - len(least) * EPS * size.sum())
        least = np.maximum(least, 0)
        if self.kind != "hinge":
            least = np.maximum(least, -most)
        charge = float(least.max() if self.kind == "linf" else least.sum())
        return charge * (1 - len(least) * EPS)


class PiecewiseLinearCost(NamedTuple):
    """Cost that a planner minimizes: stage terms after every step, terminal terms after the last.

    Stage terms see [outputs, features, action] of one step, terminal terms the last next_obs. The
    features are what a head, a ReLU network over [outputs, action], makes of a step: a way to
    charge what is not convex, such as an obstacle. A goal is part of obs.
    """

    stage: tuple[Term, ...]
    terminal: tuple[Term, ...] = ()
    head: ReluNetwork | None = None

    def step(self, outputs: Tensor, action: Tensor) -> Tensor:
        """Compute the cost (B,) of steps: outputs (B, num_outputs), action (B, act_dim)."""
        action = action.to(outputs)
        y = torch.cat([outputs, action], -1)
        if self.head is not None:
            y = torch.cat([outputs, self.head.evaluate(y), action], -1)
        return sum((term(y) for term in self.stage), torch.zeros_like(y[..., 0]))

    def last(self, obs: Tensor) -> Tensor:
        """Compute the terminal cost (...,) of obs (..., obs_dim)."""
        return sum((term(obs) for term in self.terminal), torch.zeros_like(obs[..., 0]))

    def total(self, outputs: Array, actions: Array, discount: float = 1.0) -> Array:
        """Compute the cost of rollouts, numpy; the head's features are among the outputs (attach).

        Args:
            outputs: (B, T, num_outputs).
            actions: (B, T, act_dim).
            discount: per step.

        Returns:
            Costs (B,).
        """
        y = np.concatenate([outputs, actions], -1)
        stages = sum((t.evaluate(y) for t in self.stage), np.zeros(y.shape[:2]))
        last = sum((t.evaluate(outputs[:, -1]) for t in self.terminal), np.zeros(y.shape[0]))
        steps = y.shape[1]  # the last charge is discounted as a terminal value is, a step later
        return stages @ discount ** np.arange(steps) + discount**steps * last


def least_cost(
    cost: PiecewiseLinearCost, outputs: tuple[Array, Array], actions: tuple[Array, Array],
    discount: float = 1.0,
) -> float:  # fmt: skip
    """Bound the cost of a rollout from below, each step for itself, rounded outward.

    Args:
        cost: without a head (attach).
        outputs: low and high (T, num_outputs).
        actions: low and high (T, act_dim).
        discount: per step.
    """
    low, high = (np.concatenate(x, 1) for x in zip(outputs, actions, strict=True))
    steps = len(low)
    parts = [discount**t * term.least(low[t], high[t]) for t in range(steps) for term in cost.stage]
    parts += [discount**steps * term.least(low[-1], high[-1]) for term in cost.terminal]
    return sum(parts) - (len(parts) + steps + 4) * EPS * sum(map(abs, parts))


def attach(
    network: ReluNetwork, cost: PiecewiseLinearCost
) -> tuple[ReluNetwork, PiecewiseLinearCost]:
    """Append a cost's head to the network: the features become outputs.

    Args:
        network: of the dynamics.
        cost: with or without a head.
    """
    if cost.head is None:
        return network, cost
    return append(network, cost.head), cost._replace(head=None)


def distance(
    pairs: tuple[tuple[int, int], ...], dim: int, *, weight: float = 1.0, kind: Kind = "l1"
) -> Term:
    """Return the term weight * |y[i] - y[j]| for each pair (i, j).

    Args:
        pairs: indices of y.
        dim: num_outputs + act_dim.
        weight: cost of a unit of distance.
        kind: "l1" adds the pairs up, "linf" takes the largest.
    """
    rows = np.zeros((len(pairs), dim))
    for row, (i, j) in zip(rows, pairs, strict=True):
        row[i], row[j] = weight, -weight
    return Term(kind, rows, np.zeros(len(pairs)))


def limits(low: Array, high: Array, dim: int, *, weight: float) -> Term:
    """Return the term of weight for each unit by which the first entries of y leave [low, high].

    Args:
        low: (n,), -inf where there is no limit.
        high: (n,), inf where there is none.
        dim: num_outputs + act_dim.
        weight: cost of a unit of slack.
    """
    over, under = np.flatnonzero(np.isfinite(high)), np.flatnonzero(np.isfinite(low))
    rows = np.concatenate([np.eye(dim)[over], -np.eye(dim)[under]])
    return Term("hinge", weight * rows, weight * np.concatenate([-high[over], low[under]]))


def learned_reward(num_outputs: int, act_dim: int) -> PiecewiseLinearCost:
    """Return the cost that is minus the last output, a reward that the network has learned.

    Args:
        num_outputs: of the network.
        act_dim: length of an action.
    """
    weight = np.zeros((1, num_outputs + act_dim))
    weight[0, num_outputs - 1] = -1
    return PiecewiseLinearCost((Term("linear", weight, np.zeros(1)),))


def intrusion(pairs: tuple[tuple[int, float, float], ...], dim: int) -> ReluNetwork:
    """Build a head whose one output is the depth of a point inside a box; 0 outside.

    Args:
        pairs: (index of y, low, high) of each side of the box.
        dim: num_outputs + act_dim, what the head reads.

    Returns:
        max(0, smallest distance to a side), exact, with one layer for each side after the first.
    """
    rows = np.zeros((2 * len(pairs), dim))
    bias = np.zeros(2 * len(pairs))
    for k, (index, low, high) in enumerate(pairs):
        rows[2 * k, index], bias[2 * k] = 1, -low
        rows[2 * k + 1, index], bias[2 * k + 1] = -1, high
    # min(a, b) = a - relu(a - b), side after side; then relu
    layers, width = [], dim
    least, shift = rows[0], bias[0]
    for row, offset in zip(rows[1:], bias[1:], strict=True):
        least = np.pad(least, (0, width - len(least)))
        weight = least - np.pad(row, (0, width - dim))
        layers.append(Layer(weight[None], np.array([shift - offset]), np.full(1, RELU, np.int8)))
        width += 1
        least = np.append(least, -1.0)
    layers.append(Layer(least[None], np.array([shift]), np.full(1, RELU, np.int8)))
    out = np.zeros((1, width + 1))
    out[0, -1] = 1
    return ReluNetwork(tuple(layers), out, np.zeros(1), 0)
