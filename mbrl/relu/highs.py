"""HiGHS on the arrays of a Program, and what a solver's answer proves."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from mbrl.relu.network import Array
from mbrl.relu.program import Program

# measured (results/benchmarks/mip_speed.csv): the incumbent comes from sampling, so that the primal
# heuristics of HiGHS only cost time
TUNED: dict[str, Any] = {
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
}
EXACT: dict[str, Any] = {
    "output_flag": False,
    "threads": 1,
    "parallel": "off",
    "mip_rel_gap": 1e-6,
    "mip_abs_gap": 1e-9,
    "mip_feasibility_tolerance": 1e-9,
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-9,
}


class Solution(NamedTuple):
    """Proof that a solver gives of a program."""

    status: str  # optimal, time_limit, node_limit, infeasible or failed
    actions: Array | None  # (H, act_dim) the best known; None without one
    objective: float  # its cost; inf without one
    lower_bound: float  # no point costs less, within the solver's tolerances
    nodes: int
    seconds: float  # of the solver's own run, wall


def conclude(solution: Solution, known_cost: float | None) -> Solution:
    """Return what a solver's answer proves; every backend hands its answer to this function.

    An answer that contradicts a known feasible point is a failure of the solve, never a bound: the
    status "infeasible", or a lower bound above the point's cost.

    Args:
        solution: the answer as the solver gave it.
        known_cost: cost of a feasible point; None if none is known.
    """
    status, bound = solution.status, solution.lower_bound
    if known_cost is not None:
        is_above = bound > known_cost + 1e-6 * (1 + abs(known_cost))
        if status == "infeasible" or (np.isfinite(bound) and is_above):
            status = "failed"
    if status in ("infeasible", "failed"):
        return solution._replace(status=status, actions=None, objective=np.inf, lower_bound=-np.inf)
    return solution._replace(lower_bound=bound if np.isfinite(bound) else -np.inf)


def solve(
    program: Program,
    *,
    start: Array | None = None,
    time_limit: float | None = None,
    max_nodes: int | None = None,
    options: dict[str, Any] | None = None,
) -> Solution:
    """Solve a program by branch and bound.

    Args:
        program: the program.
        start: a feasible point (columns,) to start from (Program.complete).
        time_limit: seconds.
        max_nodes: of the tree.
        options: of HiGHS, instead of TUNED; an empty dict for HiGHS's own.
    """
    import highspy

    highs = make(TUNED if options is None else options)
    if max_nodes is not None:
        highs.setOptionValue("mip_max_nodes", max_nodes)
    highs.passModel(as_lp(program))
    if start is not None:
        point = highspy.HighsSolution()
        point.col_value = start
        highs.setSolution(point)
    start_time = time.monotonic()
    if time_limit is not None:
        highs.setOptionValue("time_limit", max(time_limit, 0.0))
    outcome = highs.run()
    seconds = time.monotonic() - start_time
    info, model_status = highs.getInfo(), highs.getModelStatus()
    names = {
        highspy.HighsModelStatus.kOptimal: "optimal",
        highspy.HighsModelStatus.kTimeLimit: "time_limit",
        highspy.HighsModelStatus.kSolutionLimit: "node_limit",
        highspy.HighsModelStatus.kInterrupt: "time_limit",
        highspy.HighsModelStatus.kInfeasible: "infeasible",
        highspy.HighsModelStatus.kUnboundedOrInfeasible: "infeasible",
    }
    is_error = outcome == highspy.HighsStatus.kError
    status = "failed" if is_error else names.get(model_status, "failed")
    has_point = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    is_integer = bool(program.integer.any())
    bound = info.mip_dual_bound if is_integer else info.objective_function_value
    if not is_integer and status != "optimal":
        bound = -np.inf
    answer = Solution(
        status,
        np.array(highs.getSolution().col_value)[program.actions] if has_point else None,
        info.objective_function_value if has_point else np.inf,
        bound,
        int(info.mip_node_count) if is_integer else 0,
        seconds,
    )
    known = None if start is None else float(program.cost @ start + program.offset)
    return conclude(answer, known)


def relaxed_bound(program: Program, *, time_limit: float | None = None) -> float:
    """Bound a program from below by its linear relaxation; -inf if that is not solved in time.

    Args:
        program: the program.
        time_limit: seconds.
    """
    import highspy

    highs = make({"presolve": "off", "solver": "simplex"})
    if time_limit is not None:
        highs.setOptionValue("time_limit", max(time_limit, 0.0))
    highs.passModel(as_lp(program, relaxed=True))
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return -np.inf
    value = highs.getInfo().objective_function_value
    return float(value - 1e-7 * (1 + abs(value)))  # the tolerances of HiGHS


def make(options: dict[str, Any]) -> Any:
    """Return a silent HiGHS on one thread, with tight tolerances and further options."""
    from highspy._core import _Highs  # highspy.Highs prints a banner

    highs = _Highs()
    for name, value in {**EXACT, **options}.items():
        highs.setOptionValue(name, value)
    return highs


def as_lp(program: Program, *, relaxed: bool = False) -> Any:
    """Return a program as HiGHS reads it, without a copy of each entry; relaxed: all continuous."""
    import highspy

    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(program.cost), len(program.row_low)
    lp.col_cost_, lp.offset_ = program.cost, program.offset
    lp.col_lower_, lp.col_upper_ = program.low, program.high
    lp.row_lower_, lp.row_upper_ = program.row_low, program.row_high
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = lp.num_col_, lp.num_row_
    lp.a_matrix_.start_ = program.start
    lp.a_matrix_.index_ = program.index
    lp.a_matrix_.value_ = program.value
    if not relaxed and program.integer.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[i] for i in program.integer.tolist()]
    return lp
