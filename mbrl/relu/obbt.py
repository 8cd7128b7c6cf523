"""Optimality-based bound tightening: each preactivation's range in the program's relaxation.

With the cost of a known plan as a cutoff the ranges hold for every plan that is not worse, which
keeps the optimum. A range is taken from the linear program's duals, not from its primal value, so
that it is proven whatever the solver's tolerances (Neumaier and Shcherbina 2004).
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from mbrl.relu.bounds import Bounds
from mbrl.relu.highs import as_lp, make
from mbrl.relu.linear_relaxation import EPS
from mbrl.relu.network import Array
from mbrl.relu.program import INF, Problem, Program, build


def tighten(
    problem: Problem,
    bounds: Bounds,
    *,
    cutoff: float = INF,
    deadline: float | None = None,
    max_lps: int | None = None,
    patience: int | None = None,
) -> Bounds:
    """Tighten the bounds of unstable neurons, those of early steps first.

    Args:
        problem: the planning problem.
        bounds: proven bounds to start from.
        cutoff: the cost of a known plan; plans above it need not stay inside the new bounds.
        deadline: seconds.
        max_lps: linear programs solved at most, two for each neuron.
        patience: neurons after which it stops, if they have lost less than a tenth of their width
            together.
    """
    began = time.monotonic()
    program = build(problem, bounds)
    relaxation = _Relaxation(program, cutoff)
    low, high = bounds.low.copy(), bounds.high.copy()
    solved = slowest = tried = 0
    shrunk = 0.0  # sum of the shares of width that neurons have lost
    now = began
    for t, begin in enumerate(program.first):
        neurons = np.flatnonzero(program.unstable[t])
        for k, neuron in enumerate(neurons):
            for side in (1, -1):
                before, now = now, time.monotonic()
                slowest = max(slowest, now - before)
                if max_lps is not None and solved >= max_lps:
                    return bounds._replace(low=low, high=high)
                if deadline is not None and now - began + slowest > deadline:
                    return bounds._replace(low=low, high=high)
                z, s = begin + k, begin + len(neurons) + k
                least = relaxation.minimum(z, s, side)
                solved += 1
                if not np.isfinite(least):
                    continue
                if side > 0:
                    low[t, neuron] = max(low[t, neuron], least)
                else:
                    high[t, neuron] = min(high[t, neuron], -least)
            if low[t, neuron] > high[t, neuron]:  # nothing is left below the cutoff
                low[t, neuron] = high[t, neuron]
            tried += 1
            width = bounds.high[t, neuron] - bounds.low[t, neuron]
            shrunk += 1 - (high[t, neuron] - low[t, neuron]) / width
            if tried == patience and shrunk < 0.1 * tried:
                return bounds._replace(low=low, high=high)
            row = program.first_row[t] + len(neurons) + k
            relaxation.shrink(row, k, len(neurons), begin, low[t, neuron], high[t, neuron])
    return bounds._replace(low=low, high=high)


class _Relaxation:
    """Linear relaxation of a program in HiGHS, for one objective after another."""

    def __init__(self, program: Program, cutoff: float):
        self.highs: Any = make({"presolve": "off", "solver": "simplex", "simplex_strategy": 4})
        cost = np.flatnonzero(program.cost)
        self.low, self.high = program.low.copy(), program.high.copy()
        self.start = program.start
        self.index, self.value = program.index, program.value.copy()
        self.row_low, self.row_high = program.row_low, program.row_high
        if np.isfinite(cutoff):  # rounded up: the known plan itself stays inside
            limit = cutoff - program.offset
            limit += 1e-7 * (1 + abs(cutoff) + abs(program.offset))
            self.index = np.concatenate([self.index, cost])
            self.value = np.concatenate([self.value, program.cost[cost]])
            self.start = np.append(self.start, len(self.index))
            self.row_low = np.append(self.row_low, -INF)
            self.row_high = np.append(self.row_high, limit)
        self.rows = np.repeat(np.arange(len(self.row_low)), np.diff(self.start))
        relaxed = program._replace(
            cost=np.zeros_like(program.cost), offset=0.0, start=self.start, index=self.index,
            value=self.value, row_low=self.row_low, row_high=self.row_high,
        )  # fmt: skip
        self.highs.passModel(as_lp(relaxed, relaxed=True))
        self.costs = np.zeros_like(program.cost)

    def minimum(self, z: int, s: int, side: int) -> float:
        """Bound side * (x[z] - x[s]) from below; -inf if HiGHS does not solve it."""
        import highspy

        columns = np.array([z, s], dtype=np.int32)
        self.highs.changeColsCost(2, columns, np.array([side, -side], dtype=np.float64))
        self.highs.run()
        solution = self.highs.getSolution()
        status = self.highs.getModelStatus()
        self.highs.changeColsCost(2, columns, np.zeros(2))
        if status != highspy.HighsModelStatus.kOptimal:
            return -INF
        self.costs[z], self.costs[s] = side, -side
        bound = self._proven(np.array(solution.row_dual))
        self.costs[z] = self.costs[s] = 0
        return bound

    def _proven(self, dual: Array) -> float:
        """Bound the objective from below by any duals (rows,), rounding included."""
        dual = np.where((dual > 0) & (self.row_low == -INF), 0, dual)
        dual = np.where((dual < 0) & (self.row_high == INF), 0, dual)
        side = np.where(dual > 0, self.row_low, np.where(dual < 0, self.row_high, 0))
        products = self.value * dual[self.rows]
        count = len(self.costs)
        reduced = self.costs - np.bincount(self.index, products, count)
        largest = np.maximum(np.abs(self.low), np.abs(self.high))
        sizes = np.abs(self.costs) + np.bincount(self.index, np.abs(products), count)
        bound = dual @ side + np.minimum(reduced * self.low, reduced * self.high).sum()
        error = np.abs(dual) @ np.abs(side) + sizes @ largest
        return float(bound - 4 * (count + len(dual)) * EPS * error)

    def shrink(self, row: int, k: int, count: int, begin: int, low: float, high: float) -> None:
        """Set the new range of neuron k of a step whose columns start at `begin`.

        Args:
            row: of z <= high * d; the row of s <= -low * (1 - d) is `count` later.
            k: the neuron among the step's.
            count: of the step's neurons.
            begin: the step's first column.
            low: of the preactivation.
            high: likewise.
        """
        z, s, d = begin + k, begin + count + k, begin + 2 * count + k
        for column, most in ((z, max(high, 0.0)), (s, max(-low, 0.0))):
            self.high[column] = min(self.high[column], most)
            self.highs.changeColBounds(int(column), 0.0, float(self.high[column]))
        if high <= 0 or low >= 0:
            side = 0.0 if high <= 0 else 1.0
            self.low[d] = self.high[d] = side
            self.highs.changeColBounds(int(d), side, side)
            return
        for at, entry in ((row, high), (row + count, low)):
            self.value[self.start[at] + 1] = -entry
            self.highs.changeCoeff(int(at), int(d), float(-entry))
        self.row_high[row + count] = -low
        self.highs.changeRowBounds(int(row + count), -INF, float(-low))
