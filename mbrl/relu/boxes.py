"""Lower bounds of a plan's cost in many boxes of actions at once, by CROWN.

Zhang et al. 2018 (CROWN); Xu et al. 2021 (alpha-CROWN) for lower lines that are fitted to the cost,
here by averaging the answers to the corner that costs least so far. Every bound is charged the
largest error of its float64 operations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mbrl.relu import linear_relaxation
from mbrl.relu.linear_relaxation import Crown, Lines, Moves, Sizes, upper_line
from mbrl.relu.network import Array
from mbrl.relu.program import Problem


class Ranges(NamedTuple):
    """Bounds of preactivations and of the rows of cost terms, in each of B boxes."""

    low: Tensor  # (B, T, num_neurons)
    high: Tensor  # (B, T, num_neurons)
    row_low: Tensor  # (B, T, num_rows) of the stage terms; the terminal terms' come last, at T - 1
    row_high: Tensor  # (B, T, num_rows)


class Bounded(NamedTuple):
    """Bounds of each of B boxes."""

    cost: Tensor  # (B,) no plan inside costs less
    corner: Tensor  # (B, H, act_dim) where the linear bound is least
    score: Tensor  # (B, H * act_dim) share of the bound's slack that each action causes
    ranges: Ranges


class Boxes:
    """Unrolled network and cost of a problem, to be bounded in boxes of actions.

    Args:
        problem: the planning problem.

    Attributes:
        rounding: largest error of a cost, as float64 evaluates it.
    """

    def __init__(self, problem: Problem):
        """Stack the weights of all cost terms."""
        network, cost = problem.network, problem.cost
        self.problem = problem
        self.steps, self.n, self.outputs = problem.num_steps, network.obs_dim, network.num_outputs
        self.layers = [
            (torch.from_numpy(x.weight), torch.from_numpy(x.bias)) for x in network.layers
        ]
        self.weight, self.bias = torch.from_numpy(network.weight), torch.from_numpy(network.bias)
        self.obs = torch.from_numpy(problem.obs)
        # rows of all terms over [outputs, action]; a terminal term reads the state alone
        wide = self.outputs + network.act_dim
        rows, biases, self.terms = [], [], []
        first = 0
        for terminal, terms in ((False, cost.stage), (True, cost.terminal)):
            for term in terms:
                weight = torch.zeros(len(term.bias), wide, dtype=torch.float64)
                weight[:, : term.weight.shape[1]] = torch.from_numpy(term.weight)
                rows.append(weight)
                biases.append(torch.from_numpy(term.bias))
                self.terms.append((term.kind, slice(first, first + len(weight)), terminal))
                first += len(weight)
        self.rows = torch.cat(rows) if rows else torch.zeros(0, wide, dtype=torch.float64)
        self.row_bias = torch.cat(biases) if rows else torch.zeros(0, dtype=torch.float64)
        # cost of a unit of each row's charge at each step (T, num_rows)
        self.price = torch.zeros(self.steps, first, dtype=torch.float64)
        times = problem.discount ** torch.arange(self.steps + 1, dtype=torch.float64)
        for _, at, terminal in self.terms:
            if terminal:
                self.price[-1, at] = times[-1]
            else:
                self.price[:, at] = times[:-1, None]
        whole = Crown(network, problem.obs, self.steps, problem.hold, outward=True)
        self._sizes: Sizes = whole.magnitudes(problem.action_low, problem.action_high)
        largest = np.maximum(np.abs(problem.action_low), np.abs(problem.action_high))
        whole_size = np.concatenate([self._sizes.out, problem.held(largest)], 1)
        size = whole_size @ np.abs(self.rows.numpy()).T + np.abs(self.row_bias.numpy())
        self.rounding = whole.rounding * float((self.price.numpy() * size).sum())
        self._crown = Crown(
            network, problem.obs, self.steps, problem.hold,
            rows=self.rows.numpy(), row_bias=self.row_bias.numpy(), sizes=self._sizes,
        )  # fmt: skip

    def bound(
        self, low: Tensor, high: Tensor, known: Ranges | None = None, *, rounds: int = 3
    ) -> Bounded:
        """Bound the cost in boxes of actions.

        Args:
            low: (B, H, act_dim).
            high: (B, H, act_dim).
            known: ranges that hold already.
            rounds: times that the lower lines are fitted.
        """
        inside = None if known is None else linear_relaxation.Ranges(*(x.numpy() for x in known))
        arrays, moves = self._crown.bound(low.numpy(), high.numpy(), inside)
        assert moves is not None
        ranges = Ranges(*(torch.from_numpy(x) for x in arrays))
        slope, lift = upper_line(arrays.low, arrays.high)
        middle = (low + high) / 2
        before, rows = self._simulate(middle)
        slopes, signs = (before > 0).double(), self._subgradient(rows)
        top = torch.full((len(low),), -torch.inf, dtype=torch.float64)
        corner, weight = middle, before
        for k in range(rounds):
            lower = torch.where(ranges.low >= 0, 1.0, torch.where(ranges.high <= 0, 0.0, slopes))
            lines = Lines(lower.numpy(), slope, lift)
            value, linear, weights = self._cost(low, high, lines, self._certain(ranges, signs))
            at = torch.where(linear > 0, low, high)
            better = value > top
            top = torch.where(better, value, top)
            weight = weights if k == 0 else torch.where(better[:, None, None], weights, weight)
            corner = torch.where(better[:, None, None], at, corner)
            if k + 1 < rounds:  # meet the corner half way: the answers are averaged
                before, rows = self._simulate(at)
                share = 1 / (k + 2)
                slopes = torch.lerp(slopes, (before > 0).double(), share)
                signs = torch.lerp(signs, self._subgradient(rows), share)
        return Bounded(top, corner, self._score(ranges, moves, weight, high - low), ranges)

    def costs(self, actions: Tensor) -> Tensor:
        """Compute the costs (B,) of decisions (B, H, act_dim)."""
        _, rows = self._simulate(actions)
        return (self._subgradient(rows) * rows * self.price).sum((1, 2))

    def _simulate(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Roll out (B, H, act_dim): preactivations (B, T, N), rows of the terms (B, T, R)."""
        state = self.obs.expand(len(actions), -1)
        before, rows = [], []
        for t in range(self.steps):
            action = actions[:, t // self.problem.hold]
            inputs = torch.cat([state, action], 1)
            pre = [inputs[:, :0]]
            for weight, bias in self.layers:
                pre.append(torch.addmm(bias, inputs, weight.T))
                inputs = torch.cat([inputs, pre[-1].relu()], 1)
            out = torch.addmm(self.bias, inputs, self.weight.T)
            y = torch.cat([out, action], 1)
            rows.append(torch.addmm(self.row_bias, y, self.rows.T))
            before.append(torch.cat(pre, 1))
            state = out[:, : self.n]
        return torch.stack(before, 1), torch.stack(rows, 1)

    def _subgradient(self, rows: Tensor) -> Tensor:
        """Return weights (B, T, R) that turn rows (B, T, R) into their terms' charges."""
        parts = [rows[..., :0]]
        for kind, at, _ in self.terms:
            own = rows[..., at]
            if kind == "l1":
                parts.append(own.sign())
            elif kind == "hinge":
                parts.append((own > 0).double())
            elif kind == "linear":
                parts.append(torch.ones_like(own))
            else:
                index = own.abs().argmax(-1, keepdim=True)
                parts.append(torch.zeros_like(own).scatter(-1, index, own.gather(-1, index).sign()))
        return torch.cat(parts, -1)

    def _certain(self, ranges: Ranges, signs: Tensor) -> Tensor:
        """Return signs (B, T, R), corrected where a row has one sign in the whole box."""
        parts = [signs[..., :0]]
        for kind, at, _ in self.terms:
            own = signs[..., at]
            low, high = ranges.row_low[..., at], ranges.row_high[..., at]
            if kind == "l1":
                own = torch.where(low >= 0, 1.0, torch.where(high <= 0, -1.0, own))
            elif kind == "hinge":
                own = torch.where(low >= 0, 1.0, torch.where(high <= 0, 0.0, own))
            parts.append(own)
        return torch.cat(parts, -1)

    def _cost(
        self, low: Tensor, high: Tensor, lines: Lines, signs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bound the cost from below by a linear function of the actions.

        Returns:
            Its least value in the box (B,), its slopes (B, H, act_dim), and the weight of each
            neuron in it (B, T, N).
        """
        passes, count = self._crown, len(low)
        charge = -(signs * self.price).numpy()  # (B, T, R): minus the cost is bounded from above
        total = (charge @ self.row_bias.numpy()).sum(1)[:, None]
        error = (np.abs(charge) @ np.abs(self.row_bias.numpy())).sum(1)[:, None]
        moved = np.zeros((count, 1, passes.width))
        rows: Array = np.zeros((count, 1, 0))
        weights = np.zeros_like(lines.lower)
        for s in range(self.steps - 1, -1, -1):
            own = charge[:, s, None] @ self.rows.numpy()
            moved += passes.place(own[..., self.outputs :], s)
            missing = self.outputs - rows.shape[2]
            rows = own[..., : self.outputs] + np.pad(rows, ((0, 0), (0, 0), (0, missing)))
            product = rows @ passes.out_table
            total += product[..., -1]
            error += np.abs(rows) @ self._sizes.out[s]
            layers = len(passes.tables)
            full = passes.through(
                product[..., :-1], s, layers, total, lines, error, self._sizes.pre, weights
            )
            passes.collect(moved, full, s)
            rows = full[..., : self.n]
        linear = -torch.from_numpy(moved[:, 0]).view_as(low)
        constant = torch.from_numpy((total + rows @ self.problem.obs)[:, 0])
        least = torch.minimum(linear * low, linear * high).sum((1, 2))
        error += np.abs(rows) @ np.abs(self.problem.obs)
        moves = torch.maximum((linear * low).abs(), (linear * high).abs()).sum((1, 2))
        rounding = passes.rounding * len(self.terms) * (torch.from_numpy(error[:, 0]) + moves)
        return least - constant - rounding, linear, torch.from_numpy(weights)

    def _score(self, ranges: Ranges, moves: Moves, weight: Tensor, size: Tensor) -> Tensor:
        """Return the share of the bound's slack that the width of each action causes (B, D)."""
        neurons, rows = (torch.from_numpy(x) for x in moves)
        slack = torch.minimum(ranges.high, -ranges.low).clamp(min=0) * weight
        own = torch.einsum("btn,btnd->bd", slack / _span(ranges.low, ranges.high), neurons)
        row_slack = torch.minimum(ranges.row_high, -ranges.row_low).clamp(min=0) * self.price
        part = row_slack / _span(ranges.row_low, ranges.row_high)
        return (own + torch.einsum("btn,btnd->bd", part, rows)) * size.flatten(1)


def _span(low: Tensor, high: Tensor) -> Tensor:
    """Return high - low, or 1 where it is 0."""
    span = high - low
    return torch.where(span > 0, span, 1)
