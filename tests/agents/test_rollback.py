"""Rollback to the best policy so far."""

import torch

from mbrl.agents.rollback import Rollback, estimated_return
from mbrl.types import Transitions
from tests.toys import ToyLearner


def transitions(rewards, ends=()):
    reward = torch.tensor(rewards)
    ended = torch.zeros(len(reward), dtype=torch.bool)
    ended[list(ends)] = True
    rows = torch.zeros(len(reward), 2)
    episode = torch.zeros(len(reward), dtype=torch.int64)
    return Transitions(rows, rows[:, :1], reward, rows, ended, ~ended & False, episode)


def test_returns_are_estimated_from_transitions_cut_anywhere():
    assert estimated_return(transitions([2.0] * 30), 200) == 400  # never ends: the limit
    assert estimated_return(transitions([1.0] * 30, [9, 19, 29]), 200) == 10
    assert estimated_return(transitions([1.0] * 30, [29]), 20) == 20
    assert estimated_return(transitions([1.0] * 30), None) == 30


def test_the_best_policy_comes_back_when_a_later_one_loses_too_much():
    learner = ToyLearner()
    back = Rollback(learner, 0.25, 10)

    def measured(gain, mean):
        learner.gain = torch.tensor([gain, 0.0])
        return back.update(transitions([mean] * 5))["train/rolled_back"], learner.gain[0].item()

    assert measured(0.0, -10.0) == (0, 0.0)  # random actions: the scale, no policy
    assert measured(1.0, -6.0) == (0, 1.0)
    assert measured(2.0, -2.0) == (0, 2.0)  # the best: it gained 80 of a return
    assert measured(3.0, -3.9) == (0, 3.0)  # lost 19: within a quarter
    assert measured(4.0, -4.1) == (1, 2.0)
    other = Rollback(learner, 0.25, 10)
    other.load_state_dict(back.state_dict())
    learner.gain = torch.tensor([5.0, 0.0])
    assert other.update(transitions([-9.0] * 5))["train/rolled_back"] == 1
    assert learner.gain[0] == 2.0
