"""NeoRL's layout: what is read is what was written, and what is wrong is named."""

import numpy as np
import pytest

from mbrl.data import load_dataset
from mbrl.data.dataset import episodes
from mbrl.data.neorl import ARRAYS, NAME, REFERENCES, neorl_steps, read_neorl
from mbrl.errors import BadInput
from tests.data.flat_files import ENDS, LENGTHS, MADE, check_whole, neorl, steps


def arrays(done, index):
    """Steps of one number, which count on."""
    count = len(done)
    obs = np.arange(count, dtype=float)
    flat = {"obs": obs, "action": -obs, "reward": 2 * obs[:, None], "done": np.array(done)}
    return {**flat, "next_obs": obs + 1, "index": np.array(index)}


def test_steps_of_arrays_by_hand():
    """An index marks the row where a trajectory begins; one past the end is no step."""
    made = neorl_steps(arrays([0, 0, 0, 1, 0], [2, 5]), None)
    assert made.obs.tolist() == [[0], [1], [2], [3], [4]] and made.action[2] == -2
    assert made.reward.tolist() == [0, 2, 4, 6, 8]
    assert made.next_obs is not None and made.next_obs[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert made.terminated.tolist() == [0, 0, 0, 1, 0]
    assert made.last is not None and made.last.tolist() == [0, 1, 0, 1, 1]


def test_a_done_at_the_limit_is_a_truncation_in_the_benchmarks_environments(monkeypatch):
    monkeypatch.setattr("mbrl.data.steps.LIMIT", 3)
    flat = arrays([0, 1, 0, 0, 1], [0])
    for env, terminated in (("hopper", [0, 1, 0, 0, 0]), (None, [0, 1, 0, 0, 1])):
        made = neorl_steps(flat, env)
        assert made.terminated.tolist() == terminated
        assert made.last is not None and made.last.tolist() == [0, 1, 0, 0, 1]
    other = neorl_steps(arrays([0, 0, 0, 0, 1], [2]), "hopper")  # the limit counts from index
    assert not other.terminated.any()


def test_only_the_layouts_arrays_are_read(tmp_path):
    path = neorl(tmp_path / "a.npz", MADE, LENGTHS, extra=np.zeros(3))
    read = read_neorl(path)
    assert tuple(read) == ARRAYS and (read["obs"] == MADE["obs"]).all()
    with pytest.raises(ValueError, match="holds object, not numbers"):
        read_neorl(neorl(tmp_path / "a.npz", MADE, LENGTHS, action=np.array([None])))


@pytest.mark.parametrize(
    ("name", "env"),
    [
        ("hopper-v3-low-1000-train-noise", "hopper"),
        ("walker2d-v3-expert", "walker2d"),
        ("halfcheetah-v2-low", None),
        ("hopper-v3-best", None),
        ("own-hopper-v3-low", None),
    ],
)
def test_names_of_the_benchmark_are_recognized(name, env):
    match = NAME.fullmatch(name)
    assert (match and match[1]) == env and (env is None or env in REFERENCES)


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


def test_a_done_of_neorl_at_the_time_limit_is_a_truncation(tmp_path):
    made = steps([1000, 999], ["terminal", "terminal"])
    for name, expected in (("Hopper-v3-low-2-train.npz", [1998]), ("other.npz", [999, 1998])):
        data = load_dataset(neorl(tmp_path / name, made, [1000, 999])).data
        assert data.terminated.nonzero().flatten().tolist() == expected
        assert data.truncated.sum() == 2 - len(expected)


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("done", None, "has no done; NeoRL's layout is obs, action"),
        ("index", np.array([4, 3]), "index should be rising rows of 0 to 13"),
        ("index", np.array([4, 4]), "index should be rising rows of 0 to 13"),
        ("index", np.array([4, 99]), "index should be rising rows"),
        ("index", np.array([0.5]), "index should be rising rows"),
        ("reward", np.full(13, np.inf), "reward of step 0 is not finite"),
        ("reward", np.full(13, 1e300), "reward of step 0 is not finite"),
        ("next_obs", np.zeros((13, 2)), "next_obs is of another shape"),
        ("obs", np.full((13, 3), "a"), "not numbers"),
        ("action", np.array([None] * 13), "holds object, not numbers"),
        ("obs", np.zeros((13, 3, 2)), "of another shape"),
    ],
)
def test_wrong_arrays_of_neorl_are_named(tmp_path, name, array, words):
    with pytest.raises(BadInput, match=words):
        load_dataset(neorl(tmp_path / "a.npz", MADE, LENGTHS, **{name: array}))
