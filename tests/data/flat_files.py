"""Files in D4RL's and NeoRL's layouts, written by hand."""

import h5py
import numpy as np

from mbrl.data import content_hash
from mbrl.data.dataset import episodes

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


MADE = steps(LENGTHS, ENDS)


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


def nan_at(array, row):
    changed = array.copy()
    changed[row] = np.nan
    return changed
