"""CROWN for many boxes of actions at once, in torch: lower bounds of a plan's cost.

Zhang et al. 2018 (CROWN); Xu et al. 2021 (alpha-CROWN) for lower lines that are fitted to the
cost, here by averaging answers to the corner that costs least so far. Float64; bounds are not
rounded outward but carry a margin, as solvers' tolerances do.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mbrl.relu.program import Problem

MARGIN = 1e-9  # relative, of the cost's bound


class Ranges(NamedTuple):
    """Where preactivations and the rows of cost terms lie, in each of B boxes."""

    low: Tensor  # (B, T, num_neurons)
    high: Tensor
    row_low: Tensor  # (B, T, num_rows) of the stage terms; the terminal terms' come last, at T - 1
    row_high: Tensor


class Lines(NamedTuple):
    """Between which lines each neuron is: lower * a <= relu(a) <= slope * a + lift."""

    lower: Tensor  # (B, T, num_neurons)
    slope: Tensor
    lift: Tensor


class Bounded(NamedTuple):
    """What is known of each of B boxes."""

    cost: Tensor  # (B,) no plan inside costs less
    corner: Tensor  # (B, H, act_dim) where the linear bound is least
    score: Tensor  # (B, H * act_dim) how much of the bound's slack each action is behind
    ranges: Ranges


class Boxes:
    """The unrolled network and cost of a problem, as torch tensors."""

    def __init__(self, problem: Problem):
        """Stack the weights."""
        network, cost = problem.network, problem.cost
        self.problem = problem
        self.horizon, self.act_dim = problem.action_low.shape
        self.steps, self.n = problem.num_steps, network.obs_dim
        self.outputs, self.inputs = network.num_outputs, network.num_inputs
        self.layers = [
            (torch.from_numpy(x.weight), torch.from_numpy(x.bias)) for x in network.layers
        ]
        sizes = [len(bias) for _, bias in self.layers]
        self.starts = [self.inputs + sum(sizes[:i]) for i in range(len(sizes) + 1)]
        self.weight, self.bias = torch.from_numpy(network.weight), torch.from_numpy(network.bias)
        self.obs = torch.from_numpy(problem.obs)
        # rows of all terms over [outputs, action]; a terminal term reads the state alone
        wide = self.outputs + self.act_dim
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
        # what a unit of each row's charge costs at each step (T, num_rows)
        self.price = torch.zeros(self.steps, first, dtype=torch.float64)
        times = problem.discount ** torch.arange(self.steps + 1, dtype=torch.float64)
        for _, at, terminal in self.terms:
            if terminal:
                self.price[-1, at] = times[-1]
            else:
                self.price[:, at] = times[:-1, None]

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
        ranges, moves = self._ranges(low, high, known)
        slope, lift = _upper(ranges.low, ranges.high)
        middle = (low + high) / 2
        before, rows = self._visit(middle)
        slopes, taken = (before > 0).double(), self._subgradient(rows)
        top = torch.full((len(low),), -torch.inf, dtype=torch.float64)
        corner, weight = middle, before
        for k in range(rounds):
            lower = torch.where(ranges.low >= 0, 1.0, torch.where(ranges.high <= 0, 0.0, slopes))
            signs = self._certain(ranges, taken)
            value, linear, blame = self._cost(low, high, Lines(lower, slope, lift), signs)
            at = torch.where(linear > 0, low, high)
            better = value > top
            top = torch.where(better, value, top)
            weight = blame if k == 0 else torch.where(better[:, None, None], blame, weight)
            corner = torch.where(better[:, None, None], at, corner)
            if k + 1 < rounds:  # meet the corner half way: the answers are averaged
                before, rows = self._visit(at)
                share = 1 / (k + 2)
                slopes = torch.lerp(slopes, (before > 0).double(), share)
                taken = torch.lerp(taken, self._subgradient(rows), share)
        top = top - MARGIN * (1 + top.abs())
        return Bounded(top, corner, self._score(ranges, moves, weight, high - low), ranges)

    def _visit(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Roll out (B, H, act_dim): preactivations (B, T, N), rows of the terms (B, T, R)."""
        state = self.obs.expand(len(actions), -1)
        before, rows = [], []
        for t in range(self.steps):
            action = actions[:, t // self.problem.hold]
            seen = torch.cat([state, action], 1)
            pre = [seen[:, :0]]
            for weight, bias in self.layers:
                pre.append(torch.addmm(bias, seen, weight.T))
                seen = torch.cat([seen, pre[-1].relu()], 1)
            out = torch.addmm(self.bias, seen, self.weight.T)
            y = torch.cat([out, action], 1)
            rows.append(torch.addmm(self.row_bias, y, self.rows.T))
            before.append(torch.cat(pre, 1))
            state = out[:, : self.n]
        return torch.stack(before, 1), torch.stack(rows, 1)

    def costs(self, actions: Tensor) -> Tensor:
        """Score decisions (B, H, act_dim): (B,)."""
        _, rows = self._visit(actions)
        return (self._subgradient(rows) * rows * self.price).sum((1, 2))

    def _subgradient(self, rows: Tensor) -> Tensor:
        """Give weights (B, T, R) that turn rows into their terms' charges."""
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

    def _certain(self, ranges: Ranges, taken: Tensor) -> Tensor:
        """Correct weights of rows whose sign a box has decided."""
        parts = [taken[..., :0]]
        for kind, at, _ in self.terms:
            own = taken[..., at]
            low, high = ranges.row_low[..., at], ranges.row_high[..., at]
            if kind == "l1":
                own = torch.where(low >= 0, 1.0, torch.where(high <= 0, -1.0, own))
            elif kind == "hinge":
                own = torch.where(low >= 0, 1.0, torch.where(high <= 0, 0.0, own))
            parts.append(own)
        return torch.cat(parts, -1)

    def _ranges(
        self, low: Tensor, high: Tensor, known: Ranges | None
    ) -> tuple[Ranges, tuple[Tensor, Tensor]]:
        """Bound preactivations and rows, step after step.

        Returns:
            Ranges, and how strongly each action moves each neuron (B, T, N, D) and row.
        """
        count, steps = len(low), self.steps
        width = self.horizon * self.act_dim
        neurons, terms = self.starts[-1] - self.inputs, len(self.rows)
        new = low.new_zeros
        pre_low, pre_high = new(count, steps, neurons), new(count, steps, neurons)
        row_low, row_high = new(count, steps, terms), new(count, steps, terms)
        moves, row_moves = new(count, steps, neurons, width), new(count, steps, terms, width)
        lines = Lines(*(new(count, steps, neurons) for _ in range(3)))
        middle, half = ((low + high) / 2).flatten(1), ((high - low) / 2).flatten(1)
        for t in range(steps + 1):
            # the first layer of step t and the terms of step t - 1 read the same state
            weights, biases, actions = [], [], []
            if t < steps and self.layers:
                weight, bias = self.layers[0]
                own = new(len(bias), self.outputs)
                own[:, : self.n] = weight[:, : self.n]
                weights.append(own)
                biases.append(bias)
                actions.append(self._placed(weight[:, self.n : self.inputs], t))
            if t:
                weights.append(self.rows[:, : self.outputs])
                biases.append(self.row_bias)
                actions.append(self._placed(self.rows[:, self.outputs :], t - 1))
            if not weights:
                continue
            rows, bias, acts = torch.cat(weights), torch.cat(biases), torch.cat(actions)
            found = self._both(rows, bias, acts, t, lines, middle, half)
            first = len(self.layers[0][1]) if t < steps and self.layers else 0
            if t:
                a, b, moved = (x[:, first:] for x in found)
                if known is not None:
                    a = torch.maximum(a, known.row_low[:, t - 1])
                    b = torch.minimum(b, known.row_high[:, t - 1])
                row_low[:, t - 1], row_high[:, t - 1], row_moves[:, t - 1] = a, b, moved
            if t == steps:
                break
            for index in range(len(self.layers)):
                at = slice(self.starts[index] - self.inputs, self.starts[index + 1] - self.inputs)
                if index:
                    weight, bias = self.layers[index]
                    found = self._later(weight, bias, t, index, lines, middle, half)
                    a, b, moved = found
                else:
                    a, b, moved = (x[:, :first] for x in found)
                if known is not None:
                    a = torch.maximum(a, known.low[:, t, at])
                    b = torch.minimum(b, known.high[:, t, at])
                pre_low[:, t, at], pre_high[:, t, at], moves[:, t, at] = a, b, moved
                lines.slope[:, t, at], lines.lift[:, t, at] = _upper(a, b)
                lines.lower[:, t, at] = ((b > -a) & (b > 0)).double()
        return Ranges(pre_low, pre_high, row_low, row_high), (moves, row_moves)

    def _placed(self, weight: Tensor, t: int) -> Tensor:
        """Put columns of the action of step t (R, act_dim) among all decisions (R, D)."""
        placed = weight.new_zeros(len(weight), self.horizon * self.act_dim)
        begin = t // self.problem.hold * self.act_dim
        placed[:, begin : begin + self.act_dim] = weight
        return placed

    def _both(
        self,
        rows: Tensor,
        bias: Tensor,
        acts: Tensor,
        t: int,
        lines: Lines,
        middle: Tensor,
        half: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bound rows over the outputs of step t - 1: (low, high, moves) (B, R), (B, R, D)."""
        count = len(middle)
        both = torch.cat([rows, -rows])[None].expand(count, -1, -1)
        total = torch.cat([bias, -bias])[None].repeat(count, 1)
        moved = torch.cat([acts, -acts])[None].repeat(count, 1, 1)
        return self._halves(*self._pull(both, total, moved, t, lines), middle, half)

    def _later(
        self,
        weight: Tensor,
        bias: Tensor,
        t: int,
        index: int,
        lines: Lines,
        middle: Tensor,
        half: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bound the preactivations of a layer that sees earlier layers of its step."""
        count = len(middle)
        full = torch.cat([weight, -weight])[None].repeat(count, 1, 1)
        total = torch.cat([bias, -bias])[None].repeat(count, 1)
        moved = full.new_zeros(count, full.shape[1], self.horizon * self.act_dim)
        full = self._through(full, t, index, total, lines)
        self._collect(moved, full, t)
        found = self._pull(full[..., : self.n], total, moved, t, lines)
        return self._halves(*found, middle, half)

    def _halves(
        self, total: Tensor, moved: Tensor, middle: Tensor, half: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Turn upper bounds of r and -r over the box into low, high, and moves of r."""
        upper = total + (moved @ middle[..., None])[..., 0]
        upper = upper + (moved.abs() @ half[..., None])[..., 0]
        size = upper.shape[1] // 2
        return -upper[:, size:], upper[:, :size], moved[:, :size].abs()

    def _pull(
        self,
        rows: Tensor,
        total: Tensor,
        moved: Tensor,
        t: int,
        lines: Lines,
    ) -> tuple[Tensor, Tensor]:
        """Pull rows (B, R, ...) over outputs of step t - 1 back to the obs and the actions."""
        for s in range(t - 1, -1, -1):
            width = rows.shape[2]
            total = total + rows @ self.bias[:width]
            full = rows @ self.weight[:width]
            full = self._through(full, s, len(self.layers), total, lines)
            self._collect(moved, full, s)
            rows = full[..., : self.n]
        return total + rows[..., : self.n] @ self.obs, moved

    def _through(
        self,
        full: Tensor,
        s: int,
        layer: int,
        total: Tensor,
        lines: Lines,
        blame: Tensor | None = None,
    ) -> Tensor:
        """Replace neurons below `layer` in rows over step s by lines; total is added to.

        What the first row makes of each neuron goes into blame (B, T, N).
        """
        for index in range(layer - 1, -1, -1):
            begin, end = self.starts[index], self.starts[index + 1]
            at = slice(begin - self.inputs, end - self.inputs)
            neurons = full[..., begin:end]
            if blame is not None:
                blame[:, s, at] = neurons[:, 0].abs()
            above = neurons.clamp(min=0)
            pre = (
                above * lines.slope[:, s, None, at]
                + (neurons - above) * lines.lower[:, s, None, at]
            )
            weight, bias = self.layers[index]
            total += (above @ lines.lift[:, s, at, None])[..., 0] + pre @ bias
            full = torch.cat([full[..., :begin] + pre @ weight, full[..., begin:]], -1)
        return full

    def _collect(self, moved: Tensor, full: Tensor, s: int) -> None:
        """Add the action columns of rows over step s."""
        begin = s // self.problem.hold * self.act_dim
        moved[..., begin : begin + self.act_dim] += full[..., self.n : self.inputs]

    def _cost(
        self, low: Tensor, high: Tensor, lines: Lines, taken: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bound the cost from below by a linear function of the actions.

        Returns:
            Its least value in the box (B,), its slopes (B, H, act_dim), and how much each neuron
            counts (B, T, N).
        """
        count = len(low)
        charge = -(taken * self.price)  # (B, T, R): minus the cost is bounded from above
        total = (charge @ self.row_bias).sum(1)[:, None]
        moved = low.new_zeros(count, 1, self.horizon * self.act_dim)
        rows = low.new_zeros(count, 1, self.outputs)
        blame = torch.zeros_like(lines.lower)
        for s in range(self.steps - 1, -1, -1):
            here = charge[:, s, None] @ self.rows
            begin = s // self.problem.hold * self.act_dim
            moved[..., begin : begin + self.act_dim] += here[..., self.outputs :]
            rows = here[..., : self.outputs] + torch.nn.functional.pad(
                rows, (0, self.outputs - rows.shape[2])
            )
            total = total + rows @ self.bias
            full = rows @ self.weight
            full = self._through(full, s, len(self.layers), total, lines, blame)
            self._collect(moved, full, s)
            rows = full[..., : self.n]
        total = (total + rows @ self.obs)[:, 0]
        linear = -moved[:, 0].view_as(low)
        least = torch.minimum(linear * low, linear * high).sum((1, 2))
        return least - total, linear, blame

    def _score(
        self, ranges: Ranges, moves: tuple[Tensor, Tensor], weight: Tensor, size: Tensor
    ) -> Tensor:
        """Say how much of the bound's slack the width of each action is behind (B, D)."""
        slack = torch.minimum(ranges.high, -ranges.low).clamp(min=0) * weight
        found = torch.einsum("btn,btnd->bd", slack / _span(ranges.low, ranges.high), moves[0])
        rows = torch.minimum(ranges.row_high, -ranges.row_low).clamp(min=0) * self.price
        part = rows / _span(ranges.row_low, ranges.row_high)
        return (found + torch.einsum("btn,btnd->bd", part, moves[1])) * size.flatten(1)


def _span(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=1e-12)


def _upper(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Give slope and lift of the line above a ReLU on [low, high]."""
    unstable = (low < 0) & (high > 0)
    slope = torch.where(unstable, high / _span(low, high), (low >= 0).double())
    return slope, torch.where(unstable, -slope * low, 0.0)
