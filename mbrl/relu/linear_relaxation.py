"""CROWN: linear bounds of an unrolled ReLU network, pulled back to its first state and the actions.

Zhang et al. 2018. One implementation serves one box of actions, every bound rounded outward, and
many boxes at once. Arrays may have any batch axes in front; without them the passes work on plain
matrices. T steps, N neurons, R rows that are bounded, D = decisions * act_dim.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mbrl.relu.network import Array, ReluNetwork

EPS = float(np.finfo(np.float64).eps)


class Lines(NamedTuple):
    """Lines around each ReLU: lower * a <= relu(a) <= slope * a + lift."""

    lower: Array  # (..., T, N)
    slope: Array  # (..., T, N)
    lift: Array  # (..., T, N)


class Ranges(NamedTuple):
    """Bounds of preactivations, and of rows over [outputs, action] of each step."""

    low: Array  # (..., T, N)
    high: Array  # (..., T, N)
    row_low: Array  # (..., T, R)
    row_high: Array  # (..., T, R)


class Moves(NamedTuple):
    """Largest change of a bound by a unit of an action."""

    neurons: Array  # (..., T, N, D)
    rows: Array  # (..., T, R, D)


class Sizes(NamedTuple):
    """Largest sums of magnitudes that rows add up, of which rounding takes its share."""

    pre: Array  # (T, N) preactivations
    out: Array  # (T, num_outputs)


class Crown:
    """Backward passes through the steps of a network.

    With `outward` each float64 operation is charged its largest error, so that no trajectory leaves
    the bounds, not by a bit, and bounds are intersected with those of interval arithmetic. The rows
    are then the outputs. Without it the error is charged by the magnitudes in a larger box.

    Args:
        network: simplified: all neurons ReLUs.
        obs: (obs_dim,) where the steps start.
        horizon: steps T.
        hold: steps for which an action is held; it is then one variable.
        rows: (R, num_outputs + act_dim) that are bounded at each step; None for the outputs.
        row_bias: (R,) added to the rows.
        outward: whether there is one box, which gives the magnitudes.
        sizes: magnitudes of all boxes, unless outward; None to charge no rounding.
    """

    def __init__(
        self,
        network: ReluNetwork,
        obs: Array,
        horizon: int,
        hold: int,
        *,
        rows: Array | None = None,
        row_bias: Array | None = None,
        outward: bool = False,
        sizes: Sizes | None = None,
    ):
        """Build the tables of the passes."""
        self.network, self.obs, self.hold, self.outward = network, obs, hold, outward
        self.sizes = sizes
        self.horizon, self.n, self.act_dim = horizon, network.obs_dim, network.act_dim
        self.width = -(-horizon // hold) * self.act_dim  # D
        widths = [x.bias.shape[0] for x in network.layers]
        self.starts = np.cumsum([network.num_inputs, *widths])
        if rows is None or row_bias is None:
            rows = np.eye(network.num_outputs, network.num_outputs + self.act_dim)
            row_bias = np.zeros(network.num_outputs)
        self.row_weight, self.row_bias = rows, row_bias
        # weights with the bias as one more column, so that one product gives both
        self.out_table = np.column_stack([network.weight, network.bias])
        self.tables = [np.column_stack([x.weight, x.bias]) for x in network.layers]
        terms = network.weight.shape[1] + 8 * (horizon + len(network.layers)) + 16
        # relative error of a bound; 0 where no magnitudes are known
        self.rounding = 4 * terms * EPS if outward or sizes is not None else 0.0

    def neurons(self, index: int) -> slice:
        """Return where the neurons of a layer stand among all."""
        return slice(self.starts[index] - self.starts[0], self.starts[index + 1] - self.starts[0])

    def place(self, weight: Array, t: int) -> Array:
        """Return columns (..., act_dim) of the action of step t among all decisions (..., D)."""
        placed = np.zeros((*weight.shape[:-1], self.width))
        begin = t // self.hold * self.act_dim
        placed[..., begin : begin + self.act_dim] = weight
        return placed

    def through(
        self,
        full: Array,
        s: int,
        layer: int,
        total: Array,
        lines: Lines,
        error: Array,
        pre_size: Array,
        weights: Array | None = None,
    ) -> Array:
        """Replace the neurons of layers below `layer` in rows over step s by their lines.

        Args:
            full: rows (..., R, inputs + neurons), changed in place.
            s: the step.
            layer: the first layer that is not replaced.
            total: (..., R) added to in place.
            lines: around the ReLUs.
            error: (..., R) magnitudes, added to in place.
            pre_size: (T, N) largest sums of magnitudes in the preactivations.
            weights: (..., T, N) filled with the first row's weight of each neuron.

        Returns:
            Rows over [obs, action] of step s in the first columns.
        """
        for index in range(layer - 1, -1, -1):
            begin, end = self.starts[index : index + 2]
            at = self.neurons(index)
            neurons = full[..., begin:end]
            if weights is not None:
                weights[..., s, at] = np.abs(neurons[..., 0, :])
            above = np.maximum(neurons, 0)
            below = neurons - above
            slope, lower = lines.slope[..., s, None, at], lines.lower[..., s, None, at]
            pre = above * slope + below * lower
            lifted = (above @ lines.lift[..., s, at, None])[..., 0]
            product = pre @ self.tables[index]
            total += lifted + product[..., -1]
            error += lifted + (np.abs(pre) @ pre_size[s, at, None])[..., 0]
            full[..., :begin] += product[..., :-1]
        return full

    def collect(self, actions: Array, full: Array, s: int) -> None:
        """Add the action columns of rows over step s to actions (..., R, D)."""
        begin = s // self.hold * self.act_dim
        inputs = full[..., self.n : self.network.num_inputs]
        actions[..., begin : begin + self.act_dim] += inputs

    def magnitudes(self, low: Array, high: Array) -> Sizes:
        """Return the magnitudes in a box of decisions (H, act_dim), and in every box inside it."""
        passes = _Passes(self, low, high, None)
        passes.run()
        return Sizes(passes.pre_size, passes.out_size)

    def bound(
        self, low: Array, high: Array, known: Ranges | None = None
    ) -> tuple[Ranges, Moves | None]:
        """Bound all preactivations and rows, step after step, layer after layer.

        Args:
            low: of the decisions (..., H, act_dim).
            high: likewise.
            known: bounds that hold already; the result is inside them.

        Returns:
            The bounds, and unless outward how much each action moves them.
        """
        return _Passes(self, low, high, known).run()


class _Passes:
    """Passes for given boxes of actions, with the lines of the steps bounded so far.

    Args:
        crown: the tables.
        low: of the decisions (..., H, act_dim).
        high: likewise.
        known: bounds that hold already.
    """

    def __init__(self, crown: Crown, low: Array, high: Array, known: Ranges | None):
        self.crown, self.low, self.high, self.known = crown, low, high, known
        network, steps = crown.network, crown.horizon
        self.batch = low.shape[:-2]
        flat = (*self.batch, crown.width)
        self.middle = ((low + high) / 2).reshape(flat)[..., None]
        self.half = ((high - low) / 2).reshape(flat)[..., None]
        if crown.rounding:
            self.half = self.half * (1 + 4 * EPS)
        self.action_size = np.abs(self.middle) + self.half
        shape = (*self.batch, steps, network.num_neurons)
        row_shape = (*self.batch, steps, len(crown.row_weight))
        self.lines = Lines(*(np.zeros(shape) for _ in range(3)))
        shapes = (shape, shape, row_shape, row_shape)
        self.ranges = Ranges(*(np.zeros(x) for x in shapes))
        moves = [] if crown.outward else [np.zeros((*x, crown.width)) for x in (shape, row_shape)]
        self.moves = Moves(*moves) if moves else None
        if crown.sizes is None:
            self.pre_size = np.zeros(shape[-2:])
            self.out_size = np.zeros((steps, network.num_outputs))
            self.row_size = self.out_size if crown.outward else np.zeros(row_shape[-2:])
        else:
            self.pre_size, self.out_size = crown.sizes
            action = np.maximum(np.abs(low), np.abs(high))
            steps_action = action.reshape(-1, *action.shape[-2:]).max(0).repeat(crown.hold, 0)
            whole = np.concatenate([self.out_size, steps_action[:steps]], 1)
            self.row_size = whole @ np.abs(crown.row_weight).T + np.abs(crown.row_bias)
        self.values = np.stack([crown.obs, crown.obs])  # box (2, ...) of a step's values so far

    def run(self) -> tuple[Ranges, Moves | None]:
        """Bound the first layer of each step together with the rows of the step before."""
        crown, network = self.crown, self.crown.network
        outputs, inputs = network.num_outputs, network.num_inputs
        for t in range(crown.horizon + 1):
            blocks = []  # of rows over the outputs of step t - 1 and the actions
            if t:
                weight = crown.row_weight
                actions = crown.place(weight[:, outputs:], t - 1)
                blocks.append((weight[:, :outputs], actions, crown.row_bias))
            if t < crown.horizon and network.layers:
                layer = network.layers[0]
                pad = outputs - crown.n if t else 0  # the state comes first among the outputs
                rows = np.pad(layer.weight[:, : crown.n], ((0, 0), (0, pad)))
                blocks.append((rows, crown.place(layer.weight[:, crown.n : inputs], t), layer.bias))
            pulled = self._pull_blocks(blocks, t)
            if t:
                self._end_step(t - 1, *pulled.pop(0))
            if t == crown.horizon:
                break
            if crown.outward:
                decision = t // crown.hold
                box = np.stack([self.low[decision], self.high[decision]])
                self.values = np.concatenate([self.values, box], 1)
            for index, layer in enumerate(network.layers):
                if crown.outward:
                    largest = np.abs(self.values).max(0)
                    size = np.abs(layer.weight) @ largest + np.abs(layer.bias)
                    self.pre_size[t, crown.neurons(index)] = size
                bounds = self._later_layer(t, index) if index else pulled.pop(0)
                self._end_layer(t, index, *bounds)
            if crown.outward:
                largest = np.abs(self.values).max(0)
                self.out_size[t] = np.abs(network.weight) @ largest + np.abs(network.bias)
        return self.ranges, self.moves

    def _pull_blocks(
        self, blocks: list[tuple[Array, Array, Array]], t: int
    ) -> list[tuple[Array, Array, Array]]:
        """Bound blocks of rows in one pass: total, error and actions of each and its negative."""
        if not blocks:
            return []
        tables = [
            np.concatenate([y for x in parts for y in (x, -x)])
            for parts in zip(*blocks, strict=True)
        ]
        rows, actions, total = map(self._spread, tables)
        total, error = self._pull(rows, actions, total, np.zeros_like(total), t)
        ends = np.cumsum([2 * len(block[2]) for block in blocks])[:-1]
        splits = np.split(total, ends, -1), np.split(error, ends, -1), np.split(actions, ends, -2)
        return list(zip(*splits, strict=True))

    def _spread(self, table: Array) -> Array:
        """Return a copy of a table for each box."""
        return np.array(np.broadcast_to(table, (*self.batch, *table.shape)))

    def _later_layer(self, t: int, index: int) -> tuple[Array, Array, Array]:
        """Bound a layer that sees earlier layers of its step: pull it back to the step's inputs."""
        crown, layer = self.crown, self.crown.network.layers[index]
        full = self._spread(np.concatenate([layer.weight, -layer.weight]))
        total = self._spread(np.concatenate([layer.bias, -layer.bias]))
        error = np.zeros_like(total)
        full = crown.through(full, t, index, total, self.lines, error, self.pre_size)
        actions = np.zeros((*total.shape, crown.width))
        crown.collect(actions, full, t)
        total, error = self._pull(full[..., : crown.n], actions, total, error, t)
        return total, error, actions

    def _pull(
        self, rows: Array, actions: Array, total: Array, error: Array, t: int
    ) -> tuple[Array, Array]:
        """Bound rows over the outputs of step t - 1 (or the first state) and actions from above.

        Args:
            rows: (..., R, outputs or obs_dim).
            actions: (..., R, D), added to in place.
            total: (..., R) added to them, in place.
            error: (..., R) magnitudes so far, added to in place.
            t: the steps that are gone through.

        Returns:
            Bounds (..., R), and the sums of magnitudes that went into them (..., R).
        """
        crown = self.crown
        for s in range(t - 1, -1, -1):
            width = rows.shape[-1]
            product = rows @ crown.out_table[:width]
            total += product[..., -1]
            error += np.abs(rows) @ self.out_size[s, :width]
            layers = len(crown.tables)
            full = crown.through(
                product[..., :-1], s, layers, total, self.lines, error, self.pre_size
            )
            crown.collect(actions, full, s)
            rows = full[..., : crown.n]
        total += rows @ crown.obs + (actions @ self.middle)[..., 0]
        sizes = np.abs(actions)
        total += (sizes @ self.half)[..., 0]
        error += np.abs(rows) @ np.abs(crown.obs) + (sizes @ self.action_size)[..., 0]
        return total, error

    def _end_step(self, t: int, total: Array, error: Array, actions: Array) -> None:
        """Store the bounds of the rows of step t, and start the next step from its outputs."""
        network = self.crown.network
        plain = None
        if self.crown.outward:
            plain = affine(network.weight, network.bias, *self.values, self.row_size[t])
        low, high = self._halves(total, error, self.row_size[t], plain)
        if self.known is not None:
            low = np.maximum(low, self.known.row_low[..., t, :])
            high = np.minimum(high, self.known.row_high[..., t, :])
        high = np.maximum(high, low)
        self.ranges.row_low[..., t, :], self.ranges.row_high[..., t, :] = low, high
        if self.moves is not None:
            self.moves.rows[..., t, :, :] = np.abs(actions[..., : low.shape[-1], :])
        if self.crown.outward:
            self.values = np.stack([low[: self.crown.n], high[: self.crown.n]])

    def _end_layer(self, t: int, index: int, total: Array, error: Array, actions: Array) -> None:
        """Store the bounds and lines of a layer."""
        layer, at = self.crown.network.layers[index], self.crown.neurons(index)
        size, plain = self.pre_size[t, at], None
        if self.crown.outward:
            plain = affine(layer.weight, layer.bias, *self.values, size)
        low, high = self._halves(total, error, size, plain)
        if self.known is not None:
            low = np.maximum(low, self.known.low[..., t, at])
            high = np.minimum(high, self.known.high[..., t, at])
        high = np.maximum(high, low)
        self.ranges.low[..., t, at], self.ranges.high[..., t, at] = low, high
        if self.moves is not None:
            self.moves.neurons[..., t, at, :] = np.abs(actions[..., : low.shape[-1], :])
        lines = upper_line(low, high)
        self.lines.slope[..., t, at], self.lines.lift[..., t, at] = lines
        self.lines.lower[..., t, at] = np.where(high > -low, high > 0, False)
        if self.crown.outward:
            self.values = np.concatenate([self.values, np.maximum(np.stack([low, high]), 0)], 1)

    def _halves(
        self, total: Array, error: Array, size: Array, plain: tuple[Array, Array] | None
    ) -> tuple[Array, Array]:
        """Convert upper bounds of r and -r (..., 2R) to low and high of r.

        Args:
            total: the bounds.
            error: magnitudes that went into them.
            size: (..., R) largest sums of magnitudes of the rows themselves.
            plain: bounds by interval arithmetic, to intersect with.
        """
        both = np.concatenate([size, size], -1)
        total = total + self.crown.rounding * (error + np.abs(total) + both)
        half = size.shape[-1]
        low, high = -total[..., half:], total[..., :half]
        if plain is None:
            return low, high
        return np.maximum(low, plain[0]), np.minimum(high, plain[1])


def upper_line(low: Array, high: Array) -> tuple[Array, Array]:
    """Return slope and lift of the line above a ReLU on [low, high], rounded outward."""
    unstable = (low < 0) & (high > 0)
    span = np.where(unstable, high - low, 1)
    slope = np.where(unstable, high / span, low >= 0)
    return slope, np.where(unstable, -slope * low + 16 * EPS * span, 0)


def affine(weight: Array, bias: Array, low: Array, high: Array, size: Array) -> tuple[Array, Array]:
    """Bound weight @ x + bias over the box low <= x <= high, outward.

    Args:
        weight: (R, n).
        bias: (R,).
        low: (n,).
        high: (n,).
        size: (R,) largest sums of the magnitudes that are added up.
    """
    above = np.maximum(weight, 0)
    below = weight - above
    slack = 4 * (weight.shape[1] + 4) * EPS * size
    return above @ low + below @ high + bias - slack, above @ high + below @ low + bias + slack
