"""The refrigerator: its equation by hand."""

import pytest
import torch

from mbrl.envs import refrigerator
from mbrl.envs.tasks.refrigerator import after


def test_one_minute_by_hand():
    # at 5 deg C: 20/30 leak in; Carnot 278.15/40 times 0.3 goes out at full power
    warm = after(torch.tensor([5.0, 5.0]), torch.tensor([0.0, 1.0]))
    assert warm.tolist() == pytest.approx([5 + 2 / 3, 5 + 2 / 3 - 0.3 * 278.15 / 40])
    beyond = after(torch.tensor([5.0]), torch.tensor([7.0]))
    assert beyond.equal(warm[1:]), "power is clipped to 1"


def test_starts_are_within_three_degrees_of_five():
    starts = refrigerator(num_envs=1000).reset(1)
    assert 2 <= starts.min() < 2.1 and 7.9 < starts.max() <= 8


def test_it_warms_to_the_room_and_pays_for_the_distance():
    env = refrigerator(num_envs=2, target=-5.0)
    obs = env.reset(1)
    assert ((obs >= 2) & (obs <= 8)).all()
    for _ in range(99):
        step = env.step(torch.zeros(2, 1))
    assert not step.truncated.any() and (step.next_obs > 23).all() and (step.next_obs < 25).all()
    torch.testing.assert_close(step.reward, -(step.next_obs[:, 0] + 5))
    step = env.step(torch.zeros(2, 1))
    assert step.truncated.all() and not step.terminated.any() and (step.obs < 9).all()
