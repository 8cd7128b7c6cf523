"""Program of a plan as a Pyomo model: the readable reference, solved by HiGHS."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import numpy as np

from mbrl.relu import Bounds, Term
from mbrl.relu.highs import EXACT, Answer, Solution, apart, conclude
from mbrl.relu.network import Array
from mbrl.relu.program import Problem
from mbrl.relu.scaling import power_of_two

ROOM = 1e-6  # as in mbrl.relu.highs, but numbers far from 0 are not centered here


def write(problem: Problem, bounds: Bounds) -> Any:
    """Write the program: x[t + 1] = A [x[t], u[t]] + B h[t] + c with h[t] = relu(a[t])."""
    pyo: Any = import_module("pyomo.environ")

    network, cost = problem.network, problem.cost
    T, N, n = problem.num_steps, network.num_neurons, network.obs_dim
    H, m = problem.action_low.shape
    model = pyo.ConcreteModel()
    model.u = pyo.Var(range(H), range(m))
    model.x = pyo.Var(range(T + 1), range(network.num_outputs))
    low, high = _widened(bounds.low, bounds.high)
    model.a = pyo.Var(range(T), range(N), bounds=lambda _, t, k: (low[t, k], high[t, k]))
    model.h = pyo.Var(range(T), range(N), bounds=lambda _, t, k: (0, max(high[t, k], 0.0)))
    model.d = pyo.Var(range(T), range(N), domain=pyo.Binary)  # 1 where a neuron is active
    model.rules = pyo.ConstraintList()
    model.cost = pyo.Expression(expr=0.0)

    for k in range(H):
        for j in range(m):
            model.u[k, j].bounds = (problem.action_low[k, j], problem.action_high[k, j])
            if problem.one_hot or j in problem.integer:
                model.u[k, j].domain = pyo.Integers
        if problem.one_hot:
            model.rules.add(sum(model.u[k, j] for j in range(m)) == 1)
    for i in range(network.num_outputs):
        model.x[0, i].fix(problem.obs[i] if i < n else 0.0)

    out_low, out_high = _widened(bounds.out_low, bounds.out_high)
    for t in range(T):
        u = [model.u[t // problem.hold, j] for j in range(m)]
        inputs = [model.x[t, i] for i in range(n)] + u
        k = 0
        for layer in network.layers:
            first = k
            for weight, bias in zip(layer.weight, layer.bias, strict=True):
                _relu(model, t, k, weight, bias, inputs, bounds)
                k += 1
            inputs = inputs + [model.h[t, j] for j in range(first, k)]
        for i, (weight, bias) in enumerate(zip(network.weight, network.bias, strict=True)):
            model.x[t + 1, i].bounds = (out_low[t, i], out_high[t, i])
            model.rules.add(model.x[t + 1, i] == _dot(weight, inputs) + bias)
        outputs = [model.x[t + 1, i] for i in range(network.num_outputs)]
        for term in cost.stage:
            model.cost.expr += problem.discount**t * _charge(model, term, outputs + u)
    for term in cost.terminal:
        model.cost.expr += problem.discount**T * _charge(model, term, outputs)
    model.objective = pyo.Objective(expr=model.cost)
    return model


def _widened(low: Array, high: Array) -> tuple[Array, Array]:
    """Return bounds with room for a solver's tolerances, which are relative to their sizes."""
    room = 1e-6 * np.maximum(np.abs(low), np.abs(high))
    return low - room, high + room


def _dot(weights: Any, variables: list[Any]) -> Any:
    """Return a weighted sum without the weights that are zero."""
    return sum(float(w) * v for w, v in zip(weights, variables, strict=True) if w != 0)


def _relu(
    model: Any, t: int, k: int, weight: Any, bias: float, inputs: list[Any], bounds: Bounds
) -> None:
    """Write h = max(a, 0) for neuron k of step t, by its bounds."""
    a, h, d = model.a[t, k], model.h[t, k], model.d[t, k]
    low, high = float(bounds.low[t, k]), float(bounds.high[t, k])
    model.rules.add(a == _dot(weight, inputs) + bias)
    if low >= 0:
        model.rules.add(h == a)
        d.fix(1)
    elif high <= 0:
        model.rules.add(h == 0)
        d.fix(0)
    else:
        model.rules.add(h >= a)
        model.rules.add(h <= a - low * (1 - d))
        model.rules.add(h <= high * d)


def _charge(model: Any, term: Term, y: list[Any]) -> Any:
    """Write a convex term by epigraph variables, and return its cost."""
    pyo: Any = import_module("pyomo.environ")

    y = y[: term.weight.shape[1]]
    rows = [_dot(w, y) + b for w, b in zip(term.weight, term.bias, strict=True)]
    if term.kind == "linear":
        return sum(rows)
    count = 1 if term.kind == "linf" else len(rows)
    sizes = [_size(row) for row in rows]
    largest = [max(sizes)] if term.kind == "linf" else sizes
    name = f"e{len(list(model.component_objects(pyo.Var)))}"
    model.add_component(name, pyo.Var(range(count), bounds=lambda _, i: (0, largest[i])))
    e = model.component(name)
    for i, row in enumerate(rows):
        carrier = e[0] if term.kind == "linf" else e[i]
        model.rules.add(carrier >= row)
        if term.kind != "hinge":
            model.rules.add(carrier >= -row)
    return sum(e[i] for i in range(count))


def _size(row: Any) -> float:
    """Return how large a row can be, by the bounds of its variables; rounded up."""
    walker: Any = import_module("pyomo.contrib.fbbt.fbbt")

    return (1 + 1e-9) * max(abs(x) for x in walker.compute_bounds_on_expr(row))


def _scale(model: Any) -> Any:
    """Return the model in units in which every number is about 1: powers of two."""
    pyo: Any = import_module("pyomo.environ")
    represent: Any = import_module("pyomo.repn").generate_standard_repn

    model.scaling_factor = pyo.Suffix(direction=pyo.Suffix.EXPORT)
    factors: Any = model.scaling_factor
    for variable in model.component_data_objects(pyo.Var):
        ends = [abs(x) for x in (variable.lb, variable.ub) if x is not None]
        if variable.is_continuous() and not variable.fixed and ends:
            factors[variable] = 1 / float(power_of_two(np.array(max(ends))))

    def factor(expression: Any) -> float:
        row = represent(expression, compute_values=True)
        pairs = zip(row.linear_coefs, row.linear_vars, strict=True)
        sizes = [abs(weight) / factors.get(variable, 1.0) for weight, variable in pairs]
        return 1 / float(power_of_two(np.array(max(sizes, default=0.0))))

    for row in model.component_data_objects(pyo.Constraint):
        factors[row] = factor(row.body)
    factors[model.objective] = factor(model.cost)
    pyo.TransformationFactory("core.scale_model").apply_to(model, rename=False)
    return model


@apart
def solve(
    problem: Problem,
    bounds: Bounds,
    *,
    known_cost: float | None = None,
    known_bound: float = -np.inf,
    time_limit: float | None = None,
    max_nodes: int | None = None,
    options: dict[str, Any] | None = None,
) -> Solution:
    """Write the model, solve it with HiGHS and read the plan; there is no start point.

    Args:
        problem: the planning problem.
        bounds: of its neurons and outputs.
        known_cost: cost of a feasible plan; None if none is known.
        known_bound: below the cost of every plan.
        time_limit: seconds.
        max_nodes: of the tree.
        options: of HiGHS.
    """
    from pyomo.contrib.appsi.base import TerminationCondition
    from pyomo.contrib.appsi.solvers import Highs

    model = _scale(write(problem, bounds))
    factors, unit = model.scaling_factor, 1 / model.scaling_factor[model.objective]
    solver = Highs()
    solver.config.load_solution = False
    solver.highs_options = {**EXACT, **(options or {})}
    if max_nodes is not None:
        solver.highs_options["mip_max_nodes"] = max_nodes
    if time_limit is not None:
        solver.config.time_limit = max(time_limit, 0.0)
    start_time = time.monotonic()
    results = solver.solve(model)
    seconds = time.monotonic() - start_time
    condition = results.termination_condition
    names = {
        TerminationCondition.optimal: "optimal",
        TerminationCondition.maxTimeLimit: "time_limit",
        TerminationCondition.maxIterations: "node_limit",
        TerminationCondition.infeasible: "infeasible",
    }
    objective, bound = results.best_feasible_objective, results.best_objective_bound
    actions = None
    if objective is not None and np.isfinite(objective):
        values = results.solution_loader.get_primals()
        H, m = problem.action_low.shape
        u = [[model.u[k, j] for j in range(m)] for k in range(H)]
        actions = np.array([[values[x] / factors.get(x, 1.0) for x in row] for row in u])
    answer = Answer(
        names.get(condition, "failed"),
        actions,
        -np.inf if bound is None else unit * bound,
        ROOM * unit,
        0,
        seconds,
        f"HiGHS through Pyomo: {condition.name}",
    )
    return conclude(problem, answer, known_cost, known_bound)
