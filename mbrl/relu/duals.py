"""Bounds from the duals of a linear program, proven whatever the solver's tolerances."""

from __future__ import annotations

import numpy as np

from mbrl.relu.linear_relaxation import EPS
from mbrl.relu.network import Array
from mbrl.relu.program import INF, Index


class Rows:
    """Rows low <= A x <= high of a linear program, whose entries may change.

    Args:
        start: (rows + 1,) A row by row.
        index: columns of the entries.
        value: entries.
        low: (rows,).
        high: (rows,).
    """

    def __init__(self, start: Index, index: Index, value: Array, low: Array, high: Array):
        """Copy the entries and the limits."""
        self.start, self.index, self.value = start, index, value.copy()
        self.low, self.high = low.copy(), high.copy()
        self.where = np.repeat(np.arange(len(low)), np.diff(start))

    def bound(self, cost: Array, low: Array, high: Array, dual: Array) -> float:
        """Bound cost @ x from below by any duals, rounding included.

        Neumaier and Shcherbina 2004, "Safe bounds in linear and mixed-integer linear programming".

        Args:
            cost: (columns,).
            low: of x (columns,).
            high: likewise.
            dual: (rows,).
        """
        dual = np.where((dual > 0) & (self.low == -INF), 0, dual)
        dual = np.where((dual < 0) & (self.high == INF), 0, dual)
        side = np.where(dual > 0, self.low, np.where(dual < 0, self.high, 0))
        products = self.value * dual[self.where]
        count = len(cost)
        reduced = cost - np.bincount(self.index, products, count)
        largest = np.maximum(np.abs(low), np.abs(high))
        sizes = np.abs(cost) + np.bincount(self.index, np.abs(products), count)
        bound = dual @ side + np.minimum(reduced * low, reduced * high).sum()
        error = np.abs(dual) @ np.abs(side) + sizes @ largest
        return float(bound - 4 * (count + len(dual)) * EPS * error)
