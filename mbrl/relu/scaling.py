"""Units of a program: a solver's tolerances are then relative to the program's own numbers.

Columns are measured in the size of their bounds, rows in their largest entry, the cost in its
largest charge. Units are powers of two, so that dividing by them rounds nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mbrl.relu.network import Array
from mbrl.relu.program import Index, Program


class Units(NamedTuple):
    """Units of a program: x = center + column * y."""

    center: Array  # (columns,) 0 but for fixed columns and those far from 0
    column: Array  # (columns,) 1 for whole numbers
    row: Array  # (rows,)
    cost: float

    def scale(self, x: Array) -> Array:
        """Convert a point (columns,) to these units."""
        return (x - self.center) / self.column

    def unscale(self, y: Array) -> Array:
        """Convert a point (columns,) in these units to the program's own."""
        return self.center + self.column * y


def power_of_two(size: Array) -> Array:
    """Return the least powers of two above sizes; 1 where a size is 0."""
    return np.ldexp(1.0, np.frexp(size)[1])


def units_of(program: Program) -> Units:
    """Return the units of a program.

    Args:
        program: in its own units.
    """
    low, high = program.low, program.high
    is_fixed = (low == high) & ~program.integer
    width = (high - low) / 2
    middle = (low + high) / 2
    is_far = ~program.integer & (np.abs(middle) > 8 * width)
    center = np.where(is_far, middle, 0.0)
    size = np.where(is_far, width, np.maximum(np.abs(low), np.abs(high)))
    column = np.where(program.integer, 1.0, power_of_two(size))
    where = np.repeat(np.arange(len(program.row_low)), np.diff(program.start))
    entry = np.abs(program.value)
    row = _largest(where, np.where(is_fixed[program.index], 0, entry * column[program.index]),
                   len(program.row_low))  # fmt: skip
    row = np.where(row > 0, row, _largest(where, entry, len(row)))
    row = power_of_two(row)
    # a fixed column is 0 in its unit: all that matters is that its entries are small
    share = _largest(program.index, entry / row[where], len(column))
    column = np.where(is_fixed, 1 / power_of_two(share), column)
    cost = float(power_of_two(np.abs(program.cost * column).max(initial=0.0, keepdims=True))[0])
    return Units(center, column, row, cost)


def rescale(program: Program, units: Units) -> Program:
    """Return a program in given units; its `problem` and `charges` stay in their own.

    Args:
        program: in its own units.
        units: of its columns, rows and cost.
    """
    where = np.repeat(np.arange(len(program.row_low)), np.diff(program.start))
    moved = np.bincount(where, program.value * units.center[program.index], len(units.row))
    return program._replace(
        cost=program.cost * units.column / units.cost,
        offset=float(program.offset + program.cost @ units.center) / units.cost,
        low=units.scale(program.low),
        high=units.scale(program.high),
        value=program.value * units.column[program.index] / units.row[where],
        row_low=(program.row_low - moved) / units.row,
        row_high=(program.row_high - moved) / units.row,
    )


def _largest(index: Index, value: Array, count: int) -> Array:
    """Return the largest of the values (>= 0) of each index (count,); 0 without one."""
    largest = np.zeros(count)
    np.maximum.at(largest, index, value)
    return largest
