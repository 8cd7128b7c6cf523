"""D4RL's and NeoRL's files: what is read is what was written, and what is damaged is refused."""

import hashlib
import logging

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl.data import content_hash, load_dataset
from mbrl.data.dataset import episodes
from mbrl.errors import BadInput
from mbrl.types import ActionSpec

KEYS = {"obs": "observations", "action": "actions", "reward": "rewards", "done": "terminals"}


def steps(lengths, ends, seed=0, dim=3):
    """Make episodes of given lengths; ends: "terminal", "timeout" or "cut" (nothing is flagged)."""
    draw = np.random.default_rng(seed)
    parts = []
    for length, end in zip(lengths, ends, strict=True):
        whole = draw.normal(size=(length + 1, dim)).astype(np.float32)
        last = np.arange(length) == length - 1
        parts.append(
            {
                "obs": whole[:-1],
                "next_obs": whole[1:],
                "action": draw.uniform(-1, 1, (length, 2)).astype(np.float32),
                "reward": draw.normal(size=length).astype(np.float32),
                "done": last & (end == "terminal"),
                "timeout": last & (end == "timeout"),
            }
        )
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def d4rl(path, made, *, next_obs=True, timeouts=True, **changed):
    arrays = {KEYS[key]: made[key] for key in KEYS}
    arrays |= {"next_observations": made["next_obs"]} if next_obs else {}
    if timeouts is not False:
        arrays["timeouts"] = made["timeout"] if timeouts is True else timeouts
    arrays |= changed
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            if array is not None:
                file[name] = array
        file["infos/qpos"] = np.zeros((len(made["reward"]), 2))
        file["metadata/algorithm"] = "SAC"
    return str(path)


def neorl(path, made, lengths, **changed):
    arrays = {key: made[key] for key in ("obs", "next_obs", "action")}
    arrays |= {"reward": made["reward"][:, None], "done": made["done"][:, None].astype(np.float32)}
    arrays |= {"index": np.cumsum(lengths)} | changed
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


LENGTHS, ENDS = [4, 3, 1, 5], ["timeout", "terminal", "terminal", "cut"]


def check_whole(read, made):
    """Everything is there, once."""
    for key in ("obs", "action", "reward", "next_obs"):
        np.testing.assert_array_equal(getattr(read.data, key), made[key], err_msg=key)
    assert read.data.terminated.tolist() == made["done"].tolist()
    found = episodes(read.data)
    assert [len(each.reward) for each in found] == LENGTHS
    assert [each.truncated[-1].item() for each in found] == [True, False, False, True]
    assert not any(each.truncated[:-1].any() for each in found)
    sums = [made["reward"][a:b].sum() for a, b in ((0, 4), (4, 7), (7, 8), (8, 13))]
    np.testing.assert_allclose(read.returns(), sums, rtol=1e-6)
    assert read.digest == content_hash(read.data) and read.action.dim == 2
    assert read.action.low.tolist() == [-1, -1] and read.action.high.tolist() == [1, 1]


def test_a_d4rl_file_comes_back_whole(tmp_path):
    made = steps(LENGTHS, ENDS)
    check_whole(load_dataset(d4rl(tmp_path / "mine.hdf5", made)), made)
    flags = {"rewards": made["reward"][:, None], "terminals": made["done"].astype(np.float64)}
    check_whole(load_dataset(d4rl(tmp_path / "columns.h5", made, **flags)), made)


@pytest.mark.parametrize("index", [[4, 7, 8, 13], [0, 4, 7, 8], [0, 4, 7, 8, 13], [0, 7]])
def test_a_neorl_file_comes_back_whole(tmp_path, index):
    """However its index is counted; the steps themselves say what it leaves out."""
    made = steps(LENGTHS, ENDS)
    check_whole(load_dataset(neorl(tmp_path / "a.npz", made, LENGTHS, index=index)), made)


def test_the_index_of_neorl_cuts_what_hangs_together(tmp_path, caplog):
    made = steps([13], ["cut"])
    for index in ([4], [4, 13], [0, 4]):
        read = load_dataset(neorl(tmp_path / "a.npz", made, [13], index=np.array(index)))
        assert [len(each.reward) for each in episodes(read.data)] == [4, 9]
        assert read.data.truncated.nonzero().flatten().tolist() == [3, 12]
    assert not caplog.text


def test_ends_that_the_file_does_not_say_are_said(tmp_path, caplog):
    load_dataset(neorl(tmp_path / "a.npz", steps([4, 3, 2], ["cut"] * 3), [4, 5]))
    assert "episodes end at 1 steps where the file does not say so" in caplog.text


lengths = st.lists(st.integers(1, 6), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.data(), lengths, st.integers(0, 9))
def test_without_successors_only_the_last_steps_are_missing(tmp_path_factory, data, sizes, seed):
    kinds = st.sampled_from(["terminal", "timeout"])
    ends = data.draw(st.lists(kinds, min_size=len(sizes), max_size=len(sizes)))
    folder, made = tmp_path_factory.mktemp("made"), steps(sizes, ends, seed)
    whole = load_dataset(d4rl(folder / "whole.hdf5", made)).data
    path = d4rl(folder / "bare.hdf5", made, next_obs=False)
    keep = torch.ones(sum(sizes), dtype=torch.bool)
    keep[np.cumsum(sizes) - 1] = False
    if not keep.any():
        with pytest.raises(BadInput, match="no episode of two steps"):
            load_dataset(path)
        return
    bare = load_dataset(path).data
    for name in ("obs", "action", "reward", "next_obs", "terminated", "episode"):
        assert getattr(bare, name).equal(getattr(whole, name)[keep]), name
    for each in episodes(bare):
        assert each.truncated.tolist() == [False] * (len(each.reward) - 1) + [True]


def test_terminals_that_are_left_out_are_said(tmp_path, caplog):
    made = steps(LENGTHS, ENDS)
    with caplog.at_level(logging.WARNING):
        load_dataset(d4rl(tmp_path / "a.hdf5", made))
        assert not caplog.text
        load_dataset(d4rl(tmp_path / "b.hdf5", made, next_obs=False))
    assert "every terminal" in caplog.text


def test_without_timeouts_the_steps_or_the_known_limit_say_where_episodes_end(tmp_path):
    made = steps(LENGTHS, ENDS)
    check_whole(load_dataset(d4rl(tmp_path / "a.hdf5", made, timeouts=False)), made)
    with pytest.raises(BadInput, match="neither timeouts nor next_observations"):
        load_dataset(d4rl(tmp_path / "b.hdf5", made, timeouts=False, next_obs=False))
    long = steps([1000, 7, 1000], ["timeout", "terminal", "timeout"])
    options = {"timeouts": False, "next_obs": False}
    read = load_dataset(d4rl(tmp_path / "hopper_medium.hdf5", long, **options))
    assert [len(each.reward) for each in episodes(read.data)] == [999, 6, 999]


def test_a_terminal_ends_an_episode_also_where_the_steps_join(tmp_path):
    made = steps([9], ["cut"])
    made["done"][3] = True
    read = load_dataset(d4rl(tmp_path / "a.hdf5", made, timeouts=False))
    assert [len(each.reward) for each in episodes(read.data)] == [4, 5]
    assert read.data.terminated.nonzero().flatten().tolist() == [3]


def test_a_done_of_neorl_at_the_time_limit_is_a_truncation(tmp_path):
    made = steps([1000, 999], ["terminal", "terminal"])
    for name, expected in (("Hopper-v3-low-2-train.npz", [1998]), ("other.npz", [999, 1998])):
        data = load_dataset(neorl(tmp_path / name, made, [1000, 999])).data
        assert data.terminated.nonzero().flatten().tolist() == expected
        assert data.truncated.sum() == 2 - len(expected)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("hopper_medium-v2.hdf5", -20.272305, 3234.3),
        ("hopper-medium-replay-v2.hdf5", -20.272305, 3234.3),
        ("walker2d_medium_expert-v2.hdf5", 1.629008, 4592.3),
        ("halfcheetah_random-v2.h5", -280.178953, 12135.0),
        ("Hopper-v3-low-1000-train-noise.npz", 5, 3294),
        ("Walker2d-v3-high-100-train.npz", 1, 5143),
        ("HalfCheetah-v3-medium-1000-val-noise.npz", -298, 12284),
        ("my-hopper.hdf5", None, None),
        ("hopper_medium-v2.npz", None, None),
        ("ant_medium-v2.hdf5", None, None),
    ],
)
def test_the_name_says_the_reference_returns(tmp_path, name, low, high):
    made = steps(LENGTHS, ENDS)
    write = neorl if name.endswith("npz") else d4rl
    read = load_dataset(write(tmp_path / name, made, *[LENGTHS] * name.endswith("npz")))
    assert (read.ref_min, read.ref_max) == (low, high)
    if low is not None:
        assert read.normalized(low) == 0 and read.normalized(high) == 100
    else:
        assert read.score(1.0) is None


def nan_at(array, row):
    changed = array.copy()
    changed[row] = np.nan
    return changed


MADE = steps(LENGTHS, ENDS)
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


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("done", None, "has no done; NeoRL's layout is obs, action"),
        ("index", np.array([4, 3]), "index should be rising rows of 0 to 13"),
        ("index", np.array([4, 99]), "index should be rising rows"),
        ("index", np.array([0.5]), "index should be rising rows"),
        ("reward", np.full(13, np.inf), "reward of step 0 is not finite"),
        ("reward", np.full(13, 1e300), "reward of step 0 is not finite"),
        ("next_obs", np.zeros((13, 2)), "next_obs is of another shape"),
        ("obs", np.full((13, 3), "a"), "not numbers"),
        ("action", np.array([None] * 13), "not readable"),
        ("obs", np.zeros((13, 3, 2)), "of another shape"),
    ],
)
def test_wrong_arrays_of_neorl_are_named(tmp_path, name, array, words):
    with pytest.raises(BadInput, match=words):
        load_dataset(neorl(tmp_path / "a.npz", MADE, LENGTHS, **{name: array}))


@pytest.mark.parametrize("suffix", ["hdf5", "npz"])
def test_files_that_are_cut_short_flipped_or_missing_are_refused(tmp_path, suffix):
    write = {"hdf5": d4rl, "npz": lambda path, made: neorl(path, made, LENGTHS)}[suffix]
    path = tmp_path / f"hopper.{suffix}"
    write(path, MADE)
    content = path.read_bytes()
    for size in (0, 10, len(content) // 3, len(content) - 200):
        path.write_bytes(content[:size])
        with pytest.raises(BadInput, match="not readable|has no"):
            load_dataset(str(path))
    (tmp_path / f"{path.name}.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  -\n")
    path.write_bytes(content)
    load_dataset(str(path))
    for at in range(0, len(content), max(1, len(content) // 23)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :])
        with pytest.raises(BadInput, match=r"damaged, not what hopper.*sha256 says"):
            load_dataset(str(path))
    path.rename(tmp_path / f"hooper.{suffix}")
    with pytest.raises(BadInput, match=f"no such file; did you mean hooper.{suffix}"):
        load_dataset(str(path))


def test_a_flipped_bit_in_an_npz_is_found_by_its_own_checksums(tmp_path):
    path = tmp_path / "a.npz"
    neorl(path, MADE, LENGTHS)
    content = path.read_bytes()
    at = content.index(MADE["obs"].tobytes()) + 8
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(BadInput, match="not readable"):
        load_dataset(str(path))


def test_data_of_another_environment_is_refused(tmp_path):
    path = d4rl(tmp_path / "a.hdf5", MADE)
    three = ActionSpec("continuous", -torch.ones(3), torch.ones(3))
    chosen = ActionSpec("discrete", torch.zeros(2), torch.ones(2), num_actions=2)
    with pytest.raises(BadInput, match="observations of 3 numbers, but the environment's have 11"):
        load_dataset(path, obs_dim=11)
    for spec in (three, chosen):
        with pytest.raises(BadInput, match="continuous actions of 2 numbers, but"):
            load_dataset(path, obs_dim=3, action=spec)


def test_a_file_of_minaris_is_told_apart(tmp_path):
    with h5py.File(tmp_path / "main_data.hdf5", "w") as file:
        file["episode_0/observations"] = np.zeros((2, 3))
    with pytest.raises(BadInput, match="a file of a Minari dataset; give Minari's name"):
        load_dataset(str(tmp_path / "main_data.hdf5"))
