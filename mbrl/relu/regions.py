"""Linear regions that a step of a ReLU network can be in, by depth-first search.

A network of few neurons has few regions near where a plan can be, so that a step can be written as
a choice among them (Program, disjunctive form): a relaxation as tight as a single step allows.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbrl.relu.bounds import Bounds
from mbrl.relu.highs import apart, make
from mbrl.relu.network import IDENTITY, ZERO, Array, Kinds, ReluNetwork
from mbrl.relu.program import INF, Problem, Region

THIN = 1e-9  # of the inputs' half ranges: smaller regions are left to their neighbors


class _Rows(NamedTuple):
    """Every neuron and output of a region as a row over [inputs, 1]."""

    pre: Array  # (num_neurons, num_inputs + 1)
    out: Array  # (num_outputs, num_inputs + 1)


@apart
def enumerate_regions(
    problem: Problem,
    bounds: Bounds,
    *,
    max_regions: int = 2000,
    deadline: float | None = None,
) -> tuple[tuple[Region, ...], ...] | None:
    """List the regions that each step can be in, given where its obs and action can be.

    Returns:
        Regions of each step; None if a step has more than max_regions, or if the deadline
            (seconds) is over.
    """
    steps = []
    ends = INF if deadline is None else time.monotonic() + deadline
    low, high = problem.held(problem.action_low), problem.held(problem.action_high)
    obs_low = obs_high = problem.obs
    for t in range(problem.num_steps):
        box = np.concatenate([obs_low, low[t]]), np.concatenate([obs_high, high[t]])
        regions = _step(problem.network, bounds, t, box, max_regions, ends)
        if regions is None:
            return None
        steps.append(regions)
        n = problem.network.obs_dim
        obs_low, obs_high = bounds.out_low[t, :n], bounds.out_high[t, :n]
    return tuple(steps)


def _step(
    network: ReluNetwork, bounds: Bounds, t: int, box: tuple[Array, Array], most: int, ends: float
) -> tuple[Region, ...] | None:
    """Search the sides of the unstable neurons, one after the other."""
    kinds = bounds.kinds(t)
    unstable = np.flatnonzero(bounds.unstable()[t])
    branches: list[Kinds] = [np.where(bounds.unstable()[t], ZERO, kinds).astype(np.int8)]
    for k, neuron in enumerate(unstable):
        grown = []
        for branch in branches:
            if time.monotonic() > ends:
                return None
            for side in (ZERO, IDENTITY):
                trial = branch.copy()
                trial[neuron] = side
                if _holds_ball(_rows(network, trial).pre, trial, unstable[: k + 1], box):
                    grown.append(trial)
        branches = grown
        if len(branches) > most:
            return None
    regions = []
    for branch in branches:
        rows = _rows(network, branch)
        active = branch[unstable] == IDENTITY
        # written so that every side holds where a row is at most 0
        sides = np.where(active[:, None], -1, 1) * rows.pre[unstable]
        regions.append(Region(active, sides, rows.out))
    return tuple(regions)


def _rows(network: ReluNetwork, kinds: Kinds) -> _Rows:
    """Write the network as one affine map, each neuron an identity or nothing."""
    inputs = network.num_inputs
    values = np.eye(inputs, inputs + 1)
    pres, done = [np.zeros((0, inputs + 1))], 0
    for layer in network.layers:
        pre = layer.weight @ values
        pre[:, -1] += layer.bias
        on = kinds[done : done + len(pre)] == IDENTITY
        values = np.concatenate([values, np.where(on[:, None], pre, 0)])
        pres.append(pre)
        done += len(pre)
    out = network.weight @ values
    out[:, -1] += network.bias
    return _Rows(np.concatenate(pres), out)


def _holds_ball(
    pre: Array, kinds: Kinds, neurons: NDArray[np.int64], box: tuple[Array, Array]
) -> bool:
    """Return whether a ball fits between the sides of some neurons inside a box."""
    import highspy

    sign = np.where(kinds[neurons] == IDENTITY, -1.0, 1.0)
    rows = sign[:, None] * pre[neurons]  # at most 0
    middle, half = (box[0] + box[1]) / 2, (box[1] - box[0]) / 2
    free = half > 0
    slopes = rows[:, :-1][:, free] * half[free]  # over inputs in [-1, 1]
    fixed = rows[:, -1] + rows[:, :-1] @ middle
    size = np.linalg.norm(slopes, axis=1)
    unit = np.where(size > 0, size, np.maximum(np.abs(fixed), 1e-300))
    slopes, fixed, size = slopes / unit[:, None], fixed / unit, size / unit
    if not free.any():
        return bool((fixed <= 0).all())
    count = int(free.sum())
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = count + 1, len(rows)
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = np.append(np.zeros(count), 1.0)
    lp.col_lower_ = np.append(-np.ones(count), -INF)
    lp.col_upper_ = np.append(np.ones(count), 1.0)
    lp.row_lower_, lp.row_upper_ = np.full(len(rows), -INF), -fixed
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = lp.num_col_, lp.num_row_
    lp.a_matrix_.start_ = np.arange(len(rows) + 1) * (count + 1)
    lp.a_matrix_.index_ = np.tile(np.arange(count + 1), len(rows))
    lp.a_matrix_.value_ = np.concatenate([slopes, size[:, None]], 1).ravel()
    solver = make({"presolve": "off", "solver": "simplex"})
    solver.passModel(lp)
    solver.run()
    optimal = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return not optimal or solver.getInfo().objective_function_value > THIN
