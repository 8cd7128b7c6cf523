"""Collected transitions: true successors, shares of random steps, mixtures."""

import pytest
import torch

from mbrl.agents import Random
from mbrl.data import Source, collect, merge
from mbrl.data.dataset import episodes
from mbrl.types import Transitions
from tests.data.samples import toy
from tests.toys import ACTION, ToyEnv, generator, move


def test_successors_are_the_true_ones_across_resets():
    data = toy()
    assert len(data.reward) == 90
    torch.testing.assert_close(data.next_obs, move(data.obs, ACTION.clip(data.action)))
    found = episodes(data)
    assert len(found) > 4
    for each in found:
        assert each.next_obs[:-1].equal(each.obs[1:]), (
            "a step does not begin where the one before ended"
        )
        ends = each.terminated | each.truncated
        assert ends[-1] and not ends[:-1].any()
        assert not (each.terminated & each.truncated).any()


def test_random_steps_are_taken_as_often_as_asked():
    class Still(Random):
        def act(self, obs, *, explore, env_state=None):
            return torch.zeros(len(obs), 1)

    agent = Still(action=ACTION, generator=generator(1))
    for share in (0.0, 0.3, 1.0):
        data = collect(ToyEnv(4), Source(agent, random=share), 2000, seed=3, generator=generator(2))
        taken = (data.action != 0).float().mean().item()
        assert taken == pytest.approx(share, abs=0.04)


def test_a_mix_takes_whole_episodes_spread_over_each_part():
    one, other = toy(200), toy(200, envs=4)
    mixed = merge([one, other], [60, 40])
    assert len(mixed.reward) == 100
    first = Transitions(*(x[:60] for x in mixed))
    rows = {tuple(row) for row in first.obs.tolist()}
    taken = [i for i, row in enumerate(one.obs.tolist()) if tuple(row) in rows]
    assert len(taken) == 60 and max(taken) > 150 and min(taken) < 50
    for each in episodes(mixed):
        assert each.next_obs[:-1].equal(each.obs[1:])
        assert (each.terminated | each.truncated)[-1]
