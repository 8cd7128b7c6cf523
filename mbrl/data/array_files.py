"""Datasets as flat arrays: the HDF5 files of D4RL (Fu et al. 2020), NeoRL's npz (Qin et al. 2022).

```
NAME.hdf5  observations actions rewards terminals (timeouts) (next_observations)
NAME.npz   obs action reward done next_obs index (the rows where trajectories begin, or end)
```
Neither holds a checksum: where `NAME.hdf5.sha256` stands beside one, as `sha256sum` writes it, it
is checked. h5py is imported when an HDF5 file is read; nothing is ever unpickled.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl.data.dataset import Dataset, check_spaces, content_hash, line_of
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Transitions

SUFFIXES = (".hdf5", ".h5", ".npz")
_log = logging.getLogger(__name__)
_REMEDY = "copy or download it again"
_LAYOUTS = {
    "D4RL": ("observations", "actions", "rewards", "terminals"),
    "NeoRL": ("obs", "action", "reward", "done", "next_obs", "index"),
}
_QUALITIES = "random|medium|expert|mixed|medium-replay|full-replay|medium-expert"
_D4RL_NAME = re.compile(rf"(halfcheetah|hopper|walker2d)-({_QUALITIES})(-v\d)?")
_NEORL_NAME = re.compile(r"(halfcheetah|hopper|walker2d)-v3-(low|medium|high|expert)(-.*)?")
_LIMIT = 1000  # steps of an episode in all of these environments
# returns that count as 0 and 100: d4rl/infos.py, and MOREC's code for NeoRL
REFERENCES = {
    ("D4RL", "halfcheetah"): (-280.178953, 12135.0),
    ("D4RL", "hopper"): (-20.272305, 3234.3),
    ("D4RL", "walker2d"): (1.629008, 4592.3),
    ("NeoRL", "halfcheetah"): (-298.0, 12284.0),
    ("NeoRL", "hopper"): (5.0, 3294.0),
    ("NeoRL", "walker2d"): (1.0, 5143.0),
}


class _Steps(NamedTuple):
    """What both layouts say, N steps."""

    obs: NDArray[np.float32]  # (N, obs_dim)
    action: NDArray[np.float32]  # (N, act_dim)
    reward: NDArray[np.float32]  # (N,)
    next_obs: NDArray[np.float32] | None  # (N, obs_dim)
    terminated: NDArray[np.bool_]  # (N,)
    last: NDArray[np.bool_] | None  # (N,) of an episode, as far as the file says; None: it does not


def load_arrays(
    path: str,
    *,
    obs_dim: int | None = None,
    action: ActionSpec | None = None,
    device: torch.device | str = "cpu",
) -> Dataset:
    """Read a file in D4RL's or NeoRL's layout.

    Episodes end at terminals, at timeouts, and where a step does not begin where the one before it
    ended. Without next_observations the successor of an episode's last step is not known: it is
    left out, as OfflineRL-Kit and MOREC do it, so that no model learns a reset for a step.

    Args:
        path: of the file; a name of the benchmark's gives the reference returns.
        obs_dim: the length that observations must have, None for any.
        action: the actions that it must hold, None for any.
        device: where the tensors go.

    Raises:
        BadInput: if it is not there, damaged, cut short, not finite, or of other spaces.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        there = [f.name for f in file.parent.glob("*") if f.suffix.lower() in SUFFIXES]
        near = difflib.get_close_matches(file.name, there, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(there) or 'none'}"
        raise BadInput(f"dataset={path}: no such file; {hint}")
    _check_sum(path, file)
    layout = "NeoRL" if file.suffix.lower() == ".npz" else "D4RL"
    env = known_env(file, layout)
    try:
        arrays = _read_npz(file) if layout == "NeoRL" else _read_hdf5(file)
    except BadInput as error:
        raise BadInput(f"dataset={path}: {error}") from None
    except Exception as error:  # whatever h5py, zipfile or numpy make of a damaged file
        raise BadInput(f"dataset={path}: not readable ({line_of(error)}); {_REMEDY}") from None
    try:
        steps = _neorl(arrays, env) if layout == "NeoRL" else _d4rl(arrays, env)
        data = _transitions(steps)
    except BadInput as error:
        raise BadInput(f"dataset={path}: {error}") from None
    missing = len(steps.reward) - len(data.reward)
    if missing and steps.terminated.any():
        _log.warning(
            "dataset %s has no next_observations: the last step of each episode is left out, "
            "and with it every terminal",
            path,
        )
    if steps.last is not None and not missing:
        more = int(data.episode[-1]) - int(steps.last[:-1].sum())
        if more:
            _log.warning(
                "dataset %s: episodes end at %d steps where the file does not say so", path, more
            )
    low, high = _bounds(steps.action)
    have = ActionSpec("continuous", low.to(device), high.to(device))
    check_spaces(path, data, have, obs_dim, action)
    ends = REFERENCES.get((layout, env or ""), (None, None))
    moved = Transitions(*(x.to(device) for x in data))
    name = None if env is None else f"{layout}'s {env}"
    return Dataset(moved, path, content_hash(data), have, *ends, name)


def known_env(file: Path, layout: str) -> str | None:
    """Tell of which of the benchmark's environments a file is, None where its name does not say.

    Args:
        file: its path.
        layout: "D4RL" or "NeoRL".
    """
    name = file.stem.lower().replace("_", "-")
    match = (_NEORL_NAME if layout == "NeoRL" else _D4RL_NAME).fullmatch(name)
    return match[1] if match else None


def _check_sum(path: str, file: Path) -> None:
    """Compare a file with the checksum beside it, if there is one."""
    beside = file.with_name(f"{file.name}.sha256")
    if not beside.is_file():
        return
    words = beside.read_text(errors="replace").split()
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if not words or words[0].lower() != found:
        raise BadInput(f"dataset={path}: damaged, not what {beside.name} says; {_REMEDY}")


def _read_hdf5(file: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of D4RL's layout."""
    try:
        import h5py
    except ImportError as error:
        raise BadInput(f"needs {error.name}: pip install 'dynaplan[offline]'") from None
    with h5py.File(file, "r") as content:
        if any(str(name).startswith("episode_") for name in content):
            raise BadInput("a file of a Minari dataset; give Minari's name, like mujoco/hopper-v0")
        names = {*_LAYOUTS["D4RL"], "timeouts", "next_observations"}
        return {n: np.asarray(content[n]) for n in sorted(names) if n in content}


def _read_npz(file: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of NeoRL's layout."""
    with np.load(file, allow_pickle=False) as content:
        return {name: content[name] for name in _LAYOUTS["NeoRL"] if name in content}


def _d4rl(arrays: dict[str, NDArray[Any]], env: str | None) -> _Steps:
    """Check D4RL's arrays; where an episode ends is said by terminals and timeouts."""
    _check_layout(arrays, "D4RL")
    terminated = _flags(arrays, "terminals")
    last = None
    if "timeouts" in arrays:
        last = terminated | _flags(arrays, "timeouts")
    elif env is not None:  # files of the first version: the time limit is known
        last = terminated | _at_limit(terminated)
    elif "next_observations" not in arrays:
        raise BadInput("has neither timeouts nor next_observations, so that no episode has an end")
    return _Steps(
        _table(arrays, "observations"),
        _table(arrays, "actions"),
        _column(arrays, "rewards"),
        _table(arrays, "next_observations") if "next_observations" in arrays else None,
        terminated,
        last,
    )


def _neorl(arrays: dict[str, NDArray[Any]], env: str | None) -> _Steps:
    """Check NeoRL's arrays; a done at the time limit is a truncation."""
    _check_layout(arrays, "NeoRL")
    done, index = _flags(arrays, "done"), arrays["index"].reshape(-1)
    size = len(done)
    whole = np.issubdtype(index.dtype, np.number) and (index == np.floor(index)).all()
    if not whole or (np.diff(index) <= 0).any() or (index < 0).any() or (index > size).any():
        raise BadInput(f"index should be rising rows of 0 to {size}, where trajectories begin")
    begins = np.zeros(size + 1, dtype=bool)
    begins[index.astype(np.int64)] = True
    last = begins[1:] | done
    if env is not None:
        done = done & ~_at_limit(last)
    return _Steps(
        _table(arrays, "obs"),
        _table(arrays, "action"),
        _column(arrays, "reward"),
        _table(arrays, "next_obs"),
        done,
        last,
    )


def _at_limit(last: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which steps (N,) are the limit's, counted from the last end."""
    rows = np.arange(len(last))
    begins = np.maximum.accumulate(np.where(np.r_[True, last[:-1]], rows, 0))
    return (rows - begins + 1) % _LIMIT == 0


def _transitions(steps: _Steps) -> Transitions:
    """Put steps into transitions; see load_arrays."""
    size = len(steps.reward)
    last = np.zeros(size, dtype=bool) if steps.last is None else steps.last.copy()
    last[-1] = True
    if steps.next_obs is None:
        next_obs = np.roll(steps.obs, -1, axis=0)
        keep = ~last
        if not keep.any():
            raise BadInput("has no next_observations and no episode of two steps")
    else:
        next_obs = steps.next_obs
        last[:-1] |= (next_obs[:-1] != steps.obs[1:]).any(1)
        last |= steps.terminated
        keep = np.ones(size, dtype=bool)
    episode = np.r_[0, np.cumsum(last)[:-1]][keep]
    terminated = steps.terminated[keep]
    ends = np.r_[np.diff(episode) > 0, True]  # the last that is kept: the value goes on
    parts = (
        steps.obs[keep],
        steps.action[keep],
        steps.reward[keep],
        next_obs[keep],
        terminated,
        ends & ~terminated,
        episode.astype(np.int64),
    )
    return Transitions(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))


def _check_layout(arrays: dict[str, NDArray[Any]], layout: str) -> None:
    """Refuse what lacks an array, or holds arrays that do not fit together."""
    needed = _LAYOUTS[layout]
    for name in needed:
        if name not in arrays:
            raise BadInput(f"has no {name}; {layout}'s layout is {', '.join(needed)}")
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise BadInput(f"{name} holds {array.dtype}, not numbers")
        if name != "index" and (array.ndim == 0 or len(array) != len(arrays[needed[0]])):
            rows = len(array) if array.ndim else 0
            first = len(arrays[needed[0]])
            raise BadInput(f"{name} has {rows} rows where {needed[0]} has {first}; {_REMEDY}")
    if len(arrays[needed[0]]) == 0:
        raise BadInput("holds no steps")
    following = {"D4RL": "next_observations", "NeoRL": "next_obs"}[layout]
    if following in arrays and arrays[following].shape != arrays[needed[0]].shape:
        raise BadInput(f"{following} is of another shape than {needed[0]}")


def _table(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    """Give an array (N, dim), finite."""
    array = arrays[name]
    if array.ndim > 2:
        raise BadInput(f"{name} of shape {array.shape}; should be (steps, numbers)")
    return _finite(array.reshape(len(array), -1), name)


def _column(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.float32]:
    """Give an array (N,), finite."""
    return _finite(_flat(arrays, name), name)


def _flags(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[np.bool_]:
    """Give an array (N,) of true and false."""
    array = _flat(arrays, name)
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        raise BadInput(f"{name} of step {wrong.argmax()} is neither 0 nor 1")
    return array.astype(bool)


def _flat(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """Give an array (N,), which may be stored as (N, 1)."""
    array = arrays[name]
    if array.size != len(array):
        raise BadInput(f"{name} of shape {array.shape}; should be one number a step")
    return array.reshape(-1)


def _finite(array: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Take numbers as float32, refusing what is not finite."""
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(array, dtype=np.float32)
    wrong = ~np.isfinite(found).reshape(len(found), -1).all(1)
    if wrong.any():
        raise BadInput(f"{name} of step {wrong.argmax()} is not finite")
    return found


def _bounds(action: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the actions' bounds, which the file does not say: 1, or as far as they go."""
    reach = torch.from_numpy(np.abs(action).max(0)).clamp(min=1.0)
    return -reach, reach
