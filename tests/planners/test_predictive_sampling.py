"""Predictive sampling: noisy copies of the best sequence, which is one of the candidates."""

import torch

from mbrl.planners import PredictiveSampling
from mbrl.planners.sampling import Iteration
from mbrl.types import ActionSpec
from tests.planners.linear import LinearQuadratic, states
from tests.toys import ACTION, ToyModel, generator


def make(**options):
    return PredictiveSampling(**{"action": ACTION, "horizon": 3, "num_samples": 50} | options)


def test_the_first_plan_scores_noise_around_the_middle_and_the_middle():
    planner = make(action=ActionSpec("continuous", torch.tensor([1.0]), torch.tensor([5.0])))
    candidates = planner.propose(planner.start(2), Iteration(0, 1, False), generator=generator(1))
    assert candidates.shape == (2, 51, 3, 1)
    assert candidates[:, -1].equal(torch.full((2, 3, 1), 3.0))
    spread = candidates[:, :-1].std().item()
    assert 0.7 < spread < 1.1  # half of half the range, cut off at the bounds


def test_a_warm_plan_tries_the_plan_before_with_two_ends():
    planner, obs = make(), torch.tensor([[0.5, 0.0]])
    first = planner.plan(obs, ToyModel(), generator=generator(1))
    shifted = first.warm_start.shift(generator=generator(1))
    candidates = planner.propose(shifted, Iteration(0, 1, True), generator=generator(2))
    assert candidates.shape[1] == 52
    for candidate in candidates[0, -2:]:
        torch.testing.assert_close(candidate[:2], first.actions[0, 1:])
    held = first.actions[0, -1]
    assert candidates[0, -1, 2] == held and candidates[0, -2, 2] != held
    plan = planner.plan(obs, ToyModel(), generator=generator(2), previous=first)
    assert plan.info["evaluations"] == 52 and plan.info["iterations"] == 1


def test_the_plan_is_the_best_candidate():
    planner, obs = make(), torch.tensor([[0.5, 0.2], [-0.7, 0.1]])
    candidates = planner.propose(planner.start(2), Iteration(0, 1, False), generator=generator(3))
    returns = planner.objective(ToyModel(), obs, candidates, generator=None)
    update = planner.update(planner.start(2), Iteration(0, 1, False), candidates, returns)
    assert update.value.equal(returns.max(1).values)
    assert update.actions.equal(candidates[torch.arange(2), returns.argmax(1)])


def test_more_iterations_sample_around_the_best_so_far_and_lose_nothing():
    x, system = states(5), LinearQuadratic()
    box = ActionSpec("continuous", torch.full((2,), -2.0), torch.full((2,), 2.0))
    values = []
    for iterations in (1, 5, 30):
        planner = make(action=box, num_iterations=iterations)
        values.append(planner.plan(x, system, generator=generator(1)).value)
    assert (values[1] >= values[0]).all() and (values[2] >= values[1]).all()
    assert (values[2] > values[0] + 0.1).any()
