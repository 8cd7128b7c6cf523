"""D4RL's layout: what is read is what was written, and what is wrong is named."""

import sys

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl.data import load_dataset
from mbrl.data.d4rl import NAME, REFERENCES, d4rl_steps, read_d4rl
from mbrl.data.dataset import episodes
from mbrl.errors import BadInput
from tests.data.flat_files import ENDS, LENGTHS, MADE, check_whole, d4rl, nan_at, steps


def arrays(**changed):
    """Three steps of two numbers, one action, which pay 1, 2 and 3."""
    whole = {
        "observations": np.arange(6.0).reshape(3, 2),
        "actions": np.array([0.1, 0.2, 0.3]),
        "rewards": np.array([[1.0], [2], [3]]),
        "terminals": np.array([0, 1, 0]),
        "next_observations": np.arange(2.0, 8).reshape(3, 2),
    }
    return {name: x for name, x in {**whole, **changed}.items() if x is not None}


def test_steps_of_arrays_by_hand():
    made = d4rl_steps(arrays(timeouts=np.array([1, 0, 0])), None)
    assert made.obs.tolist() == [[0, 1], [2, 3], [4, 5]] and made.obs.dtype == np.float32
    assert made.action.shape == (3, 1) and made.reward.tolist() == [1, 2, 3]
    assert made.next_obs is not None and made.next_obs.tolist() == [[2, 3], [4, 5], [6, 7]]
    assert made.terminated.tolist() == [False, True, False]
    assert made.last is not None and made.last.tolist() == [True, True, False]
    assert d4rl_steps(arrays(), None).last is None  # the file says nothing of timeouts
    bare = d4rl_steps(arrays(next_observations=None, timeouts=np.zeros(3)), None)
    assert bare.next_obs is None and bare.last is not None and bare.last.tolist() == [0, 1, 0]


def test_the_time_limit_ends_episodes_of_the_benchmark_that_have_no_timeouts(monkeypatch):
    monkeypatch.setattr("mbrl.data.steps.LIMIT", 2)
    flags = np.array([0, 0, 0, 1, 0, 0, 0])
    count = len(flags)
    flat = {"observations": np.zeros((count, 1)), "actions": np.zeros(count)}
    flat |= {"rewards": np.zeros(count), "terminals": flags}
    last = d4rl_steps(flat, "hopper").last
    assert last is not None and last.tolist() == [0, 1, 0, 1, 0, 1, 0]
    with pytest.raises(BadInput, match="neither timeouts nor next_observations"):
        d4rl_steps(flat, None)


def test_only_the_layouts_arrays_are_read(tmp_path):
    read = read_d4rl(d4rl(tmp_path / "a.hdf5", MADE))
    assert list(read) == [
        "actions", "next_observations", "observations", "rewards", "terminals", "timeouts",
    ]  # fmt: skip
    assert (read["observations"] == MADE["obs"]).all()


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("hopper-medium-v2", "hopper"),
        ("walker2d-full-replay", "walker2d"),
        ("walker2d-medium-expert-v2", "walker2d"),
        ("halfcheetah-mixed-v0", "halfcheetah"),
        ("hopper-medium-v22", None),
        ("my-hopper-medium-v2", None),
        ("hopper-best-v2", None),
        ("ant-medium-v2", None),
    ],
)
def test_names_of_the_benchmark_are_recognized(name, env):
    match = NAME.fullmatch(name)
    assert (match and match[1]) == env and (env is None or env in REFERENCES)


def test_a_missing_h5py_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(BadInput, match=r"needs h5py: pip install 'dynaplan\[offline\]'"):
        read_d4rl(tmp_path / "a.hdf5")


def test_a_d4rl_file_comes_back_whole(tmp_path):
    made = steps(LENGTHS, ENDS)
    check_whole(load_dataset(d4rl(tmp_path / "mine.hdf5", made)), made)
    flags = {"rewards": made["reward"][:, None], "terminals": made["done"].astype(np.float64)}
    check_whole(load_dataset(d4rl(tmp_path / "columns.h5", made, **flags)), made)


lengths = st.lists(st.integers(1, 6), min_size=1, max_size=6)


@settings(max_examples=40)
@given(st.data(), lengths, st.integers(0, 9))
def test_without_successors_only_last_steps_that_were_cut_off_are_missing(
    tmp_path_factory, data, sizes, seed
):
    kinds = st.sampled_from(["terminal", "timeout"])
    ends = data.draw(st.lists(kinds, min_size=len(sizes), max_size=len(sizes)))
    folder, made = tmp_path_factory.mktemp("made"), steps(sizes, ends, seed)
    read = load_dataset(d4rl(folder / "whole.hdf5", made))
    whole = read.data
    path = d4rl(folder / "bare.hdf5", made, next_obs=False)
    keep = torch.ones(sum(sizes), dtype=torch.bool)
    last = np.cumsum(sizes) - 1
    keep[last] = torch.tensor([end == "terminal" for end in ends])
    if not keep.any():
        with pytest.raises(BadInput, match="no episode of two steps"):
            load_dataset(path)
        return
    dataset = load_dataset(path)
    bare = dataset.data
    for name in ("obs", "action", "reward", "terminated", "episode"):
        assert getattr(bare, name).equal(getattr(whole, name)[keep]), name
    assert dataset.recorded is not None and dataset.recorded.equal(~bare.terminated)
    joined = ~whole.terminated[keep]
    assert dataset.known().next_obs.equal(whole.next_obs[keep][joined])
    assert bare.next_obs[bare.terminated].equal(bare.obs[bare.terminated])
    torch.testing.assert_close(dataset.returns(), read.returns())
    for each in episodes(bare):
        ended = bool(each.terminated[-1])
        assert each.truncated.tolist() == [False] * (len(each.reward) - 1) + [not ended]


def test_no_reward_and_no_terminal_is_lost_without_successors(tmp_path):
    made = steps([5, 4, 6, 7], ["terminal"] * 3 + ["timeout"])
    made["reward"] = made["done"].astype(np.float32)
    read = load_dataset(d4rl(tmp_path / "a.hdf5", made, next_obs=False))
    assert read.data.reward.sum() == 3 and read.data.terminated.sum() == 3
    assert read.returns().tolist() == [1, 1, 1, 0]


def test_without_timeouts_the_steps_or_the_known_limit_say_where_episodes_end(tmp_path):
    made = steps(LENGTHS, ENDS)
    check_whole(load_dataset(d4rl(tmp_path / "a.hdf5", made, timeouts=False)), made)
    with pytest.raises(BadInput, match="neither timeouts nor next_observations"):
        load_dataset(d4rl(tmp_path / "b.hdf5", made, timeouts=False, next_obs=False))
    long = steps([1000, 7, 1000], ["timeout", "terminal", "timeout"])
    options = {"timeouts": False, "next_obs": False}
    read = load_dataset(d4rl(tmp_path / "hopper_medium.hdf5", long, **options))
    assert [len(each.reward) for each in episodes(read.data)] == [999, 7, 999]


def test_a_terminal_ends_an_episode_also_where_the_steps_join(tmp_path):
    made = steps([9], ["cut"])
    made["done"][3] = True
    read = load_dataset(d4rl(tmp_path / "a.hdf5", made, timeouts=False))
    assert [len(each.reward) for each in episodes(read.data)] == [4, 5]
    assert read.data.terminated.nonzero().flatten().tolist() == [3]


WRONG = {  # what is changed in the file -> what the one line says
    "rewards": (None, "has no rewards; D4RL's layout is observations, actions"),
    "actions": (MADE["action"][:-1], "actions has 12 rows where observations has 13"),
    "observations": (nan_at(MADE["obs"], 5), "observations of step 5 is not finite"),
    "next_observations": (nan_at(MADE["next_obs"], 12), "next_observations of step 12"),
    "terminals": (np.full(13, 0.5), "terminals of step 0 is neither 0 nor 1"),
    "timeouts": (np.zeros((13, 2)), "timeouts of shape"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arrays_of_d4rl_are_named(tmp_path, name):
    array, words = WRONG[name]
    path = d4rl(tmp_path / "a.hdf5", MADE, **{name: array})
    with pytest.raises(BadInput, match=words) as caught:
        load_dataset(path)
    assert f"dataset={path}: " in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_minaris_is_told_apart(tmp_path):
    with h5py.File(tmp_path / "main_data.hdf5", "w") as file:
        file["episode_0/observations"] = np.zeros((2, 3))
    with pytest.raises(BadInput, match="a file of a Minari dataset; give Minari's name"):
        load_dataset(str(tmp_path / "main_data.hdf5"))
