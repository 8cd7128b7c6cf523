"""Reward, termination and validity of a predicted observation."""

import math

import pytest
import torch

from mbrl.dynamics.sindy.outcome import Outcome
from mbrl.dynamics.sindy.structure import Circle
from mbrl.errors import BadInput
from mbrl.types import Task
from tests.dynamics.sindy.helpers import rows
from tests.toys import TASK, reward


def data(low, high):
    """Two transitions whose observations span a range."""
    obs = torch.tensor([low, high])
    return rows(obs, torch.zeros(2, 1), obs)


def test_the_range_of_the_data_is_extended_on_both_sides_by_a_multiple_of_its_width():
    outcome = Outcome(2, 1, TASK, "auto", 2)
    outcome.fit_bounds(data([0.0, -1.0], [2.0, -1.0]), 0.5, [])
    assert outcome.low.tolist() == [-1.0, -math.inf]  # a constant says nothing of its range
    assert outcome.high.tolist() == [3.0, math.inf]
    clamped, valid = outcome.bound(torch.tensor([[3.0, -1.0], [3.5, -1.0], [0.0, -2.0]]))
    assert clamped.tolist() == [[3.0, -1.0], [3.0, -1.0], [0.0, -2.0]]
    assert valid.tolist() == [True, False, True]


def test_found_circles_and_bounds_hold_for_every_prediction():
    outcome = Outcome(3, 1, Task(), "auto", 1)
    none = torch.full((3,), torch.inf)
    most = torch.tensor([torch.inf, torch.inf, 8.0])
    outcome.fit_structure([Circle(0, 1, 2.0)], -none, most)
    outcome.rebuild(((0, 1),))
    prediction = outcome(torch.zeros(1, 3), torch.zeros(1, 1), torch.tensor([[-3.0, 4.0, 9.0]]))
    torch.testing.assert_close(prediction.next_obs, torch.tensor([[-1.2, 1.6, 8.0]]))
    assert prediction.valid.all()


def test_limits_are_never_exceeded():
    outcome = Outcome(2, 1, TASK, "auto", 2)
    outcome.fit_bounds(data([0.0, 0.0], [1.0, 1.0]), 10.0, [(1, -0.2, 1.1)])
    assert outcome.low.tolist() == [-10.0, pytest.approx(-0.2)]
    assert outcome.high.tolist() == [11.0, pytest.approx(1.1)]


def test_angles_go_round_and_stay_on_their_circle():
    outcome = Outcome(3, 1, TASK._replace(angle_pairs=((0, 1),)), "auto", 1)
    outcome.fit_bounds(data([1.0, 0.0, 0.0], [1.0, 0.0, 1.0]), 1.0, [])
    prediction = outcome(torch.zeros(1, 3), torch.zeros(1, 1), torch.tensor([[-3.0, 4.0, 0.5]]))
    torch.testing.assert_close(prediction.next_obs, torch.tensor([[-0.6, 0.8, 0.5]]))
    assert prediction.valid.all()


def test_reward_and_termination_are_the_tasks():
    outcome = Outcome(2, 1, TASK, "auto", 2)
    obs, action, next_obs = torch.zeros(2, 2), torch.ones(2, 1), torch.tensor([[1.0, 0], [4.0, 0]])
    prediction = outcome(obs, action, next_obs)
    assert prediction.reward.equal(reward(obs, action, next_obs))
    assert prediction.terminated.tolist() == [False, True]


def test_a_learned_reward_is_the_polynomial_with_its_weights():
    outcome = Outcome(2, 1, TASK, "learned", 2)
    names = outcome.library.names(outcome.variable_names(["x", "v", "u"]))
    for name, weight in (("1", 0.5), ("x v", -2.0), ("u^2", 0.25)):
        outcome.weights[names.index(name)] = weight
    outcome.rebuild(())
    obs, action = torch.tensor([[3.0, -1.0]]), torch.tensor([[2.0]])
    assert outcome(obs, action, obs).reward.item() == 0.5 + 6 + 1


def test_the_angle_of_a_circle_is_a_variable_of_the_reward():
    outcome = Outcome(2, 1, Task(angle_pairs=((0, 1),)), "auto", 2)
    names = outcome.library.names(outcome.variable_names(["c", "s", "u"]))
    outcome.weights[names.index("angle(c,s)^2")] = -1.0
    outcome.rebuild(((0, 1),))
    angle = torch.tensor([-3.0, 0.5])
    obs = torch.stack([angle.cos(), angle.sin()], 1)
    reward = outcome(obs, torch.zeros(2, 1), obs).reward
    torch.testing.assert_close(reward, -angle.square(), atol=1e-5, rtol=0)


def test_whether_a_reward_is_learned():
    assert Outcome(2, 1, Task(), "auto", 1).learns_reward
    assert not Outcome(2, 1, TASK, "auto", 1).learns_reward
    assert Outcome(2, 1, TASK, "learned", 1).learns_reward
    with pytest.raises(BadInput, match="reward=known: should be learned"):
        Outcome(2, 1, Task(), "known", 1)
