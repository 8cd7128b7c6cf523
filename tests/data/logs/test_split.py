"""Recorded runs are split by episode, and the action of a row belongs to the step after it."""

import numpy as np
import pytest
import torch

from mbrl.data.logs.encoding import AngleEncoding
from mbrl.data.logs.split import recorded_data
from mbrl.errors import BadInput

ENCODING = AngleEncoding(("x", "v"))


def episodes(count, steps=5):
    draws = np.random.default_rng(0)
    return [
        (draws.normal(size=(steps + 1, 2)), draws.normal(size=(steps, 1))) for _ in range(count)
    ]


def test_whole_episodes_are_held_out():
    data = recorded_data(episodes(10), ENCODING, holdout=0.3)
    held = set(data.held.episode.tolist())
    assert len(held) == 3 and not held & set(data.train.episode.tolist())
    assert len(data.train.obs) == 35 and len(data.held.obs) == 15


def test_transitions_are_those_of_the_rows():
    given = episodes(2)
    data = recorded_data(given, ENCODING, holdout=0.5)
    for side in (data.train, data.held):
        obs, action = given[int(side.episode[0])]
        assert np.array_equal(side.obs.numpy(), obs[:-1].astype(np.float32))
        assert np.array_equal(side.next_obs.numpy(), obs[1:].astype(np.float32))
        assert np.array_equal(side.action.numpy(), action.astype(np.float32))
        assert side.truncated.tolist() == [False] * 4 + [True]
        assert not side.terminated.any()


def test_of_one_episode_the_last_part_is_held_out():
    data = recorded_data(episodes(1, steps=10), ENCODING, holdout=0.3)
    assert len(data.train.obs) == 7 and len(data.held.obs) == 3
    assert torch.equal(data.train.next_obs[-1], data.held.obs[0])


def test_what_cannot_be_split_is_refused():
    with pytest.raises(BadInput, match="too few rows"):
        recorded_data(episodes(2, steps=1), ENCODING)
    still = [(obs, np.zeros_like(action)) for obs, action in episodes(3)]
    with pytest.raises(BadInput, match="action: number 1 is 0 in every row"):
        recorded_data(still, ENCODING)
