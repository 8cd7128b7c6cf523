"""Proven bounds of an unrolled ReLU network: intervals, and CROWN from the current state.

Every bound is rounded outward: each float64 operation on the way is charged its largest error, so
that no trajectory leaves the bounds, not by a bit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mbrl.relu.linear_relaxation import Crown, Ranges, affine
from mbrl.relu.network import RELU, Array, Kinds, ReluNetwork


class Bounds(NamedTuple):
    """Bounds of T steps from one obs, whatever the actions inside their limits."""

    out_low: Array  # (T, num_outputs)
    out_high: Array
    low: Array  # (T, num_neurons) of the preactivations
    high: Array

    def unstable(self) -> np.ndarray:
        """Return which neurons may be on either side: (T, num_neurons) bool."""
        return (self.low < 0) & (self.high > 0)

    def num_unstable(self) -> int:
        """Return their number: the binaries of a program, and the best predictor of its time."""
        return int(self.unstable().sum())

    def kinds(self, step: int) -> Kinds:
        """Return what each neuron (num_neurons,) is in a step: a ReLU where unstable."""
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
        box: (low, high) of obs (obs_dim,), used at every step instead of obs: the bounds of a
            program that does not know the current state.
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
    """Bound T steps by CROWN (Zhang et al. 2018): linear bounds pulled back to obs and the actions.

    Args:
        network: simplified: all neurons ReLUs.
        obs: (obs_dim,) where the steps begin.
        action_low: (T, act_dim).
        action_high: (T, act_dim).
        hold: steps for which an action is held; it is then one variable.
        known: bounds that hold already; the result is inside them.
    """
    tables = Crown(network, obs, len(action_low), hold, outward=True)
    inside = None
    if known is not None:
        inside = Ranges(known.low, known.high, known.out_low, known.out_high)
    low, high, row_low, row_high = tables.bound(action_low[::hold], action_high[::hold], inside)[0]
    return Bounds(row_low, row_high, low, high)


def _interval_step(
    network: ReluNetwork, low: Array, high: Array, u_low: Array, u_high: Array
) -> tuple[Array, Array, Array, Array]:
    """Bound the outputs and preactivations of one step from a box."""
    lower, upper = np.concatenate([low, u_low]), np.concatenate([high, u_high])
    pre_low, pre_high = [low[:0]], [low[:0]]
    for layer in network.layers:
        largest = np.maximum(np.abs(lower), np.abs(upper))
        size = np.abs(layer.weight) @ largest + np.abs(layer.bias)
        a, b = affine(layer.weight, layer.bias, lower, upper, size)
        pre_low.append(a)
        pre_high.append(b)
        lower = np.concatenate([lower, np.maximum(a, 0)])
        upper = np.concatenate([upper, np.maximum(b, 0)])
    largest = np.maximum(np.abs(lower), np.abs(upper))
    size = np.abs(network.weight) @ largest + np.abs(network.bias)
    out = affine(network.weight, network.bias, lower, upper, size)
    return *out, np.concatenate(pre_low), np.concatenate(pre_high)
