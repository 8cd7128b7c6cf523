"""Files of flat arrays: known by their names, checked, and refused where they are damaged."""

import hashlib
import logging
import re

import numpy as np
import pytest
import torch

from mbrl.data import load_dataset
from mbrl.errors import BadInput
from mbrl.types import ActionSpec
from tests.data.flat_files import ENDS, LENGTHS, MADE, d4rl, neorl, steps


def test_ends_that_the_file_does_not_say_are_said(tmp_path, caplog):
    load_dataset(neorl(tmp_path / "a.npz", steps([4, 3, 2], ["cut"] * 3), [4, 5]))
    assert "episodes end at 1 of 9 steps where the file does not say so" in caplog.text


def test_what_is_lost_without_successors_is_said(tmp_path, caplog):
    made = steps(LENGTHS, ENDS)
    with caplog.at_level(logging.WARNING):
        load_dataset(d4rl(tmp_path / "a.hdf5", made))
        assert not caplog.text
        load_dataset(d4rl(tmp_path / "b.hdf5", made, next_obs=False))
    assert "2 last steps of episodes that were cut off are left out" in caplog.text
    assert "not fitted to 2 terminals" in caplog.text


def test_the_share_of_actions_outside_the_bounds_is_said(tmp_path, caplog):
    made = steps([8, 2], ["timeout"] * 2)
    made["action"][:, 0] = 0.1
    made["action"][3:5, 0] = (1.5, -0.7)
    path = d4rl(tmp_path / "a.hdf5", made)
    half = ActionSpec("continuous", torch.tensor([-0.5, -1]), torch.tensor([0.1, 1]))
    load_dataset(path, action=half)
    assert "20% of the actions are outside of the space" in caplog.text
    assert "component 0 should be in [-0.5, 0.1], and one is 1.5" in caplog.text
    caplog.clear()
    load_dataset(path, action=half._replace(low=torch.full((2,), -1.0), high=torch.full((2,), 1.5)))
    assert not caplog.text


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


def test_rows_that_do_not_join_are_said_where_the_file_has_no_timeouts_too(tmp_path, caplog):
    made = steps([9], ["terminal"])
    order = np.random.default_rng(0).permutation(9)
    shuffled = {key: array[order] for key, array in made.items()}
    load_dataset(d4rl(tmp_path / "a.hdf5", made, timeouts=False))
    assert not caplog.text
    load_dataset(d4rl(tmp_path / "b.hdf5", shuffled, timeouts=False))
    assert re.search(r"episodes end at \d of 9 steps where the file does not say so", caplog.text)
