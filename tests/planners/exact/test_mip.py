"""The anytime planners: never worse than the incumbent, never outside the limits."""

import numpy as np
import pytest
import torch

from mbrl.envs import piecewise_affine
from mbrl.envs.tasks.piecewise_affine import headwind
from mbrl.errors import BadInput
from mbrl.imagination.rollout import rollout
from mbrl.planners import CEM, MIP, BaB
from mbrl.planners.exact.piecewise_linear import Exact
from mbrl.relu import RELU, Layer, PiecewiseLinearCost, ReluNetwork, Term, intrusion, limits
from mbrl.types import ActionSpec
from tests.relu.problems import by_enumeration, random_problem
from tests.toys import generator


def spec(problem) -> ActionSpec:
    """Give the first decision's limits, for all decisions."""
    low, high = (torch.from_numpy(x[0]) for x in (problem.action_low, problem.action_high))
    return ActionSpec("continuous", low.float(), high.float())


def setting(seed, **options):
    """Draw a problem, its model and a state of 3 environments."""
    problem = random_problem(seed, **options)
    obs = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, problem.network.obs_dim)))
    return problem, Exact(problem.network, problem.cost), obs


def cost_of(problem, model, obs, actions):
    value = rollout(
        model, obs, actions[:, None].double(), hold=problem.hold, discount=problem.discount,
        terminal_value=model.terminal_value,
    ).value  # fmt: skip
    return -value[:, 0]


def planner(problem, make=MIP, **options):
    return make(
        action=spec(problem), horizon=len(problem.action_low), action_hold=problem.hold,
        discount=problem.discount, **options,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"formulation": "regions"},
        {"backend": "pyomo"},
        {"bounds": "interval"},
        {"make": BaB, "max_boxes": 60000},
    ],
    ids=["obbt", "regions", "pyomo", "interval", "bab"],
)
def test_finds_the_optimum(seed, options):
    problem, model, obs = setting(seed, widths=(3,), horizon=2, hold=1 + (seed == 1))
    plan = planner(problem, **options).plan(obs, model, generator=generator(1))
    assert plan.info["status"] == ["optimal"] * 3
    low, high = (
        x[:1].astype(np.float32).astype(float) for x in (problem.action_low, problem.action_high)
    )
    for i in range(1 + seed % 2):
        here = problem._replace(
            obs=obs[i].numpy(), action_low=np.repeat(low, 2, 0), action_high=np.repeat(high, 2, 0)
        )
        expected = by_enumeration(here)
        assert abs(-plan.value[i].item() - expected) <= 1e-5 * max(1, abs(expected))
        assert plan.info["lower_bound"][i] <= expected + 1e-6 * max(1, abs(expected))
    assert (plan.info["gap"] < 1.01e-4).all()
    again = cost_of(problem, model, obs, plan.actions)
    torch.testing.assert_close(again.float(), -plan.value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "options",
    [
        {"max_nodes": 1, "max_lps": 0},
        {"max_nodes": 0, "bounds": "crown"},
        {"time_limit": 1e-4},
        {"time_limit": 0.05},
        {"make": BaB, "max_boxes": 500},
        {"make": BaB, "time_limit": 0.03},
    ],
    ids=["few nodes", "no nodes", "no time", "little time", "bab, few boxes", "bab, little time"],
)
def test_never_worse_than_its_incumbent(seed, options):
    problem, model, obs = setting(seed, widths=(4, 4), horizon=4)
    few = {"num_samples": 20, "num_elites": 5, "num_iterations": 1, "warm_iterations": 1}
    under_test = planner(problem, sampler_options=few, **options)
    previous = None
    for step in range(3):
        plan = under_test.plan(obs, model, generator=generator(step), previous=previous)
        cost = cost_of(problem, model, obs, plan.actions)
        assert (cost <= plan.info["incumbent"] + 1e-6).all()
        if "time_limit" not in options:  # sampling is cut short as well
            cem = planner(problem, CEM, **few)  # draws first
            before = (
                None
                if previous is None
                else previous._replace(warm_start=previous.warm_start.sampler)
            )
            sampled = cem.plan(obs, model, generator=generator(step), previous=before)
            found = cost_of(problem, model, obs, sampled.actions)
            assert (plan.info["incumbent"] <= found + 1e-6).all()
        if previous is not None:
            shifted = torch.cat([previous.actions[:, 1:], previous.actions[:, -1:]], 1)
            assert (cost <= cost_of(problem, model, obs, shifted) + 1e-6).all()
        low, high = spec(problem).low, spec(problem).high
        assert (plan.actions >= low).all() and (plan.actions <= high).all()
        assert (plan.info["lower_bound"] <= -plan.value.double() + 1e-6).all()
        previous = plan


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
    nothing = mip.highs.Solution("infeasible", None, np.inf, -np.inf, 0, 0.0)
    monkeypatch.setattr(mip.highs, "solve", lambda *a, **k: nothing)
    plan = planner(problem, max_lps=0).plan(obs, model, generator=generator(0))
    assert plan.info["status"] == ["infeasible"] * 3
    assert plan.info["lower_bound"].isfinite().all()  # what the bounds alone prove
    assert (plan.info["lower_bound"] < -plan.value.double()).all()
    assert (-plan.value.double() <= plan.info["incumbent"] + 1e-6).all()


@pytest.mark.parametrize("seed", [0, 2, 8])
@pytest.mark.parametrize("backend", ["highs", "pyomo"])
def test_a_solver_that_calls_a_feasible_program_infeasible_proves_nothing(seed, backend):
    """Weights of 1000 are too much for it; the bound was once the cost of the incumbent."""
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
    assert plan.info["status"] == ["failed"]
    thorough = CEM(action=action, horizon=2).plan(obs, model, generator=generator(1))
    assert plan.info["lower_bound"].item() < -thorough.value.item()


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
    for wrong in ((dim,), (-1,)):
        with pytest.raises(BadInput, match="integer="):
            MIP(action=action, integer=wrong)
    narrow = ActionSpec("continuous", torch.tensor([0.2]), torch.tensor([0.8]))
    with pytest.raises(BadInput, match="no whole number"):
        MIP(action=narrow, integer=(0,))


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
    """A point in front of a wall: straight on is a local minimum, the way round is the optimum."""
    network = ReluNetwork((), np.hstack([np.eye(2), np.eye(2)]), np.zeros(2), 2)
    wall = intrusion(((0, 0.5, 1.0), (1, -1.05, 3.0)), 4)
    goal = Term("l1", np.eye(2, 5) * [[3, 0, 0, 0, 0], [0, 1, 0, 0, 0]], np.array([-6.0, 0.0]))
    depth = Term("linear", 200 * np.eye(1, 5, 2), np.zeros(1))
    model = Exact(network, PiecewiseLinearCost((goal, depth), head=wall))
    action = ActionSpec("continuous", torch.full((2,), -0.4), torch.full((2,), 0.4))
    obs = torch.tensor([[0.4, 0.0]])
    few = {"num_samples": 100, "num_elites": 10, "num_iterations": 10}
    plan = MIP(action=action, horizon=9, sampler_options=few).plan(
        obs, model, generator=generator(0)
    )
    assert plan.info["status"] == ["optimal"]
    assert -plan.value.item() < plan.info["incumbent"].item() - 1
    assert (
        BaB(action=action, horizon=9, sampler_options=few)
        .plan(obs, model, generator=generator(0))
        .value
        >= plan.value - 1e-4
    )  # descent and the bounds together find it as well
    path = torch.stack([obs[0] + plan.actions[0, : t + 1].sum(0) for t in range(9)])
    assert path[:, 1].min() < -1.04 and path[-1, 0] > 1


@pytest.mark.parametrize("make", [MIP, BaB])
def test_plans_made_afresh_look_at_the_limits_of_the_actions(make):
    """All four actions near their limit pay, anything less costs: narrow samples see no such."""
    first = Layer(np.array([[1.0, 0, 1]]), np.array([-2.8]), np.full(1, RELU, np.int8))
    weight = np.array([[1.0, 0, 1, 0], [0, 0, 0, 1]])  # s' = s + u, v' = relu(s + u - 2.8)
    network = ReluNetwork((first,), weight, np.zeros(2), 2)
    effort = Term("l1", np.array([[0.1, 0]]), np.zeros(1))
    prize = Term("linear", np.array([[0, -5.0]]), np.zeros(1))
    model = Exact(network, PiecewiseLinearCost((), (effort, prize)))
    action = ActionSpec("continuous", torch.tensor([-1.0]), torch.tensor([1.0]))
    options = {"sampler_options": {"num_samples": 200, "num_elites": 20, "num_iterations": 5}}
    options |= {"max_nodes": 0} if make is MIP else {"max_boxes": 1}
    obs = torch.zeros(5, 2)
    plan = make(action=action, horizon=4, num_fresh=2, **options).plan(
        obs, model, generator=generator(0)
    )
    assert (plan.actions > 0.99).all()  # costs -5.6; where all rests, 0
    narrow = make(action=action, horizon=4, num_fresh=0, **options).plan(
        obs, model, generator=generator(0)
    )
    assert (narrow.value < plan.value - 1).any()


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


def test_few_elites_find_the_way_round_the_wind():
    """The mean of many lies between the ways round, and before the wind where it is cheap."""
    env = piecewise_affine(num_envs=8)
    assert env.task.cost is not None
    model = Exact(headwind(), env.task.cost)
    state = model.initial(env.reset(777))
    costs = []
    for options in ({}, {"num_elites": 30}):
        made = MIP(
            action=env.action, horizon=10, action_hold=4, bounds="crown", max_nodes=0,
            sampler_options=options,
        )  # fmt: skip
        costs.append(-made.plan(state, model, generator=generator(3)).value)
    assert (costs[0] < costs[1] + 1e-3).all()  # float32
    assert costs[0].mean() < costs[1].mean() - 0.5
