"""Datasets in one file of flat arrays: D4RL's HDF5 and NeoRL's npz.

Neither holds a checksum: where `NAME.hdf5.sha256` stands beside one, as `sha256sum` writes it, it
is checked.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl.data import d4rl, neorl
from mbrl.data.d4rl import d4rl_steps, read_d4rl
from mbrl.data.dataset import Dataset, check_spaces, content_hash, line_of
from mbrl.data.neorl import neorl_steps, read_neorl
from mbrl.data.steps import REMEDY, to_transitions
from mbrl.errors import BadInput
from mbrl.files import MB, check_regular, read_regular
from mbrl.types import ActionSpec, Transitions

SUFFIXES = (".hdf5", ".h5", ".npz")
_log = logging.getLogger(__name__)
# (layout, environment) -> returns that count as 0 and 100
REFERENCES = {
    **{("D4RL", env): returns for env, returns in d4rl.REFERENCES.items()},
    **{("NeoRL", env): returns for env, returns in neorl.REFERENCES.items()},
}


def load_arrays(
    path: str,
    *,
    obs_dim: int | None = None,
    action: ActionSpec | None = None,
    device: torch.device | str = "cpu",
) -> Dataset:
    """Read a file in D4RL's or NeoRL's layout.

    Episodes end at terminals, at timeouts, and where a step does not begin where the one before it
    ended. Without next_observations the successor of an episode's last step is not known. A
    terminal is kept, with its reward; only models are not fitted to it. The last step of an episode
    that was cut off is left out, because its value is that of an unknown observation.

    Args:
        path: of the file; where it is a name of the benchmark, the reference returns are known.
        obs_dim: the length that observations must have, None for any.
        action: the actions that it must hold, None for any.
        device: of the tensors.

    Raises:
        BadInput: if it is missing, damaged, cut short, not finite, or of other spaces.
    """
    file = Path(path).expanduser()
    if not os.path.lexists(file):
        files = [f.name for f in file.parent.glob("*") if f.suffix.lower() in SUFFIXES]
        nearest = difflib.get_close_matches(file.name, files, n=1)
        others = f"there are {', '.join(files) or 'none'}"
        hint = f"did you mean {nearest[0]}?" if nearest else others
        raise BadInput(f"dataset={path}: no such file; {hint}")
    try:
        check_regular(file)
        _check_sum(path, file)
    except BadInput as error:
        raise BadInput(str(error) if "dataset=" in str(error) else f"dataset={error}") from None
    layout = "NeoRL" if file.suffix.lower() == ".npz" else "D4RL"
    env = known_env(file, layout)
    try:
        arrays = read_neorl(file) if layout == "NeoRL" else read_d4rl(file)
    except BadInput as error:
        raise BadInput(f"dataset={path}: {error}") from None
    except Exception as error:  # whatever h5py, zipfile or numpy make of a damaged file
        raise BadInput(f"dataset={path}: not readable ({line_of(error)}); {REMEDY}") from None
    try:
        steps = neorl_steps(arrays, env) if layout == "NeoRL" else d4rl_steps(arrays, env)
        data, recorded, returns = to_transitions(steps)
    except BadInput as error:
        raise BadInput(f"dataset={path}: {error}") from None
    missing = len(steps.reward) - len(data.reward)
    if steps.next_obs is None:
        _log.warning(
            "dataset %s has no next_observations: %d last steps of episodes that were cut off are "
            "left out, and models are not fitted to %d terminals, whose successors are not known",
            path,
            missing,
            int((~recorded).sum()),
        )
    else:
        flagged = steps.terminated if steps.last is None else steps.last
        unflagged = int(data.episode[-1]) - int(flagged[:-1].sum())
        if unflagged:
            _log.warning(
                "dataset %s: episodes end at %d of %d steps where the file does not say so: "
                "the next step does not begin at their next observation",
                path,
                unflagged,
                len(flagged),
            )
    low, high = _bounds(steps.action)
    own_action = ActionSpec("continuous", low.to(device), high.to(device))
    check_spaces(path, data, own_action, obs_dim, action)
    references = REFERENCES.get((layout, env or ""), (None, None))
    on_device = Transitions(*(x.to(device) for x in data))
    name = None if env is None else f"{layout}'s {env}"
    loss = (recorded.to(device), returns.to(device)) if steps.next_obs is None else (None, None)
    return Dataset(on_device, path, content_hash(data), own_action, *references, name, *loss)


def known_env(file: Path, layout: str) -> str | None:
    """Return the benchmark's environment of a file, None if its name is none of the benchmark's.

    Args:
        file: its path.
        layout: "D4RL" or "NeoRL".
    """
    name = file.stem.lower().replace("_", "-")
    match = (neorl.NAME if layout == "NeoRL" else d4rl.NAME).fullmatch(name)
    return match[1] if match else None


def _check_sum(path: str, file: Path) -> None:
    """Check a file against the checksum beside it, if there is one."""
    beside = file.with_name(f"{file.name}.sha256")
    if not os.path.lexists(beside):
        return
    words = read_regular(beside, MB).decode(errors="replace").split()
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if not words or words[0].lower() != digest:
        raise BadInput(f"dataset={path}: damaged, not what {beside.name} says; {REMEDY}")


def _bounds(action: NDArray[np.float32]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return bounds of the actions, which the file does not hold: 1, or the largest action."""
    largest = torch.from_numpy(np.abs(action).max(0)).clamp(min=1.0)
    return -largest, largest
