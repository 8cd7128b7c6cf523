"""Rows of sparse regressions: which are used, which are held out, how positions and angles move."""

import math

import pytest
import torch

from mbrl.dynamics.sindy.data import cut_at_gaps, hold_out, motion_problem, read_limits, usable
from mbrl.dynamics.sindy.library import polynomial
from mbrl.errors import BadInput, NumericalFault
from tests.dynamics.sindy.helpers import rows


def test_what_is_left_out_cuts_an_episode():
    obs = torch.arange(8.0)[:, None]
    data = rows(obs, obs, obs + 1, episode=torch.tensor([0, 1] * 4))
    kept = usable(data, [(0, -1.0, 2.5), (0, -1.0, 100.0)], torch.float64)
    assert kept.obs[:, 0].tolist() == [0, 1]
    data = data._replace(obs=torch.tensor([0.0, 0, 9, 0, 0, 0, 0, 0])[:, None], next_obs=0 * obs)
    kept = usable(data, [(0, -1.0, 1.0)], torch.float64)
    names = kept.episode.tolist()
    assert len(set(names)) == 3  # episode 0 in two parts, episode 1 whole
    assert names[1] == names[2] == names[4] == names[6] and names[3] == names[5] != names[0]


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_rows_that_do_not_follow_each_other_are_no_episode(unit):
    obs = torch.tensor([0.0, 1, 2, 7, 8, 9.0001])[:, None] * unit
    next_obs = torch.tensor([1.0, 2, 3, 8, 9, 10])[:, None] * unit
    cut = cut_at_gaps(rows(obs, obs, next_obs)).episode
    assert cut.unique_consecutive(return_counts=True)[1].tolist() == [3, 3]


def test_blocks_held_out_are_consecutive_rows_of_one_episode():
    episode = torch.tensor([0, 1]).repeat(100)
    obs = torch.arange(200.0)[:, None]
    held, train = hold_out(rows(obs, obs, obs, episode=episode), 7)
    assert held.shape[1] == 7
    assert (episode[held] == episode[held[:, :1]]).all() and (held.diff(dim=1) == 2).all()
    assert not train[held.flatten()].any() and 0.75 * 200 < train.sum() < 0.85 * 200
    short = rows(obs, obs, obs, episode=torch.arange(200) // 3)
    held, _ = hold_out(short, 7)
    assert held.shape[1] == 3 and (held[:, 0] % 3 == 0).all()


def test_a_fifth_is_held_out_where_few_episodes_are_long():
    episode = torch.cat([torch.arange(40).repeat_interleave(5), torch.full((8,), 40)])
    obs = torch.arange(208.0)[:, None]
    held, train = hold_out(rows(obs, obs, obs, episode=episode), 8)
    assert held.tolist() == [list(range(200, 208))]
    assert train.sum() == 208 - 8 * 5 - 8
    assert all(len(set(train[episode == e].tolist())) == 1 for e in range(41))


def test_limits_are_read_by_name():
    limits = {"speed": [-1, 2], "x": (0.0, 1.0)}
    assert read_limits(limits, ["x", "speed"], "limits") == [(1, -1.0, 2.0), (0, 0.0, 1.0)]
    with pytest.raises(BadInput, match="limits.y: no such observation; should be one of x, speed"):
        read_limits({"y": [0, 1]}, ["x", "speed"], "limits")
    for wrong in ([1, 1], [1], 3, [2, 1]):
        with pytest.raises(BadInput, match=r"limits.x=.*: should be \[low, high\]"):
            read_limits({"x": wrong}, ["x"], "limits")


def test_limits_hold_for_both_ends_of_a_transition():
    obs, next_obs = torch.tensor([[0.0], [0.9], [1.1]]), torch.tensor([[0.5], [1.2], [0.5]])
    data = rows(obs, obs, next_obs)
    assert usable(data, [(0, 0.0, 1.0)], torch.float64).obs.tolist() == [[0.0]]
    assert usable(data, [], torch.float64).reward.dtype == torch.float64


def test_what_is_not_finite_is_named():
    obs = torch.zeros(3, 2)
    bad = rows(obs, obs, obs.clone())
    bad.next_obs[2, 1] = math.inf
    with pytest.raises(NumericalFault, match=r"next_obs\[1\] of row 2 is not finite"):
        usable(bad, [], torch.float64)


def test_angles_turn_the_short_way_round():
    before, after = torch.tensor([3.0, -0.1, 1.0]), torch.tensor([-3.0, 0.2, 1.0])
    obs, next_obs = (
        torch.stack([x.cos(), x.sin(), torch.arange(3.0), torch.ones(3)], 1)
        for x in (before, after)
    )
    data = rows(obs, torch.zeros(3, 1), next_obs + torch.tensor([0, 0, 0.5, 0]))
    library = polynomial([3, 8], 1, bias=False)  # the velocity, old and new
    problem = motion_problem(data, library, ((2, 3),), ((0, 1),), [3])
    turns = [2 * math.pi - 6, 0.3, 0.0]
    torch.testing.assert_close(problem.targets[:, 1], torch.tensor(turns), atol=1e-6, rtol=0)
    assert problem.targets[:, 0].tolist() == [0.5, 0.5, 0.5]
    assert problem.features.tolist() == [[1, 1]] * 3 and problem.allowed.all()
