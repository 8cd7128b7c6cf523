"""Parts of several tasks: costs, starts, and observations that begin with x."""

import numpy as np
import pytest
import torch

from mbrl.envs.tasks.common import (
    add_uniform,
    all_false,
    control_cost,
    forward_speed,
    locomotion_reward,
    never,
    with_x_first,
)
from mbrl.types import Task


def test_costs_and_speeds_by_hand():
    action = np.array([[1.0, -2.0], [0.0, 0.5]], np.float32)
    cost = control_cost(action, 0.1)
    assert cost.dtype == np.float32 and cost.tolist() == pytest.approx([0.5, 0.025])
    before, now = {"qpos": np.array([[1.0], [2.0]])}, {"qpos": np.array([[1.5], [1.0]])}
    assert forward_speed(before, now, 0.1).tolist() == pytest.approx([5, -10])
    reward = locomotion_reward(before, action, now, 0.1, np.array([True, False]))
    assert reward.tolist() == pytest.approx([5 + 1 - 0.005, -10 - 0.00025])


def test_uniform_noise_is_added_in_place():
    x = np.full(1000, 3.0)
    add_uniform(x, 0.1, np.random.default_rng(0))
    assert 2.9 <= x.min() < 2.91 and 3.09 < x.max() < 3.1
    expected = 3 + np.random.default_rng(0).uniform(low=-0.1, high=0.1, size=1000)
    assert (x == expected).all()


def test_nothing_ends():
    rows = torch.zeros(3, 2)
    assert never(rows, rows, rows).tolist() == all_false(np.zeros(3)).tolist() == [False] * 3


def test_a_task_is_told_of_x():
    task = Task(
        terminated=lambda obs, action, next_obs: (obs[:, 0] > 0) & (next_obs[:, 0] > 0),
        obs_names=("z", "x_dot", "z_dot"),
        positions=((0, 2),),
    )
    shown = with_x_first(task)
    assert shown.obs_names == ("x", "z", "x_dot", "z_dot")
    assert shown.positions == ((0, 2), (1, 3))  # (x, x_dot), (z, z_dot)
    obs = torch.tensor([[9.0, -1, 0, 0], [-9, 1, 0, 0]])
    assert shown.terminated(obs, obs, obs).tolist() == [False, True]
