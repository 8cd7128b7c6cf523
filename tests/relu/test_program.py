"""The program's optimum is the plan's: against enumeration and the torch model itself."""

import numpy as np
import pytest
import torch

from mbrl.imagination.rollout import rollout
from mbrl.planners.exact.piecewise_linear import Exact
from mbrl.relu import PiecewiseLinearCost, Term, attach, highs, intrusion
from mbrl.relu.obbt import tighten
from mbrl.relu.program import Problem, build
from mbrl.relu.regions import enumerate_regions
from tests.relu.problems import by_enumeration, random_problem, sample
from tests.relu.test_bounds import bound


def optimum(problem, kind="crown", options=None, start=None):
    limits = bound(problem, "interval" if kind == "interval" else "crown")
    if kind == "obbt":
        known = sample(problem, 1, np.random.default_rng(0))
        limits = tighten(problem, limits, cutoff=problem.simulate(known)[0][0])
    program = build(problem, limits)
    if kind == "regions":
        regions = enumerate_regions(problem, limits)
        assert regions is not None
        program = build(problem, limits, regions)
    start = None if start is None else program.complete(start)
    found = highs.solve(program, options=options, start=start)
    assert found.status == "optimal" and found.actions is not None, found.status
    return found


def resimulated(problem, actions) -> float:
    """Score decisions (H, act_dim) on the torch model, as samplers do."""
    model = Exact(problem.network, problem.cost)
    candidates = torch.from_numpy(actions)[None, None]
    value = rollout(
        model, torch.from_numpy(problem.obs)[None], candidates, discount=problem.discount,
        hold=problem.hold, terminal_value=model.terminal_value,
    ).value  # fmt: skip
    return -value.item()


def check(seed):
    problem = random_problem(seed)
    expected = by_enumeration(problem)
    scale = max(1.0, abs(expected))
    for kind in ("interval", "crown", "obbt", "regions"):
        found = optimum(problem, kind)
        assert abs(found.objective - expected) <= 1e-6 * scale, kind
        assert found.lower_bound <= expected + 1e-6 * scale
        assert abs(resimulated(problem, found.actions) - expected) <= 1e-5 * abs(expected) + 1e-9
        assert (found.actions >= problem.action_low - 1e-8).all()
        assert (found.actions <= problem.action_high + 1e-8).all()


@pytest.mark.parametrize("seed", sorted(set(range(18)) - {6, 16}))  # these two take seconds
def test_optimum_is_that_of_enumeration(seed):
    check(seed)


@pytest.mark.slow
def test_optimum_is_that_of_enumeration_on_200_networks():
    for seed in range(200):
        check(seed)


@pytest.mark.parametrize("form", ["binaries", "regions"])
@pytest.mark.parametrize("seed", range(10))
def test_a_simulated_start_is_feasible(seed, form):
    problem = random_problem(seed, widths=(5, 3), horizon=3)
    limits = bound(problem, "crown")
    regions = enumerate_regions(problem, limits) if form == "regions" else None
    program = build(problem, limits, regions)
    actions = sample(problem, 1, np.random.default_rng(seed))[0]
    x = program.complete(actions)
    rows = np.repeat(np.arange(len(program.row_low)), np.diff(program.start))
    sums = np.bincount(rows, program.value * x[program.index], len(program.row_low))
    assert (sums >= program.row_low - 1e-9).all() and (sums <= program.row_high + 1e-9).all()
    assert (x >= program.low - 1e-9).all() and (x <= program.high + 1e-9).all()
    cost = program.cost @ x + program.offset
    np.testing.assert_allclose(cost, problem.simulate(actions[None])[0][0], rtol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_whole_numbers_and_choices_against_trying_all(seed):
    problem = random_problem(seed, widths=(4,), horizon=3, hold=1)
    shape = problem.action_low.shape
    low, high = np.full(shape, -1.0), np.full(shape, 1.0)
    problem = problem._replace(action_low=low, action_high=high, integer=tuple(range(shape[1])))
    grids = np.stack(np.meshgrid(*[(-1, 0, 1)] * low.size, indexing="ij"), -1)
    every = grids.reshape(-1, *shape).astype(float)
    found = optimum(problem)
    assert abs(found.objective - problem.simulate(every)[0].min()) < 1e-7
    assert np.abs(found.actions - found.actions.round()).max() < 1e-6

    choice = problem._replace(integer=(), one_hot=True, action_low=0 * low, action_high=high)
    one = np.abs(every).sum(-1) == 1
    every = every[one.all(-1) & (every >= 0).all((1, 2))]
    found = optimum(choice)
    assert abs(found.objective - choice.simulate(every)[0].min()) < 1e-7


@pytest.mark.parametrize("seed", range(4))
def test_an_obstacle_is_charged_as_samplers_see_it(seed):
    problem = random_problem(seed, widths=(3,), horizon=2, hold=1)
    n, m = problem.network.obs_dim, problem.network.act_dim
    head = intrusion(((0, -0.5, 0.5), (n - 1, -0.4, 0.6)), n + m)
    cost = PiecewiseLinearCost(
        (Term("l1", np.eye(n, n + 1 + m), np.zeros(n)),
         Term("linear", 5 * np.eye(1, n + 1 + m, n), np.zeros(1))),
        head=head,
    )  # fmt: skip
    plain = problem.network
    network, whole = attach(plain, cost)
    problem = problem._replace(network=network, cost=whole)
    found = optimum(problem)
    assert abs(found.objective - by_enumeration(problem)) < 1e-6
    separate = problem._replace(network=plain, cost=cost)
    assert abs(resimulated(separate, found.actions) - found.objective) < 1e-6


def test_a_program_without_unstable_neurons_is_linear():
    problem = random_problem(1, widths=(4,), horizon=2)
    tiny = (problem.action_high - problem.action_low) * 1e-6
    problem = problem._replace(action_high=problem.action_low + tiny)
    program = build(problem, bound(problem, "crown"))
    assert not program.integer.any()
    found = highs.solve(program)
    assert found.status == "optimal" and found.lower_bound <= found.objective + 1e-9
    assert abs(found.objective - by_enumeration(problem)) < 1e-7


def test_infeasible_and_late_programs_are_told():
    problem = random_problem(2, widths=(8, 8), horizon=4)
    limits = bound(problem, "crown")
    program = build(problem, limits)
    nothing = program._replace(low=program.low.copy())
    nothing.low[program.outputs[0, 0]] = limits.out_high[0, 0] + 1
    found = highs.solve(nothing)
    assert found.status == "infeasible" and found.actions is None and found.objective == np.inf
    late = highs.solve(program, time_limit=0.0)
    assert late.status == "time_limit" and late.lower_bound <= late.objective
    start = sample(problem, 1, np.random.default_rng(0))[0]
    one = highs.solve(program, max_nodes=1, start=program.complete(start))
    assert one.objective <= problem.simulate(start[None])[0][0] + 1e-7


def test_hinges_are_limits_with_slack():
    """A point at 2 that must not pass 1: the program pays for the excess, and is not infeasible."""
    from mbrl.relu import ReluNetwork, limits

    network = ReluNetwork((), np.array([[1.0, 1.0]]), np.zeros(1), 1)
    term = limits(np.array([-1.0]), np.array([1.0]), 2, weight=7.0)
    one = np.ones((3, 1))
    problem = Problem(
        network, PiecewiseLinearCost((term,)), np.array([2.0]), -0.25 * one, 0.25 * one
    )
    found = highs.solve(build(problem, bound(problem, "crown")))
    assert abs(found.objective - 7 * (0.75 + 0.5 + 0.25)) < 1e-7
