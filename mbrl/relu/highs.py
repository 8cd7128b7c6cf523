"""HiGHS on the arrays of a Program, and what a solver's answer proves."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from mbrl.relu.duals import Rows
from mbrl.relu.network import Array
from mbrl.relu.program import Problem, Program
from mbrl.relu.scaling import rescale, units_of

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
    "small_matrix_value": 1e-12,
}
GAP = 1e-4  # relative, at which a plan counts as optimal
ROOM = 2e-8  # of a bound, in the unit of a scaled program's cost: the tolerances add up

P = ParamSpec("P")
R = TypeVar("R")
_here = threading.local()


def apart(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function in a thread of its own, where HiGHS has a scheduler of its own.

    HiGHS has one scheduler a thread, which keeps its first number of threads and refuses to solve
    with another one. So neither can another user of HiGHS end our solves, nor we theirs.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if getattr(_here, "is_apart", False):
            return function(*args, **kwargs)
        answers: list[R] = []
        faults: list[BaseException] = []

        def run() -> None:
            _here.is_apart = True
            try:
                answers.append(function(*args, **kwargs))
            except BaseException as fault:
                faults.append(fault)

        thread = threading.Thread(target=run, name=function.__name__, daemon=True)
        thread.start()
        thread.join()
        if faults:
            raise faults[0]
        return answers[0]

    return call


class Answer(NamedTuple):
    """Answer of a solver, in the problem's units, before anything is believed of it."""

    status: str  # optimal, time_limit, node_limit, infeasible or failed
    actions: Array | None  # (H, act_dim) of its best point; None without one
    bound: float  # below the cost of every point, within the solver's tolerances
    room: float  # what these tolerances are worth in cost
    nodes: int
    seconds: float  # of the solver's own run, wall
    reason: str = ""  # the solver's own word for its status


class Solution(NamedTuple):
    """What a solver's answer proves of a problem."""

    status: str  # optimal, imprecise, time_limit, node_limit, infeasible or failed
    actions: Array | None  # (H, act_dim) the solver's best; None without one
    objective: float  # its cost by simulation; inf without one
    lower_bound: float  # no plan costs less
    nodes: int
    seconds: float  # of the solver's own run, wall
    reason: str = ""  # the solver's own word for its status


def conclude(
    problem: Problem, answer: Answer, known_cost: float | None, known_bound: float = -np.inf
) -> Solution:
    """Return what a solver's answer proves; every backend hands its answer to this function.

    Plans are worth what a simulation in float64 says. The bound is lowered by the solver's
    tolerances. An optimum whose cost is not met by its bound is "imprecise". An answer that
    contradicts a known plan is a failure of the solve, never a bound: the status "infeasible", or
    a lower bound above the plan's cost.

    Args:
        problem: the planning problem.
        answer: as the solver gave it.
        known_cost: cost of a feasible plan; None if none is known.
        known_bound: below the cost of every plan.
    """
    status, actions, least = answer.status, None, np.inf
    if answer.actions is not None:
        actions = problem.nearest_plan(answer.actions)
        least = float(problem.simulate(actions[None])[0][0])
    best = min(least, np.inf if known_cost is None else known_cost)
    bound = answer.bound - answer.room if np.isfinite(answer.bound) else -np.inf
    if bound > best or (status == "infeasible" and best < np.inf) or np.isnan(least):
        status = "failed"
    if status in ("infeasible", "failed"):
        rest = (-np.inf, answer.nodes, answer.seconds, answer.reason)
        return Solution(status, None, np.inf, *rest)
    bound = max(bound, known_bound)
    if status == "optimal" and best - bound > GAP * abs(best):
        status = "imprecise"
    return Solution(status, actions, least, bound, answer.nodes, answer.seconds, answer.reason)


@apart
def solve(
    program: Program,
    *,
    start: Array | None = None,
    known_bound: float = -np.inf,
    time_limit: float | None = None,
    max_nodes: int | None = None,
    options: dict[str, Any] | None = None,
) -> Solution:
    """Solve a program by branch and bound.

    Args:
        program: the program.
        start: a feasible point (columns,) to start from (Program.complete).
        known_bound: below the cost of every plan.
        time_limit: seconds.
        max_nodes: of the tree.
        options: of HiGHS, instead of TUNED; an empty dict for HiGHS's own.
    """
    import highspy

    units = units_of(program)
    scaled = rescale(program, units)
    highs = make(TUNED if options is None else options)
    if max_nodes is not None:
        highs.setOptionValue("mip_max_nodes", max_nodes)
    highs.passModel(as_lp(scaled))
    if start is not None:
        point = highspy.HighsSolution()
        point.col_value = units.scale(start)
        highs.setSolution(point)
    start_time = time.monotonic()
    if time_limit is not None:
        highs.setOptionValue("time_limit", max(time_limit, 0.0))
    outcome = highs.run()
    seconds = time.monotonic() - start_time
    info, model_status = highs.getInfo(), highs.getModelStatus()
    is_error = outcome == highspy.HighsStatus.kError
    status = "failed" if is_error else _names().get(model_status, "failed")
    has_point = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    is_integer = bool(program.integer.any())
    bound = info.mip_dual_bound if is_integer else info.objective_function_value
    if not is_integer and status != "optimal":
        bound = -np.inf
    actions = None
    if has_point:
        actions = units.unscale(np.array(highs.getSolution().col_value))[program.actions]
    answer = Answer(
        status,
        actions,
        units.cost * bound,
        ROOM * units.cost,
        int(info.mip_node_count) if is_integer else 0,
        seconds,
        highs.modelStatusToString(model_status),
    )
    problem, known = program.problem, None
    if start is not None:
        known = float(problem.simulate(start[program.actions][None])[0][0])
    return conclude(problem, answer, known, known_bound)


def _names() -> dict[Any, str]:
    """Return the statuses of HiGHS by name."""
    from highspy import HighsModelStatus as Status

    return {
        Status.kOptimal: "optimal",
        Status.kTimeLimit: "time_limit",
        Status.kSolutionLimit: "node_limit",
        Status.kInterrupt: "time_limit",
        Status.kInfeasible: "infeasible",
        Status.kUnboundedOrInfeasible: "infeasible",
    }


@apart
def relaxed_bound(program: Program, *, time_limit: float | None = None) -> float:
    """Bound a program from below by its linear relaxation; -inf if that is not solved in time.

    Args:
        program: the program.
        time_limit: seconds.
    """
    import highspy

    units = units_of(program)
    highs = make({"presolve": "off", "solver": "simplex"})
    if time_limit is not None:
        highs.setOptionValue("time_limit", max(time_limit, 0.0))
    highs.passModel(as_lp(rescale(program, units), relaxed=True))
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return -np.inf
    dual = np.array(highs.getSolution().row_dual) * units.cost / units.row
    rows = Rows(program.start, program.index, program.value, program.row_low, program.row_high)
    return rows.bound(program.cost, program.low, program.high, dual) + program.offset


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
