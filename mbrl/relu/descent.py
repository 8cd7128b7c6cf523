"""Descent of a plan from one linear piece of the model to the next, by linear programs."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from mbrl.relu.highs import as_lp, make
from mbrl.relu.network import Array
from mbrl.relu.program import Program

EDGE = 1e-7  # a neuron this close to zero can be on either side


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

    problem, began = program.problem, time.monotonic()
    sides = np.flatnonzero(program.integer).astype(np.int32)
    low, high = problem.action_low, problem.action_high
    solver: Any = make({"presolve": "off", "solver": "simplex"})
    solver.passModel(as_lp(program, relaxed=True))

    def best_with(fixed: Array) -> tuple[Array, float] | None:
        solver.changeColsBounds(len(sides), sides, fixed, fixed)
        solver.run()
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        found = np.array(solver.getSolution().col_value)[program.actions]
        found = np.clip(found, low, high)
        return found, float(problem.simulate(found[None])[0][0])

    def late() -> bool:
        return deadline is not None and time.monotonic() - began > deadline

    costs = problem.simulate(starts)[0]
    best, least = starts[int(costs.argmin())], float(costs.min())
    for actions, cost in zip(starts, costs, strict=True):
        tries, solved = [np.round(program.complete(actions)[sides])], 0
        while tries and solved < max_lps and not late():
            solved += 1
            found = best_with(tries.pop(0))
            if found is None or found[1] >= cost - 1e-9 * (1 + abs(cost)):
                continue
            actions, cost = found
            tries = _across(program, actions, sides)
        if cost < least:
            best, least = actions, cost
    return best


def _across(program: Program, actions: Array, sides: Any) -> list[Array]:
    """Give the sides at a plan, and those with one neuron at its edge on the other side."""
    x = program.complete(actions)
    here = np.round(x[sides])
    tries = [here]
    place = {int(column): k for k, column in enumerate(sides)}
    before = program.problem.simulate(actions[None])[2][0]
    for t, begin in enumerate(program.first):
        pre = before[t, program.unstable[t]]
        for k in np.flatnonzero(np.abs(pre) < EDGE):
            at = place[int(begin + 2 * len(pre) + k)]
            flipped = here.copy()
            flipped[at] = 1 - flipped[at]
            tries.append(flipped)
    return tries
