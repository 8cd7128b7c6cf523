"""What exact planners share: incumbents, time, plans that are never worse than the incumbent."""

import importlib.util
import itertools
import time

import numpy as np
import pytest
import torch

from mbrl.envs import piecewise_affine
from mbrl.envs.tasks.piecewise_affine import headwind
from mbrl.errors import BadInput
from mbrl.planners import MIP, BaB
from mbrl.planners.exact.anytime import (
    AnytimePlanner,
    SearchResult,
    Timer,
    best_of,
    proof_is_intractable,
)
from mbrl.planners.exact.piecewise_linear import Exact
from mbrl.relu import RELU, Layer, PiecewiseLinearCost, ReluNetwork, Term
from mbrl.relu.program import Problem
from mbrl.types import ActionSpec
from tests.toys import ToyModel, generator

# --- time


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_time_is_shared_among_the_environments_that_are_left(clock):
    timer = Timer()
    clock[0] += 2
    timer.start_share(10.0, 4)
    assert timer.elapsed() == 2 and timer.share == 2 and timer.end == 4
    clock[0] += 1.5
    assert timer.remaining() == 0.5 and timer.part_of_remaining(0.5) == 0.25
    assert timer.is_running_out(0.3) and not timer.is_running_out(0.2)
    clock[0] += 1  # late: the next environment has less
    assert timer.part_of_remaining(0.5) == 0 and timer.remaining() == -0.5
    timer.start_share(10.0, 2)
    assert timer.share == (10 - 4.5) / 2
    clock[0] += 9
    timer.start_share(10.0, 1)
    assert timer.share == 0


def test_without_a_deadline_there_is_always_time(clock):
    timer = Timer()
    timer.start_share(None, 3)
    clock[0] += 1e6
    assert timer.remaining() is None and timer.part_of_remaining(0.5) is None
    assert not timer.is_running_out(1.0)


def test_seconds_are_added_up_by_part(clock):
    timer = Timer()
    for name, seconds in (("build", 1), ("solve", 2), ("build", 4)):
        clock[0] += seconds
        timer.record(name)
    assert timer.seconds == {"build": 5, "solve": 2}


def test_a_proof_takes_twice_as_long_with_eight_more_neurons():
    assert not proof_is_intractable(1000, None)
    assert proof_is_intractable(0, 0.006) and not proof_is_intractable(0, 0.007)
    assert proof_is_intractable(8, 0.013) and not proof_is_intractable(8, 0.014)
    assert proof_is_intractable(0, -1.0) and proof_is_intractable(10**6, 1e20)


# --- plans: x' = x + u, which should be at 1.3


NETWORK = ReluNetwork((), np.array([[1.0, 1.0]]), np.zeros(1), 1)
COST = PiecewiseLinearCost((Term("l1", np.array([[1.0, 0]]), np.array([-1.3])),))
MODEL = Exact(NETWORK, COST)
ACTION = ActionSpec.box(-1.0, 1.0)
FEW = {"num_samples": 12, "num_elites": 3, "num_iterations": 1, "warm_iterations": 1}


class Answers(AnytimePlanner):
    """Planner that answers with given actions, and keeps what it was asked."""

    def __init__(self, answer=None, bound=-5.0, **options):
        defaults = {
            "action": ACTION, "horizon": 2, "action_hold": 1, "discount": 1.0, "sampler": "cem",
            "sampler_options": FEW, "num_fresh": 2, "time_limit": None,
        }  # fmt: skip
        super().__init__("answers", **{**defaults, **options})
        self.answer, self.bound, self.asked = answer, bound, []

    def improve(self, problem, incumbent, candidates, sample_more, timer):
        self.asked.append((problem, incumbent, candidates, sample_more, timer))
        if self.answer is None:
            return incumbent
        actions = np.array(self.answer, dtype=float)
        return incumbent._replace(actions=actions, cost=-99.0, lower_bound=self.bound)


def plan_from(planner, *obs, **options):
    return planner.plan(torch.tensor(obs)[:, None], MODEL, generator=generator(0), **options)


def test_a_better_answer_is_taken_and_a_worse_one_is_not():
    best = plan_from(Answers([[1.0], [0.3]]), 0.0)
    assert best.actions[0, :, 0].tolist() == pytest.approx([1, 0.3])
    assert best.value.item() == pytest.approx(-0.3)  # simulated, whatever the answer promised
    assert best.info["incumbent"].item() >= 0.3
    assert best.info["lower_bound"].item() == -5
    assert best.info["gap"].item() == pytest.approx(5.3 / 0.3)
    worse = plan_from(Answers([[-1.0], [-1.0]]), 0.0)
    assert -worse.value.item() == pytest.approx(worse.info["incumbent"].item())


def test_a_bound_above_the_plan_is_no_bound():
    plan = plan_from(Answers([[1.0], [0.3]], bound=7.0), 0.0)
    assert plan.info["lower_bound"].item() == pytest.approx(0.3) and plan.info["gap"].item() == 0


def test_answers_are_moved_to_what_is_allowed():
    outside = plan_from(Answers([[4.0], [0.3]]), 0.0)
    assert outside.actions[0, :, 0].tolist() == pytest.approx([1, 0.3])
    whole = plan_from(Answers([[4.0], [0.3]], integer=(0,)), 0.0)
    assert whole.actions[0, :, 0].tolist() == [1, 0]
    wide = Answers([[9.0], [0.6]], integer=(0,), action=ActionSpec.box(-1.0, 1.7))
    assert plan_from(wide, -1.0).actions[0, :, 0].tolist() == [1, 1]
    network = ReluNetwork((), np.array([[1.0, 1, 0]]), np.zeros(1), 1)
    model = Exact(network, PiecewiseLinearCost((Term("l1", np.eye(1, 3), np.array([-2.0])),)))
    choice = Answers([[0.9, 0.2], [0.6, 0.4]], action=ActionSpec.discrete(2))
    plan = choice.plan(torch.zeros(1, 1), model, generator=generator(0))
    assert plan.actions.tolist() == [[[1, 0], [1, 0]]]


def test_candidates_are_the_sampled_ones_the_fresh_ones_and_the_plan_before_shifted():
    planner = Answers(num_fresh=3, horizon=3)
    first = plan_from(planner, 0.0, 5.0)
    assert [x[2].shape for x in planner.asked] == [(4, 3, 1)] * 2
    known = torch.tensor([[0.25], [0.5], [-0.125]])
    warm_start = first.warm_start._replace(actions=known.expand(2, 3, 1))
    plan_from(planner, 0.0, 5.0, previous=first._replace(warm_start=warm_start))
    for problem, incumbent, candidates, _, _ in planner.asked[2:]:
        assert len(candidates) == 5
        assert [0.5, -0.125, -0.125] in candidates[:, :, 0].tolist()
        costs = problem.simulate(candidates)[0]
        assert (np.diff(costs) >= 0).all() and incumbent.cost == costs[0]
        assert (incumbent.actions == candidates[0]).all()
    assert [x[0].obs.item() for x in planner.asked] == [0, 5, 0, 5]


def test_a_start_without_a_plan_is_the_middle_of_the_bounds():
    planner = Answers(action=ActionSpec.box([-1.0, 0.0], [3.0, 0.5]), horizon=3)
    assert planner.start(2).actions.tolist() == [[[1, 0.25]] * 3] * 2
    whole = Answers(action=ActionSpec.box([0.0], [1.5]), integer=(0,))
    assert whole.start(1).actions.tolist() == [[[1], [1]]]


def test_the_problem_is_that_of_the_settings():
    planner = Answers(
        action=ActionSpec.box([-2.0], [1.0]), action_hold=3, discount=0.9, integer=(0,)
    )
    plan_from(planner, 0.5)
    problem = planner.asked[0][0]
    assert problem.action_low.tolist() == [[-2], [-2]] and problem.action_high.max() == 1
    assert (problem.hold, problem.discount, problem.integer) == (3, 0.9, (0,))
    assert not problem.one_hot and problem.obs.tolist() == [0.5]


def test_further_candidates_are_sampled_for_as_long_as_is_asked(monkeypatch):
    planner = Answers(sampler_options={"num_samples": 100, "num_elites": 10})
    plan_from(planner, 0.0)
    problem, _, _, sample_more, _ = planner.asked[0]
    ticks = itertools.count(0, 0.001)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))
    costs = []
    for seconds in (0.0, 0.2):
        more = sample_more(seconds)
        assert more.shape == (1, 2, 1) and np.abs(more).max() <= 1
        costs.append(problem.simulate(more)[0][0])
    assert costs[0] > costs[1] and costs[1] == pytest.approx(0.3, abs=0.01)  # the optimum


@pytest.mark.parametrize(
    ("limit", "deadline", "share"), [(8.0, None, 8), (None, 4.0, 4), (8, 4, 4)]
)
def test_the_time_limit_is_the_deadline_unless_one_is_given(clock, limit, deadline, share):
    planner = Answers(time_limit=limit)
    plan_from(planner, 0.0, 5.0, deadline=deadline)
    timers = [x[4] for x in planner.asked]
    assert timers[0] is timers[1] and timers[0].end == share  # the second has all that is left


def test_the_first_of_equal_candidates_is_the_best():
    problem = Problem(NETWORK, COST, np.zeros(1), -np.ones((1, 1)), np.ones((1, 1)))
    candidates = np.array([[[0.0]], [[1.0]], [[0.5]], [[1.0]]])
    best = best_of(problem, candidates)
    assert best.actions is not None and best.actions.tolist() == [[1]]
    assert best.cost == best.incumbent == pytest.approx(0.3) and best.lower_bound == -np.inf
    assert best == SearchResult(best.actions, best.cost, -np.inf, best.cost, 0, "no_time", 0)


def test_wrong_settings_and_models_are_refused():
    for wrong in (1, -1):
        with pytest.raises(BadInput, match=f"integer=.*{wrong} is no action; there are 1"):
            Answers(integer=(wrong,))
    with pytest.raises(BadInput, match="action 0 has no whole number in its bounds"):
        Answers(action=ActionSpec.box(0.2, 0.8), integer=(0,))
    with pytest.raises(BadInput, match="planner=answers plans on ReLU networks only"):
        Answers().plan(torch.zeros(1, 2), ToyModel(), generator=generator(0))


# --- of both planners


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


@pytest.mark.parametrize(
    ("missing", "options"),
    [("highspy", {}), ("pyomo", {"backend": "pyomo"})],
    ids=["highs", "pyomo"],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, missing, options):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )
    with pytest.raises(BadInput, match=rf"needs {missing}: pip install 'dynaplan\[mip\]'"):
        MIP(action=ActionSpec.box([-1.0], [1.0]), **options)
