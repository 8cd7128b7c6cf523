"""Random problems as an exact planner sees them, and what holds of every plan."""

import functools

import numpy as np
import torch

from mbrl.imagination.rollout import rollout
from mbrl.planners import CEM, MIP
from mbrl.planners.exact.piecewise_linear import Exact
from mbrl.relu import PiecewiseLinearCost, ReluNetwork, Term, intrusion
from mbrl.types import ActionSpec
from tests.relu.problems import by_enumeration, random_problem
from tests.toys import generator


def spec(problem) -> ActionSpec:
    """Return the first decision's limits, for all decisions."""
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


@functools.cache  # it takes seconds, and is the same for all planners
def optimum(seed: int, index: int) -> float:
    """Return the optimum of check_optimum in one environment."""
    problem, _, obs = setting(seed, widths=(3,), horizon=2, hold=1 + (seed == 1))
    low, high = (
        x[:1].astype(np.float32).astype(float) for x in (problem.action_low, problem.action_high)
    )
    limits = {"action_low": np.repeat(low, 2, 0), "action_high": np.repeat(high, 2, 0)}
    return by_enumeration(problem._replace(obs=obs[index].numpy(), **limits))


def check_optimum(seed, **options):
    """Plan on a small network; the plan is that of enumeration, and proven."""
    problem, model, obs = setting(seed, widths=(3,), horizon=2, hold=1 + (seed == 1))
    plan = planner(problem, **options).plan(obs, model, generator=generator(1))
    assert plan.info["status"] == ["optimal"] * 3
    for i in range(1 + seed % 2):
        expected = optimum(seed, i)
        assert abs(-plan.value[i].item() - expected) <= 1e-5 * max(1, abs(expected))
        assert plan.info["lower_bound"][i] <= expected + 1e-6 * max(1, abs(expected))
    assert (plan.info["gap"] < 1.01e-4).all()
    again = cost_of(problem, model, obs, plan.actions)
    torch.testing.assert_close(again.float(), -plan.value, rtol=1e-5, atol=1e-6)


def check_never_worse(seed, **options):
    """Plan three times in a row: no plan is worse than its incumbent or than the plan before."""
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


def behind_a_wall():
    """A point in front of a wall: straight on is a local minimum, the way round is the optimum."""
    network = ReluNetwork((), np.hstack([np.eye(2), np.eye(2)]), np.zeros(2), 2)
    wall = intrusion(((0, 0.5, 1.0), (1, -1.05, 3.0)), 4)
    goal = Term("l1", np.eye(2, 5) * [[3, 0, 0, 0, 0], [0, 1, 0, 0, 0]], np.array([-6.0, 0.0]))
    depth = Term("linear", 200 * np.eye(1, 5, 2), np.zeros(1))
    model = Exact(network, PiecewiseLinearCost((goal, depth), head=wall))
    action = ActionSpec("continuous", torch.full((2,), -0.4), torch.full((2,), 0.4))
    obs = torch.tensor([[0.4, 0.0]])
    return model, action, obs
