"""Mixed-integer plans: the optimum, or what could be proven of it."""

import numpy as np
import pytest
import torch

from mbrl.errors import BadInput
from mbrl.imagination.rollout import rollout
from mbrl.planners import CEM, MIP
from mbrl.planners.exact.piecewise_linear import Exact
from mbrl.relu import PiecewiseLinearCost, ReluNetwork, Term, limits
from mbrl.types import ActionSpec
from scripts.robustness.exact_programs import (
    PLANNERS,
    draw,
    judge,
    plan_with,
    search,
    use_highs_elsewhere,
)
from tests.planners.exact.problems import (
    behind_a_wall,
    check_never_worse,
    check_optimum,
    cost_of,
    planner,
    setting,
    spec,
)
from tests.relu.problems import random_problem
from tests.toys import generator


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "options",
    [{}, {"formulation": "regions"}, {"backend": "pyomo"}, {"bounds": "interval"}],
    ids=["obbt", "regions", "pyomo", "interval"],
)
def test_finds_the_optimum(seed, options):
    check_optimum(seed, **options)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [
        {"max_nodes": 1, "max_lps": 0},
        {"max_nodes": 0, "bounds": "crown"},
        {"time_limit": 1e-4},
        {"time_limit": 0.05},
    ],
    ids=["few nodes", "no nodes", "no time", "little time"],
)
def test_never_worse_than_its_incumbent(seed, options):
    check_never_worse(seed, **options)


@pytest.mark.parametrize("seed", range(6))
def test_without_nodes_the_linear_relaxation_bounds_the_optimum(seed):
    problem, model, obs = setting(seed, widths=(4,), horizon=3)
    few = {"num_samples": 20, "num_elites": 5, "num_iterations": 1, "warm_iterations": 1}
    common = {"sampler_options": few, "bounds": "interval"}
    quick = planner(problem, max_nodes=0, **common).plan(obs, model, generator=generator(1))
    whole = planner(problem, **common).plan(obs, model, generator=generator(1))
    assert whole.info["status"] == ["optimal"] * 3
    assert quick.info["status"] == ["node_limit"] * 3 and quick.info["nodes"].sum() == 0
    optimum = -whole.value.double()
    assert (quick.info["lower_bound"] <= optimum + 1e-5 * (1 + optimum.abs())).all()
    assert (-quick.value.double() >= optimum - 1e-5 * (1 + optimum.abs())).all()
    assert quick.info["lower_bound"].isfinite().all()
    if quick.info["num_unstable"].sum() == 0:  # then the relaxation is the program
        torch.testing.assert_close(quick.info["lower_bound"], optimum, rtol=1e-5, atol=1e-5)


def test_the_linear_relaxation_proves_more_than_the_bounds_alone(monkeypatch):
    from mbrl.planners.exact import mip

    problem, model, obs = setting(1, widths=(6,), horizon=3)
    options = {"max_nodes": 0, "bounds": "interval"}
    relaxed = planner(problem, **options).plan(obs, model, generator=generator(0))
    monkeypatch.setattr(mip.highs, "relaxed_bound", lambda *a, **k: -np.inf)
    weak = planner(problem, **options).plan(obs, model, generator=generator(0))
    assert (relaxed.info["lower_bound"] >= weak.info["lower_bound"]).all()
    assert (relaxed.info["lower_bound"] > weak.info["lower_bound"] + 1e-3).any()


def test_a_program_that_fails_leaves_the_incumbent(monkeypatch):
    from mbrl.planners.exact import mip

    problem, model, obs = setting(0, widths=(6,), horizon=3)
    nothing = mip.highs.Solution("infeasible", None, np.inf, -np.inf, 0, 0.0, "as it says")
    monkeypatch.setattr(mip.highs, "solve", lambda *a, **k: nothing)
    with pytest.warns(RuntimeWarning, match="was not solved .as it says.: the plan is the best"):
        plan = planner(problem, max_lps=0).plan(obs, model, generator=generator(0))
    assert plan.info["status"] == ["infeasible"] * 3
    assert plan.info["lower_bound"].isfinite().all()  # what the bounds alone prove
    assert (plan.info["lower_bound"] < -plan.value.double()).all()
    assert (-plan.value.double() <= plan.info["incumbent"] + 1e-6).all()


@pytest.mark.parametrize("seed", [0, 2, 8])
@pytest.mark.parametrize("backend", ["highs", "pyomo"])
def test_weights_of_1000_are_planned_exactly(seed, backend):
    """Without units HiGHS calls such programs infeasible, or false plans optimal."""
    problem, _, _ = setting(seed, widths=(3, 2), horizon=2)
    scaled = [
        x._replace(weight=1000 * x.weight, bias=1000 * x.bias) for x in problem.network.layers
    ]
    network = problem.network._replace(layers=tuple(scaled), weight=1000 * problem.network.weight)
    action = ActionSpec(
        "continuous", *torch.tensor([-10.0, 10])[:, None].expand(-1, network.act_dim)
    )
    few = {"num_samples": 20, "num_elites": 5, "num_iterations": 1}
    model, obs = Exact(network, problem.cost), torch.from_numpy(problem.obs)[None]
    plan = MIP(action=action, horizon=2, backend=backend, sampler_options=few).plan(
        obs, model, generator=generator(0)
    )
    assert plan.info["status"] == ["imprecise" if seed == 0 else "optimal"]
    assert plan.info["gap"].item() < (1 if seed == 0 else 1e-4)
    thorough = CEM(action=action, horizon=2).plan(obs, model, generator=generator(1))
    assert plan.value.item() >= thorough.value.item() * (1 + 1e-5)  # both are negative


@pytest.mark.parametrize("backend", ["highs", "pyomo"])
def test_plans_are_exact_whatever_others_do_with_highs(backend):
    use_highs_elsewhere()
    problem, model, obs = setting(0, widths=(3,), horizon=2)
    plan = planner(problem, backend=backend).plan(obs, model, generator=generator(1))
    assert plan.info["status"] == ["optimal"] * 3


@pytest.mark.parametrize("name", list(PLANNERS))
def test_random_programs_are_planned_exactly(name):
    """scripts/robustness/exact_programs.py has 2,000 of them."""
    for seed in (0, 1, 2) if name in ("mip pyomo", "mip regions") else (0, 1, 2, 14, 22, 45):
        problem = draw(seed)
        plan = plan_with(PLANNERS[name], problem, seed)
        verdict = judge(problem, plan, search(problem, seed))
        assert not any(verdict[1:]), (seed, verdict, plan.info)


def test_a_false_optimum_is_not_believed(monkeypatch):
    """What HiGHS returns is simulated again: neither a worse plan is taken nor a forbidden one."""
    from mbrl.planners.exact import mip

    problem, model, obs = setting(0, widths=(6,), horizon=3)
    far = 100 * np.ones_like(problem.action_high)
    false = mip.highs.Solution("optimal", far, -1e6, -1e6, 0, 0.0)
    monkeypatch.setattr(mip.highs, "solve", lambda *a, **k: false)
    monkeypatch.setattr(mip, "descend", lambda program, starts, **k: far)
    plan = planner(problem, max_lps=0).plan(obs, model, generator=generator(0))
    assert (-plan.value.double() <= plan.info["incumbent"] + 1e-6).all()
    again = cost_of(problem, model, obs, plan.actions)
    torch.testing.assert_close(-plan.value.double(), again, rtol=1e-5, atol=1e-5)
    assert (plan.actions <= spec(problem).high).all()


def test_whole_and_binary_actuators():
    problem, model, obs = setting(5, widths=(4,), horizon=3, hold=1)
    low, high = torch.tensor([-1.0, -0.4]), torch.tensor([1.6, 0.4])
    dim = problem.network.act_dim
    action = ActionSpec("continuous", low[:dim], high[:dim])
    plan = MIP(action=action, horizon=3, integer=(0,)).plan(obs, model, generator=generator(0))
    assert plan.actions[..., 0].equal(plan.actions[..., 0].round())
    assert plan.actions[..., 0].abs().max() <= 1


def test_regions_are_not_written_by_pyomo():
    with pytest.raises(BadInput, match="backend='highs'"):
        MIP(action=spec(random_problem(0)), backend="pyomo", formulation="regions")


def test_discrete_actions_are_chosen_exactly():
    problem, model, obs = setting(3, widths=(4,), horizon=3, hold=1)
    dim = problem.network.act_dim
    if dim == 1:
        problem, model, obs = setting(4, widths=(4,), horizon=3, hold=1)
        dim = problem.network.act_dim
    action = ActionSpec("discrete", torch.zeros(dim), torch.ones(dim), dim)
    few = {"num_samples": 2, "num_elites": 1, "num_iterations": 1}
    exact = MIP(action=action, horizon=3, discount=problem.discount, sampler_options=few)
    plan = exact.plan(obs, model, generator=generator(0))
    grids = torch.cartesian_prod(*[torch.arange(dim)] * 3)
    every = torch.nn.functional.one_hot(grids, dim).double().expand(3, -1, -1, -1)
    value = rollout(
        model, obs, every, discount=problem.discount, terminal_value=model.terminal_value
    )
    torch.testing.assert_close(plan.value.double(), value.value.max(1).values, rtol=1e-5, atol=1e-5)


def test_goes_round_an_obstacle_where_sampling_is_stuck():
    model, action, obs = behind_a_wall()
    few = {"num_samples": 100, "num_elites": 10, "num_iterations": 10}
    plan = MIP(action=action, horizon=9, sampler_options=few).plan(
        obs, model, generator=generator(0)
    )
    assert plan.info["status"] == ["optimal"] and plan.info["incumbent"].item() > 30
    assert plan.value.item() == pytest.approx(-18.15, abs=1e-3)
    path = torch.stack([obs[0] + plan.actions[0, : t + 1].sum(0) for t in range(9)])
    assert path[:, 1].min() < -1.04 and path[-1, 0] > 1


def test_soft_limits_never_make_a_program_infeasible():
    network = ReluNetwork((), np.array([[1.0, 1.0]]), np.zeros(1), 1)
    far = Term("l1", np.array([[1.0, 0.0]]), np.array([-5.0]))
    term = limits(np.array([-1.0]), np.array([1.0]), 2, weight=100.0)
    model = Exact(network, PiecewiseLinearCost((far, term)))
    action = ActionSpec("continuous", torch.tensor([-1.0]), torch.tensor([1.0]))
    obs = torch.tensor([[0.0], [3.0]])  # the second begins outside
    plan = MIP(action=action, horizon=4).plan(obs, model, generator=generator(0))
    assert plan.info["status"] == ["optimal"] * 2
    path = obs + plan.actions[..., 0].cumsum(1)
    assert path.max(1).values[0] <= 1 + 1e-6
    torch.testing.assert_close(path[1], torch.tensor([2.0, 1, 1, 1]), rtol=1e-5, atol=1e-5)
