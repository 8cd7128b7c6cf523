"""Proven bounds of an unrolled ReLU network: intervals, and CROWN from the current state.

Zhang et al. 2018 (CROWN). Every bound is rounded outward: each float64 operation on the way is
charged its largest error, so that no trajectory leaves the bounds, not by a bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mbrl.relu.network import RELU, Array, Kinds, ReluNetwork

EPS = float(np.finfo(np.float64).eps)


class Bounds(NamedTuple):
    """Where T steps from one obs can lead, whatever the actions inside their limits."""

    out_low: Array  # (T, num_outputs)
    out_high: Array
    low: Array  # (T, num_neurons) of the preactivations
    high: Array

    def unstable(self) -> np.ndarray:
        """Tell which neurons may be on either side (T, num_neurons) bool."""
        return (self.low < 0) & (self.high > 0)

    def num_unstable(self) -> int:
        """Count them: the binaries that a program needs, the best predictor of its time."""
        return int(self.unstable().sum())

    def kinds(self, step: int) -> Kinds:
        """Say what each neuron (num_neurons,) does in a step: ReLU where unstable."""
        active = np.where(self.low[step] >= 0, 1, 0)
        return np.where(self.unstable()[step], RELU, active).astype(np.int8)


def interval(
    network: ReluNetwork,
    obs: Array,
    action_low: Array,
    action_high: Array,
    *,
    box: tuple[Array, Array] | None = None,
) -> Bounds:
    """Bound T steps by interval arithmetic; all neurons must be ReLUs.

    Args:
        network: simplified.
        obs: (obs_dim,) where the steps begin.
        action_low: (T, act_dim).
        action_high: (T, act_dim).
        box: (low, high) of obs (obs_dim,) that is taken for every step instead of obs: the bounds
            that a program without knowledge of the current state has to take.
    """
    rows: list[tuple[Array, Array, Array, Array]] = []
    low = high = obs
    for u_low, u_high in zip(action_low, action_high, strict=True):
        if box is not None:
            low, high = box
        step = _interval_step(network, low, high, u_low, u_high)
        low, high = step[0][: network.obs_dim], step[1][: network.obs_dim]
        rows.append(step)
    return Bounds(*(np.stack(x) for x in zip(*rows, strict=True)))


def crown(
    network: ReluNetwork,
    obs: Array,
    action_low: Array,
    action_high: Array,
    *,
    hold: int = 1,
    known: Bounds | None = None,
) -> Bounds:
    """Bound T steps by CROWN: linear bounds of each step pulled back to obs and the actions.

    Args:
        network: simplified: all neurons ReLUs.
        obs: (obs_dim,) where the steps begin.
        action_low: (T, act_dim).
        action_high: (T, act_dim).
        hold: steps for which an action is held; it is then one variable.
        known: bounds that hold already; what is found is inside them.
    """
    return _Crown(network, obs, action_low, action_high, hold).run(known)


class _Crown:
    """The backward passes, with the relaxations of the steps bounded so far."""

    def __init__(self, network: ReluNetwork, obs: Array, low: Array, high: Array, hold: int):
        self.network, self.hold = network, hold
        self.horizon, self.act_dim = low.shape
        self.n = network.obs_dim
        inputs = network.num_inputs
        self.starts = np.cumsum([inputs, *(x.bias.shape[0] for x in network.layers)])
        decisions = -(-self.horizon // hold)
        self.u_mid = ((low + high) / 2)[::hold].ravel()
        self.u_half = ((high - low) / 2)[::hold].ravel() * (1 + 4 * EPS)
        self.u_size = np.abs(self.u_mid) + self.u_half
        self.width = decisions * self.act_dim
        self.obs, self.u_low, self.u_high = obs, low, high
        # relaxation of each step's neurons: slope_low * a <= relu(a) <= slope * a + lift
        shape = (self.horizon, network.num_neurons)
        self.slope, self.lift, self.slope_low = (np.zeros(shape) for _ in range(3))
        # largest sums of magnitudes that each step's rows add up, for the rounding
        self.pre_size = np.zeros(shape)
        self.out_size = np.zeros((self.horizon, network.num_outputs))
        terms = network.weight.shape[1] + 8 * (self.horizon + len(network.layers)) + 16
        self.unit = 4 * terms * EPS
        # the tables of a bound: rows and their negatives, so that one pass gives both sides
        eye = np.eye(network.num_outputs)
        self.out_rows = np.concatenate([eye, -eye])
        self.pre_rows = [np.concatenate([x.weight, -x.weight]) for x in network.layers]
        self.pre_bias = [np.concatenate([x.bias, -x.bias]) for x in network.layers]
        self.sizes = [np.abs(x.weight) for x in network.layers]
        self.out_abs = np.abs(network.weight)
        # weights with the bias as one more column, so that one product gives both
        self.out_table = np.column_stack([network.weight, network.bias])
        self.tables = [np.column_stack([x.weight, x.bias]) for x in network.layers]

    def run(self, known: Bounds | None) -> Bounds:
        """Bound step after step, layer after layer."""
        network = self.network
        shape = (self.horizon, network.num_neurons)
        low, high = np.zeros(shape), np.zeros(shape)
        out_low = np.zeros((self.horizon, network.num_outputs))
        out_high = np.zeros_like(out_low)
        box = np.stack([self.obs, self.obs])  # of the obs that the step begins from
        first: Any = None  # the first layer's bounds at step t, found along with the step before
        if network.layers:
            rows, actions, bias = self._reads(0)
            first = self._pull(rows, actions, bias, 0)
        for t in range(self.horizon):
            seen = np.concatenate([box, [self.u_low[t], self.u_high[t]]], 1)  # (2, seen so far)
            largest = np.abs(seen).max(0)
            for index, layer in enumerate(network.layers):
                at = self._at(index)
                self.pre_size[t, at] = self.sizes[index] @ largest + np.abs(layer.bias)
                total, error = first if index == 0 else self._within(t, index)
                found = self._finish(total, error, self.pre_size[t, at])
                plain = _affine(layer.weight, layer.bias, seen[0], seen[1], self.pre_size[t, at])
                lower = np.maximum(found[0], plain[0])
                upper = np.minimum(found[1], plain[1])
                if known is not None:
                    lower = np.maximum(lower, known.low[t, at])
                    upper = np.minimum(upper, known.high[t, at])
                low[t, at], high[t, at] = lower, np.maximum(upper, lower)
                self._relax(t, at, low[t, at], high[t, at])
                post = np.maximum(np.stack([low[t, at], high[t, at]]), 0)
                seen = np.concatenate([seen, post], 1)
                largest = np.concatenate([largest, post[1]])
            self.out_size[t] = self.out_abs @ largest + np.abs(network.bias)
            first, raw = self._outputs(t)
            found = self._finish(*raw, self.out_size[t])
            plain = _affine(network.weight, network.bias, seen[0], seen[1], self.out_size[t])
            lower, upper = np.maximum(found[0], plain[0]), np.minimum(found[1], plain[1])
            if known is not None:
                lower = np.maximum(lower, known.out_low[t])
                upper = np.minimum(upper, known.out_high[t])
            out_low[t], out_high[t] = lower, np.maximum(upper, lower)
            box = np.stack([out_low[t, : self.n], out_high[t, : self.n]])
        return Bounds(out_low, out_high, low, high)

    def _at(self, index: int) -> slice:
        """Say where the neurons of a layer stand among all."""
        return slice(self.starts[index] - self.starts[0], self.starts[index + 1] - self.starts[0])

    def _reads(self, t: int) -> tuple[Array, Array, Array]:
        """Give the first layer's rows at step t: over the state, the actions, and the bias."""
        weight = self.pre_rows[0]
        actions = np.zeros((len(weight), self.width))
        self._collect(actions, weight, t)
        return weight[:, : self.n], actions, self.pre_bias[0]

    def _within(self, t: int, index: int) -> tuple[Array, Array]:
        """Pull a later layer's rows back to the step's own inputs, then on."""
        total = self.pre_bias[index].copy()
        error = np.zeros_like(total)
        full = self._through(self.pre_rows[index].copy(), t, index, total, error)
        actions = np.zeros((len(total), self.width))
        self._collect(actions, full, t)
        total, more = self._pull(full[:, : self.n], actions, total, t)
        return total, error + more

    def _outputs(self, t: int) -> tuple[Any, tuple[Array, Array]]:
        """Pull the outputs of step t back, and with them the first layer of step t + 1."""
        count = len(self.out_rows)
        zeros = np.zeros(count)
        if t + 1 == self.horizon or not self.network.layers:
            return None, self._pull(self.out_rows, np.zeros((count, self.width)), zeros, t + 1)
        rows, actions, bias = self._reads(t + 1)
        rows = np.pad(rows, ((0, 0), (0, self.network.num_outputs - self.n)))
        total, error = self._pull(
            np.concatenate([self.out_rows, rows]),
            np.concatenate([np.zeros((count, self.width)), actions]),
            np.concatenate([zeros, bias]),
            t + 1,
        )
        return (total[count:], error[count:]), (total[:count], error[:count])

    def _relax(self, t: int, at: slice, low: Array, high: Array) -> None:
        """Put a ReLU between two lines on [low, high], outward."""
        unstable = (low < 0) & (high > 0)
        active = low >= 0
        span = np.where(unstable, high - low, 1)
        slope = np.where(unstable, high / span, active)
        self.slope[t, at] = slope
        self.lift[t, at] = np.where(unstable, -slope * low + 16 * EPS * span, 0)
        self.slope_low[t, at] = np.where(unstable, high > -low, active)

    def _pull(self, rows: Array, actions: Array, bias: Array, t: int) -> tuple[Array, Array]:
        """Bound rows from above: over the outputs of step t - 1, or the obs, and the actions.

        Args:
            rows: (R, num_outputs) or (R, obs_dim).
            actions: (R, width) added to.
            bias: (R,) added to them.
            t: the steps that are gone through.

        Returns:
            Bounds (R,), and the sums of magnitudes that went into them (R,).
        """
        layers, n = len(self.network.layers), self.n
        total = bias.copy()
        error = np.zeros_like(total)
        for s in range(t - 1, -1, -1):
            width = rows.shape[1]
            product = rows @ self.out_table[:width]
            total += product[:, -1]
            error += np.abs(rows) @ self.out_size[s, :width]
            full = self._through(product[:, :-1], s, layers, total, error)
            self._collect(actions, full, s)
            rows = full[:, :n]
        total += rows @ self.obs + actions @ self.u_mid
        sizes = np.abs(actions)
        total += sizes @ self.u_half
        error += np.abs(rows) @ np.abs(self.obs) + sizes @ self.u_size
        return total, error

    def _finish(self, total: Array, error: Array, size: Array) -> tuple[Array, Array]:
        """Turn bounds of r and -r (2R,) into (low, high) of r, outward.

        Args:
            total: the bounds.
            error: magnitudes that went into them.
            size: (R,) largest sums of magnitudes of the rows themselves.
        """
        half = len(size)
        high = total + self.unit * (error + np.abs(total) + np.concatenate([size, size]))
        return -high[half:], high[:half]

    def _through(self, full: Array, s: int, layer: int, total: Array, error: Array) -> Array:
        """Replace the neurons of layers below `layer` in rows `full` by their relaxations.

        Returns:
            Rows over [obs, action] of step s; total and error are added to in place.
        """
        for index in range(layer - 1, -1, -1):
            begin, end = self.starts[index : index + 2]
            at = slice(begin - self.starts[0], end - self.starts[0])
            neurons = full[:, begin:end]
            above = np.maximum(neurons, 0)
            below = neurons - above
            pre = above * self.slope[s, at] + below * self.slope_low[s, at]
            lifted, product = above @ self.lift[s, at], pre @ self.tables[index]
            total += lifted + product[:, -1]
            error += lifted + np.abs(pre) @ self.pre_size[s, at]
            full[:, :begin] += product[:, :-1]
        return full

    def _collect(self, actions: Array, full: Array, s: int) -> None:
        """Add the action columns of rows over step s."""
        begin = s // self.hold * self.act_dim
        actions[:, begin : begin + self.act_dim] += full[:, self.n : self.network.num_inputs]


def _affine(
    weight: Array, bias: Array, low: Array, high: Array, size: Array
) -> tuple[Array, Array]:
    """Bound weight @ x + bias over the box low <= x <= high, outward."""
    above = np.maximum(weight, 0)
    below = weight - above
    slack = 4 * (weight.shape[1] + 4) * EPS * size
    return above @ low + below @ high + bias - slack, above @ high + below @ low + bias + slack


def _interval_step(
    network: ReluNetwork, low: Array, high: Array, u_low: Array, u_high: Array
) -> tuple[Array, Array, Array, Array]:
    """Bound the outputs and preactivations of one step from a box."""
    lower, upper = np.concatenate([low, u_low]), np.concatenate([high, u_high])
    pre_low, pre_high = [low[:0]], [low[:0]]
    for layer in network.layers:
        largest = np.maximum(np.abs(lower), np.abs(upper))
        size = np.abs(layer.weight) @ largest + np.abs(layer.bias)
        a, b = _affine(layer.weight, layer.bias, lower, upper, size)
        pre_low.append(a)
        pre_high.append(b)
        lower = np.concatenate([lower, np.maximum(a, 0)])
        upper = np.concatenate([upper, np.maximum(b, 0)])
    largest = np.maximum(np.abs(lower), np.abs(upper))
    size = np.abs(network.weight) @ largest + np.abs(network.bias)
    out = _affine(network.weight, network.bias, lower, upper, size)
    return *out, np.concatenate(pre_low), np.concatenate(pre_high)
