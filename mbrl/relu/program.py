"""The mixed-integer linear program of a plan, as arrays: an unrolled ReLU network and its cost.

Each neuron that may be on either side has one binary d: its preactivation is z - s with
0 <= z <= high * d and 0 <= s <= -low * (1 - d) (Tjeng et al. 2019). Neurons whose side is proven
are folded away, step by step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbrl.relu.bounds import Bounds
from mbrl.relu.cost import PiecewiseLinearCost, Term
from mbrl.relu.network import RELU, Array, ReluNetwork

Index = NDArray[np.int64]
INF = float("inf")


class Problem(NamedTuple):
    """Planning problem: the best actions from obs."""

    network: ReluNetwork  # simplified: all neurons ReLUs
    cost: PiecewiseLinearCost
    obs: Array  # (obs_dim,)
    action_low: Array  # (H, act_dim)
    action_high: Array  # (H, act_dim)
    hold: int = 1  # steps for which an action is held
    discount: float = 1.0  # per step
    integer: tuple[int, ...] = ()  # actions that are whole numbers
    one_hot: bool = False  # the actions are a choice of one

    @property
    def num_steps(self) -> int:
        """Return the number of the model's steps T."""
        return len(self.action_low) * self.hold

    def held(self, actions: Array) -> Array:
        """Repeat decisions (..., H, act_dim) for each step: (..., T, act_dim)."""
        return np.repeat(actions, self.hold, -2)

    def simulate(self, actions: Array) -> tuple[Array, Array, Array]:
        """Roll out decisions (B, H, act_dim).

        Returns:
            Cost (B,), outputs (B, T, num_outputs), preactivations (B, T, num_neurons).
        """
        steps = self.held(actions)
        start = np.broadcast_to(self.obs, (len(actions), len(self.obs)))
        outputs, before = self.network.simulate(start, steps)
        return self.cost.total(outputs, steps, self.discount), outputs, before

    def nearest_plan(self, actions: Array) -> Array:
        """Return decisions (H, act_dim) inside the limits, whole numbers where they have to be."""
        if self.one_hot:
            return np.eye(actions.shape[1])[actions.argmax(1)]
        whole = list(self.integer)
        actions = np.clip(actions, self.action_low, self.action_high)
        actions[:, whole] = np.round(actions[:, whole])
        return actions


class Region(NamedTuple):
    """Where a step is one affine map (mbrl.relu.regions)."""

    active: NDArray[np.bool_]  # (k,) of the step's unstable neurons
    sides: Array  # (k, num_inputs + 1) over [inputs, 1]: at most 0 inside
    out: Array  # (num_outputs, num_inputs + 1)


class Choice(NamedTuple):
    """The columns of a step that is a choice among regions."""

    regions: tuple[Region, ...]
    copies: Index  # (R, num_inputs): the inputs if the region is chosen, else 0
    chosen: Index  # (R,)


class Charge(NamedTuple):
    """A term of one step and the columns that carry it."""

    term: Term
    step: int
    columns: Index  # l1: positive then negative parts; linf: one; hinge: one each; linear: none


class Program(NamedTuple):
    """min cost @ x + offset over row_low <= A x <= row_high, low <= x <= high, some x binary."""

    cost: Array  # (columns,)
    offset: float
    low: Array
    high: Array
    integer: NDArray[np.bool_]
    start: Index  # (rows + 1,) A row by row
    index: Index
    value: Array
    row_low: Array
    row_high: Array
    actions: Index  # (H, act_dim) columns
    obs: Index  # (obs_dim,) columns of the obs that the first step begins from, fixed
    outputs: Index  # (T, num_outputs) columns
    unstable: NDArray[np.bool_]  # (T, num_neurons)
    first: Index  # (T,) column of the first z; then come all z, all s, all d of the step
    first_row: Index  # (T,) row of the first z - s = ...; then z <= high d, then s <= -low (1 - d)
    charges: tuple[Charge, ...]
    problem: Problem
    choices: tuple[Choice, ...] = ()  # of each step in the disjunctive form; z, s, d are left out

    def complete(self, actions: Array) -> Array:
        """Return the whole point (columns,) of decisions (H, act_dim), by simulation."""
        problem = self.problem
        x = np.zeros(len(self.cost))
        _, outputs, before = problem.simulate(actions[None])
        x[self.actions] = actions
        x[self.obs] = problem.obs
        x[self.outputs] = outputs[0]
        for t, choice in enumerate(self.choices):
            active = before[0, t, self.unstable[t]] > 0
            index = int(np.argmin([(region.active != active).sum() for region in choice.regions]))
            state = outputs[0, t - 1, : len(problem.obs)] if t else problem.obs
            x[choice.copies[index]] = np.concatenate([state, problem.held(actions)[t]])
            x[choice.chosen[index]] = 1
        for t, begin in enumerate(() if self.choices else self.first):
            pre = before[0, t, self.unstable[t]]
            sides = np.concatenate([np.maximum(pre, 0), np.maximum(-pre, 0), pre > 0])
            x[begin : begin + len(sides)] = sides
        y = np.concatenate([outputs[0], problem.held(actions)], 1)
        for charge in self.charges:
            kind, columns = charge.term.kind, charge.columns
            weight, step = charge.term.weight, y[charge.step]
            value = weight @ step[: weight.shape[1]] + charge.term.bias
            if kind == "l1":
                x[columns] = np.concatenate([np.maximum(value, 0), np.maximum(-value, 0)])
            elif kind == "linf":
                x[columns] = np.abs(value).max()
            elif kind == "hinge":
                x[columns] = np.maximum(value, 0)
        return x


def build(
    problem: Problem, bounds: Bounds, regions: tuple[tuple[Region, ...], ...] | None = None
) -> Program:
    """Write the program of a problem.

    Args:
        problem: the planning problem.
        bounds: hold for its network, obs and action limits.
        regions: of each step, for the disjunctive form; None for one binary for each neuron.
    """
    return _Builder(problem, bounds, regions).run()


class _Builder:
    """Columns and rows, step by step."""

    def __init__(
        self,
        problem: Problem,
        bounds: Bounds,
        regions: tuple[tuple[Region, ...], ...] | None,
    ):
        self.problem, self.bounds, self.regions = problem, bounds, regions
        self.choices: list[Choice] = []
        self.count = self.rows = 0
        self.low: list[Array] = []
        self.high: list[Array] = []
        self.blocks: list[tuple[Array, int, Index]] = []
        self.row_low: list[Array] = []
        self.row_high: list[Array] = []
        self.binary: list[Index] = []
        self.costs: list[tuple[Index, Array]] = []
        self.charges: list[Charge] = []
        self.offset = 0.0

    def columns(self, low: Array, high: Array) -> Index:
        """Add columns, and return their numbers."""
        columns = np.arange(self.count, self.count + len(low))
        self.count += len(low)
        self.low.append(low)
        self.high.append(high)
        return columns

    def constrain(self, low: Array, high: Array, *blocks: tuple[Array, Index]) -> None:
        """Add rows low <= sum of matrix @ x[columns] <= high."""
        for matrix, columns in blocks:
            self.blocks.append((matrix, self.rows, columns))
        self.rows += len(low)
        self.row_low.append(low)
        self.row_high.append(high)

    def run(self) -> Program:
        """Build the columns and rows of actions, obs, then of each step."""
        problem, bounds = self.problem, self.bounds
        shape = problem.action_low.shape
        actions = self.columns(problem.action_low.ravel(), problem.action_high.ravel())
        actions = actions.reshape(shape)
        if problem.one_hot:
            self.binary.append(actions.ravel())
            ones = np.ones(len(actions))
            matrix: Array = np.kron(np.eye(shape[0]), np.ones((1, shape[1]))).astype(np.float64)
            self.constrain(ones, ones, (matrix, actions.ravel()))
        elif problem.integer:
            self.binary.append(actions[:, list(problem.integer)].ravel())
        obs = state = self.columns(problem.obs, problem.obs)
        outputs, first, first_row = [], [], []
        unstable = bounds.unstable()
        for t in range(problem.num_steps):
            inputs = np.concatenate([state, actions[t // problem.hold]])
            first.append(self.count)
            first_row.append(self.rows)
            if self.regions is None:
                out = self._step(t, inputs, unstable[t])
            else:
                out = self._choice(t, inputs, self.regions[t])
            outputs.append(out)
            state = out[: problem.network.obs_dim]
            y = np.concatenate([out, actions[t // problem.hold]])
            for term in problem.cost.stage:
                self._charge(term, t, y, problem.discount**t)
        for term in problem.cost.terminal:
            last = problem.num_steps - 1
            self._charge(term, last, y, problem.discount ** (last + 1))
        return self._finish(actions, obs, np.stack(outputs), unstable, first, first_row)

    def _step(self, t: int, inputs: Index, unstable: NDArray[np.bool_]) -> Index:
        """Add the neurons and outputs of a step with input columns [obs, action]."""
        bounds = self.bounds
        network = self.problem.network.simplify(bounds.kinds(t))
        low, high = bounds.low[t, unstable], bounds.high[t, unstable]
        count = len(low)
        zero, one, eye = np.zeros(count), np.ones(count), np.eye(count)
        z = self.columns(zero, high)
        s = self.columns(zero, -low)
        d = self.columns(zero, one)
        self.binary.append(d)
        done = 0
        for layer in network.layers:
            size = len(layer.bias)
            own_rows = slice(done, done + size)
            reads = np.concatenate([inputs, z[:done]])
            own = np.eye(size)
            self.constrain(
                layer.bias,
                layer.bias,
                (own, z[own_rows]),
                (-own, s[own_rows]),
                (-layer.weight, reads),
            )
            done += size
        if count:
            self.constrain(np.full(count, -INF), zero, (eye, z), (-np.diag(high), d))
            self.constrain(np.full(count, -INF), -low, (eye, s), (-np.diag(low), d))
        out = self.columns(bounds.out_low[t], bounds.out_high[t])
        reads = np.concatenate([inputs, z])
        self.constrain(
            network.bias, network.bias, (np.eye(len(out)), out), (-network.weight, reads)
        )
        return out

    def _choice(self, t: int, inputs: Index, regions: tuple[Region, ...]) -> Index:
        """Add the outputs of a step with input columns [obs, action], as a choice of a region.

        The convex hull of the regions' graphs (Balas 1985): the inputs are a sum of copies, one
        for each region, each inside its region scaled by how much of it is chosen.
        """
        bounds, decision, n = self.bounds, t // self.problem.hold, self.problem.network.obs_dim
        state = (
            (bounds.out_low[t - 1, :n], bounds.out_high[t - 1, :n])
            if t
            else (self.problem.obs,) * 2
        )
        low = np.concatenate([state[0], self.problem.action_low[decision]])
        high = np.concatenate([state[1], self.problem.action_high[decision]])
        count, width = len(regions), len(inputs)
        chosen = self.columns(np.zeros(count), np.ones(count))
        self.binary.append(chosen)
        flat = self.columns(np.tile(np.minimum(low, 0), count), np.tile(np.maximum(high, 0), count))
        copies = flat.reshape(count, width)
        one, eye = np.ones(1), np.eye(width)
        self.constrain(one, one, (np.ones((1, count)), chosen))
        zero = np.zeros(width)
        self.constrain(zero, zero, (-eye, inputs), (np.tile(eye, count), flat))
        out = self.columns(bounds.out_low[t], bounds.out_high[t])
        zero = np.zeros(len(out))
        maps = np.concatenate([region.out[:, :-1] for region in regions], 1)
        offsets = np.stack([region.out[:, -1] for region in regions], 1)
        self.constrain(zero, zero, (-np.eye(len(out)), out), (maps, flat), (offsets, chosen))
        for k, region in enumerate(regions):
            own, copy = chosen[k : k + 1], copies[k]
            rows = np.concatenate([region.sides[:, :-1], eye, -eye])
            scale = np.concatenate([region.sides[:, -1], -high, low])[:, None]
            self.constrain(
                np.full(len(rows), -INF), np.zeros(len(rows)), (rows, copy), (scale, own)
            )
        self.choices.append(Choice(regions, copies, chosen))
        return out

    def _charge(self, term: Term, t: int, y: Index, weight: float) -> None:
        """Add the columns and rows of a term over y = [outputs, action] of step t."""
        count, width = term.weight.shape
        y = y[:width]
        if term.kind == "linear":
            self.costs.append((y, weight * term.weight.sum(0)))
            self.offset += weight * float(term.bias.sum())
            self.charges.append(Charge(term, t, y[:0]))
            return
        above = np.maximum(term.weight, 0)
        below = term.weight - above
        decision = t // self.problem.hold
        low = [self.bounds.out_low[t], self.problem.action_low[decision]]
        high = [self.bounds.out_high[t], self.problem.action_high[decision]]
        y_low, y_high = np.concatenate(low)[:width], np.concatenate(high)[:width]
        least = above @ y_low + below @ y_high + term.bias
        most = above @ y_high + below @ y_low + term.bias
        # some room, so that rounding in these two sums cuts nothing off
        largest = np.maximum(np.abs(y_low), np.abs(y_high))
        room = 1e-9 * (np.abs(term.bias) + np.abs(term.weight) @ largest)
        positive, negative = np.maximum(most, 0) + room, np.maximum(-least, 0) + room
        zero, eye, rhs = np.zeros(count), np.eye(count), -term.bias
        if term.kind == "l1":
            p, n = self.columns(zero, positive), self.columns(zero, negative)
            self.constrain(rhs, rhs, (term.weight, y), (-eye, p), (eye, n))
            carriers = np.concatenate([p, n])
        elif term.kind == "hinge":
            carriers = self.columns(zero, positive)
            self.constrain(np.full(count, -INF), rhs, (term.weight, y), (-eye, carriers))
        else:
            carriers = self.columns(np.zeros(1), np.maximum(positive, negative).max(keepdims=True))
            ones, free = np.ones((count, 1)), np.full(count, -INF)
            self.constrain(free, rhs, (term.weight, y), (-ones, carriers))
            self.constrain(free, -rhs, (-term.weight, y), (-ones, carriers))
        self.costs.append((carriers, np.full(len(carriers), weight)))
        self.charges.append(Charge(term, t, carriers))

    def _finish(
        self,
        actions: Index,
        obs: Index,
        outputs: Index,
        unstable: NDArray[np.bool_],
        first: list[int],
        first_row: list[int],
    ) -> Program:
        """Return the program, its blocks as rows of a sparse matrix."""
        where, index, value = [], [], []
        for matrix, row, columns in self.blocks:
            i, j = np.nonzero(matrix)
            where.append(i + row)
            index.append(columns[j])
            value.append(matrix[i, j])
        rows = np.concatenate(where)
        order = np.argsort(rows, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=self.rows))])
        cost = np.zeros(self.count)
        for columns, weights in self.costs:
            np.add.at(cost, columns, weights)
        integer = np.zeros(self.count, dtype=bool)
        integer[np.concatenate([np.zeros(0, np.int64), *self.binary])] = True
        return Program(
            cost,
            self.offset,
            np.concatenate(self.low),
            np.concatenate(self.high),
            integer,
            start,
            np.concatenate(index)[order],
            np.concatenate(value)[order],
            np.concatenate(self.row_low),
            np.concatenate(self.row_high),
            actions,
            obs,
            outputs,
            unstable,
            np.array(first),
            np.array(first_row),
            tuple(self.charges),
            self.problem,
            tuple(self.choices),
        )


def relu_only(network: ReluNetwork) -> ReluNetwork:
    """Return a network whose neurons are all ReLUs, as programs need."""
    return network if bool((network.kinds == RELU).all()) else network.simplify()
