"""Program of a plan as a Pyomo model: the readable reference, solved by HiGHS."""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import numpy as np

from mbrl.relu import Bounds, Term
from mbrl.relu.highs import EXACT, Solution, conclude
from mbrl.relu.program import Problem


def write(problem: Problem, bounds: Bounds) -> Any:
    """Write the program: x[t + 1] = A [x[t], u[t]] + B h[t] + c with h[t] = relu(a[t])."""
    pyo: Any = import_module("pyomo.environ")

    network, cost = problem.network, problem.cost
    T, N, n = problem.num_steps, network.num_neurons, network.obs_dim
    H, m = problem.action_low.shape
    model = pyo.ConcreteModel()
    model.u = pyo.Var(range(H), range(m))
    model.x = pyo.Var(range(T + 1), range(network.num_outputs))
    model.a = pyo.Var(range(T), range(N))  # preactivations
    model.h = pyo.Var(range(T), range(N), domain=pyo.NonNegativeReals)
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
            model.x[t + 1, i].bounds = (bounds.out_low[t, i], bounds.out_high[t, i])
            model.rules.add(model.x[t + 1, i] == _dot(weight, inputs) + bias)
        outputs = [model.x[t + 1, i] for i in range(network.num_outputs)]
        for term in cost.stage:
            model.cost.expr += problem.discount**t * _charge(model, term, outputs + u)
    for term in cost.terminal:
        model.cost.expr += problem.discount**T * _charge(model, term, outputs)
    model.objective = pyo.Objective(expr=model.cost)
    return model


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
    name = f"e{len(list(model.component_objects(pyo.Var)))}"
    model.add_component(name, pyo.Var(range(count), domain=pyo.NonNegativeReals))
    e = model.component(name)
    for i, row in enumerate(rows):
        carrier = e[0] if term.kind == "linf" else e[i]
        model.rules.add(carrier >= row)
        if term.kind != "hinge":
            model.rules.add(carrier >= -row)
    return sum(e[i] for i in range(count))


def solve(
    problem: Problem,
    bounds: Bounds,
    *,
    known_cost: float | None = None,
    time_limit: float | None = None,
    max_nodes: int | None = None,
    options: dict[str, Any] | None = None,
) -> Solution:
    """Write the model, solve it with HiGHS and read the plan; there is no start point.

    Args:
        problem: the planning problem.
        bounds: of its neurons and outputs.
        known_cost: cost of a feasible plan; None if none is known.
        time_limit: seconds.
        max_nodes: of the tree.
        options: of HiGHS.
    """
    from pyomo.contrib.appsi.base import TerminationCondition
    from pyomo.contrib.appsi.solvers import Highs

    model = write(problem, bounds)
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
    names = {
        TerminationCondition.optimal: "optimal",
        TerminationCondition.maxTimeLimit: "time_limit",
        TerminationCondition.maxIterations: "node_limit",
        TerminationCondition.infeasible: "infeasible",
    }
    status = names.get(results.termination_condition, "failed")
    objective, bound = results.best_feasible_objective, results.best_objective_bound
    actions, cost = None, np.inf
    if objective is not None and np.isfinite(objective):
        values = results.solution_loader.get_primals()
        H, m = problem.action_low.shape
        cost = objective
        actions = np.array([[values[model.u[k, j]] for j in range(m)] for k in range(H)])
    answer = Solution(
        status,
        actions,
        cost,
        -np.inf if bound is None else bound,
        0,
        seconds,
    )
    return conclude(answer, known_cost)
