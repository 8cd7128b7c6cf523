"""Optimality-based bound tightening: each preactivation's range in the program's relaxation.

With the cost of a known plan as a cutoff the ranges hold for every plan that is not worse, which
keeps the optimum. A range is taken from the linear program's duals, not from its primal value, so
that it is proven whatever the solver's tolerances.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from mbrl.relu.bounds import Bounds
from mbrl.relu.duals import Rows
from mbrl.relu.highs import ROOM, apart, as_lp, make
from mbrl.relu.program import INF, Problem, Program, build
from mbrl.relu.scaling import rescale, units_of


@apart
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
        start, index, value = program.start, program.index, program.value
        row_low, row_high = program.row_low, program.row_high
        if np.isfinite(cutoff):  # rounded up: the known plan itself stays inside
            limit = cutoff - program.offset
            limit += ROOM * units_of(program).cost
            index = np.concatenate([index, cost])
            value = np.concatenate([value, program.cost[cost]])
            start = np.append(start, len(index))
            row_low, row_high = np.append(row_low, -INF), np.append(row_high, limit)
        relaxed = program._replace(
            cost=np.zeros_like(program.cost), offset=0.0, start=start, index=index,
            value=value, row_low=row_low, row_high=row_high,
        )  # fmt: skip
        self.units = units_of(relaxed)
        self.highs.passModel(as_lp(rescale(relaxed, self.units), relaxed=True))
        self.low, self.high = program.low.copy(), program.high.copy()
        self.rows = Rows(start, index, value, row_low, row_high)
        self.costs = np.zeros_like(program.cost)

    def minimum(self, z: int, s: int, side: int) -> float:
        """Bound side * (x[z] - x[s]) from below; -inf if HiGHS does not solve it."""
        import highspy

        columns = np.array([z, s], dtype=np.int32)
        weights = np.array([side, -side]) * self.units.column[columns]
        unit = float(np.abs(weights).max())
        self.highs.changeColsCost(2, columns, weights / unit)
        self.highs.run()
        solution = self.highs.getSolution()
        status = self.highs.getModelStatus()
        self.highs.changeColsCost(2, columns, np.zeros(2))
        if status != highspy.HighsModelStatus.kOptimal:
            return -INF
        self.costs[z], self.costs[s] = side, -side
        dual = np.array(solution.row_dual) * unit / self.units.row
        bound = self.rows.bound(self.costs, self.low, self.high, dual)
        self.costs[z] = self.costs[s] = 0
        return bound

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
        units, rows = self.units, self.rows
        for column, most in ((z, max(high, 0.0)), (s, max(-low, 0.0))):
            self.high[column] = min(self.high[column], most)
            scaled = float(self.high[column] / units.column[column])
            self.highs.changeColBounds(int(column), 0.0, scaled)
        if high <= 0 or low >= 0:
            side = 0.0 if high <= 0 else 1.0
            self.low[d] = self.high[d] = side
            self.highs.changeColBounds(int(d), side, side)
            return
        for at, entry in ((row, high), (row + count, low)):
            rows.value[rows.start[at] + 1] = -entry
            self.highs.changeCoeff(int(at), int(d), float(-entry / units.row[at]))
        rows.high[row + count] = -low
        limit = float(-low / units.row[row + count])
        self.highs.changeRowBounds(int(row + count), -INF, limit)
