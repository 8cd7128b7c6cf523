"""Held actions, counted for each environment."""

import pytest
import torch

from mbrl.imagination.hold import ActionHold


def test_actions_are_held_and_decided_anew_where_an_episode_begins():
    hold, wished = ActionHold(3), torch.arange(16.0).view(8, 2, 1)
    done = []
    for t, action in enumerate(wished):
        if t == 4:
            hold.reset(torch.tensor([True, False]))
        done.append(hold(action)[:, 0].tolist())
    assert [row[0] for row in done] == [0, 0, 0, 6, 8, 8, 8, 14]
    assert [row[1] for row in done] == [1, 1, 1, 7, 7, 7, 13, 13]
    assert ActionHold(1)(wished[3]).equal(wished[3])
    other = ActionHold(3)
    other.load_state_dict(hold.state_dict(), 1)
    assert other(wished[0]).equal(hold(wished[0]))
    hold.reset()
    assert hold(wished[5]).equal(wished[5])


def test_a_decision_may_be_held_for_another_number_of_steps():
    hold, obs = ActionHold(2), torch.zeros(2, 3)
    both, first = torch.tensor([True, True]), torch.tensor([True, False])
    assert hold.due(obs).equal(both)
    hold.decide(torch.tensor([[1.0], [2.0]]), both, num_steps=3)
    for _ in range(3):
        assert hold.take()[:, 0].tolist() == [1, 2]
    assert hold.due(obs).equal(both)
    hold.decide(torch.tensor([[3.0], [4.0]]), both)
    hold.take()
    hold.reset(first)
    assert hold.due(obs).equal(first)
    hold.decide(torch.tensor([[5.0], [6.0]]), first)
    assert hold.take()[:, 0].tolist() == [5, 4]


def test_another_number_of_environments_starts_anew():
    hold = ActionHold(4)
    hold(torch.ones(2, 1))
    assert hold(torch.zeros(3, 1)).equal(torch.zeros(3, 1))


@pytest.mark.parametrize("num_envs, act_dim", [(2, 2), (3, 1), (None, 1)])
def test_held_actions_of_another_shape_are_refused(num_envs, act_dim):
    left = None if num_envs is None else torch.zeros(num_envs, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"held actions \(2, 1\) do not fit \(E, "):
        ActionHold(2).load_state_dict({"action": torch.ones(2, 1), "left": left}, act_dim)
    with pytest.raises(KeyError, match="action"):
        ActionHold(2).load_state_dict({"left": left}, act_dim)
