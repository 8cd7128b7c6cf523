"""Descent of a plan from one linear piece of the model to the next, by linear programs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from mbrl.relu.highs import apart, as_lp, make
from mbrl.relu.network import Array
from mbrl.relu.program import Program
from mbrl.relu.scaling import rescale, units_of

EDGE = 1e-7  # of a neuron's range: one this close to zero can be on either side


@apart
def descend(
    program: Program, starts: Array, *, max_lps: int = 30, deadline: float | None = None
) -> Array:
    """Improve plans: the best one with the same neurons active, then across its edges.

    Where all sides are fixed the program is linear, and its optimum lies where some neurons change
    sides: each is tried on its other side, as long as the cost falls.

    Args:
        program: of the plan.
        starts: (K, H, act_dim) allowed, the best first.
        max_lps: linear programs solved at most for each start.
        deadline: seconds.

    Returns:
        Actions (H, act_dim) that cost no more than any start.
    """
    import highspy

    problem, start_time = program.problem, time.monotonic()
    sides = np.flatnonzero(program.integer).astype(np.int32)
    low, high = problem.action_low, problem.action_high
    solver: Any = make({"presolve": "off", "solver": "simplex"})
    units = units_of(program)
    solver.passModel(as_lp(rescale(program, units), relaxed=True))

    def best_with(fixed: Array, below: float) -> Array | None:
        """Solve with fixed sides; None unless the program promises a cost below."""
        solver.changeColsBounds(len(sides), sides, fixed, fixed)
        solver.run()
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        if units.cost * solver.getInfo().objective_function_value >= below:
            return None
        candidate = units.unscale(np.array(solver.getSolution().col_value))[program.actions]
        return np.clip(candidate, low, high)

    def is_late() -> bool:
        return deadline is not None and time.monotonic() - start_time > deadline

    costs, _, before = problem.simulate(starts)
    best, least = starts[int(costs.argmin())], float(costs.min())
    for k, cost in enumerate(costs):
        actions = starts[k]
        tries, solved = [_sides(program, actions, before[k])[sides]], 0
        while tries and solved < max_lps and not is_late():
            solved += 1
            below = cost - 1e-9 * abs(cost)
            candidate = best_with(tries.pop(0), below)
            if candidate is None:
                continue
            costs_there, _, pre = problem.simulate(candidate[None])
            if costs_there[0] < below:
                actions, cost = candidate, float(costs_there[0])
                tries = _across(program, actions, pre[0], sides)
        if cost < least:
            best, least = actions, float(cost)
    return best


def _sides(program: Program, actions: Array, before: Array) -> Array:
    """Return the integer columns of a plan with preactivations (T, num_neurons), 0 elsewhere."""
    x = np.zeros(len(program.cost))
    x[program.actions] = np.round(actions)
    for t, begin in enumerate(program.first):
        pre = before[t, program.unstable[t]]
        x[begin + 2 * len(pre) : begin + 3 * len(pre)] = pre > 0
    return x


def _across(program: Program, actions: Array, before: Array, sides: Any) -> list[Array]:
    """Return the sides at a plan, and those with one neuron at its edge on the other side."""
    x = _sides(program, actions, before)
    tries = [x[sides]]
    for t, begin in enumerate(program.first):
        pre = before[t, program.unstable[t]]
        own = begin + np.arange(len(pre))
        reach = np.maximum(program.high[own], program.high[own + len(pre)])
        for k in np.flatnonzero(np.abs(pre) < EDGE * reach):
            flipped = x.copy()
            flipped[begin + 2 * len(pre) + k] = 1 - flipped[begin + 2 * len(pre) + k]
            tries.append(flipped[sides])
    return tries
