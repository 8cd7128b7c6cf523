"""Minari datasets are written in a hidden folder beside their name, which one rename gives them.

```
$MINARI_DATASETS_PATH/NAMESPACE/.NAME.new/  .lock  data/main_data.hdf5  data/metadata.json ...
```
So a write that is killed, or whose disk is full, leaves the name free, and the next one clears the
hidden folder. HDF5 ends the process if its disk is full, so the file is made in memory.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mbrl.data.dataset import Dataset, content_hash, episodes
from mbrl.data.minari_files import (
    check_id,
    dataset_folder,
    import_minari,
    load_minari,
    seal_folder,
)
from mbrl.errors import BadInput
from mbrl.files import write_whole
from mbrl.lock import new_folder
from mbrl.types import ActionSpec, Transitions


def save_dataset(
    id: str,
    data: Transitions,
    action: ActionSpec,
    *,
    env: str,
    algorithm: str,
    ref_min: float | None = None,
    ref_max: float | None = None,
) -> Dataset:
    """Save a Minari dataset, HDF5, with checksums.

    Args:
        id: Minari's name, (namespace/)name-vN.
        data: transitions (B, ...), whole episodes.
        action: the actions of the environment.
        env: the environment that it was collected in.
        algorithm: the agent that acted.
        ref_min: return that counts as 0 in normalized scores, a random policy's.
        ref_max: return that counts as 100, a good policy's.

    Returns:
        The dataset, as load_minari returns it.

    Raises:
        BadInput: if the name is malformed, taken or being written, or Minari is not installed.
        ValueError: if a row does not begin where the one before it in its episode ended.
        OSError: naming the file that cannot be written; the name stays free.
    """
    data = data.validated(act_dim=action.dim)
    with new_dataset(id) as folder:
        about: dict[str, Any] = {"collected_in": env, "algorithm_name": algorithm}
        about["description"] = f"collected in {env}"
        if ref_min is not None and ref_max is not None:
            about |= {"ref_min_score": ref_min, "ref_max_score": ref_max}
        write_dataset(folder, id, data, action, about)
    return load_minari(id)


@contextlib.contextmanager
def new_dataset(id: str) -> Iterator[Path]:
    """Open a folder for a new dataset, which gets the name at the end of the block.

    Args:
        id: Minari's name, (namespace/)name-vN.

    Yields:
        The folder to write it in. If the block fails, the folder is removed.

    Raises:
        BadInput: if the name is malformed, taken, or being written by another process.
    """
    import_minari()
    check_id(id)
    folder = dataset_folder(id)
    with new_folder(folder, lambda: _check_free(id, folder)) as working:
        yield working
        for space in folder.relative_to(dataset_folder("")).parents[:-1]:
            about = dataset_folder(str(space)) / "namespace_metadata.json"
            if not about.exists():
                write_whole(about, b"{}")


def _check_free(id: str, folder: Path) -> None:
    """Check that no dataset has a name.

    Raises:
        BadInput: if one has.
    """
    if os.path.lexists(folder):
        raise BadInput(f"dataset {id}: already there; choose another name or version")


def write_dataset(
    folder: Path, id: str, data: Transitions, action: ActionSpec, about: dict[str, Any]
) -> None:
    """Write transitions in Minari's layout, and their checksums.

    Args:
        folder: where, see new_dataset.
        id: Minari's name.
        data: transitions (B, ...), whole episodes.
        action: the actions of the environment.
        about: further metadata: collected_in, algorithm_name, ref_min_score, ref_max_score.

    Raises:
        ValueError: if a row does not begin where the one before it in its episode ended.
        OSError: naming the file that cannot be written.
    """
    import minari
    from gymnasium.spaces import Box, Discrete
    from minari.serialization import serialize_space

    parts = list(episodes(data))
    for number, each in enumerate(parts):
        if not each.next_obs[:-1].equal(each.obs[1:]):
            raise ValueError(
                f"episode {number}: a step does not begin where the one before it ended"
            )
    if action.kind == "discrete":
        actions: Any = Discrete(action.num_actions)
    else:
        actions = Box(action.low.cpu().numpy(), action.high.cpu().numpy(), dtype=np.float32)
    content = _hdf5(parts, action)
    whole = Transitions(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
    space = Box(-np.inf, np.inf, (data.obs.shape[1],), np.float32)
    metadata = {
        "total_episodes": len(parts),
        "total_steps": len(whole.reward),
        "data_format": "hdf5",
        "jpeg_encoding": True,
        "observation_space": serialize_space(space),
        "action_space": serialize_space(actions),
        "dataset_id": id,
        "minari_version": minari.__version__,
        "dataset_size": round(len(content) / 1e6, 1),  # MB
        "content_sha256": content_hash(whole),
        **about,
    }
    (folder / "data").mkdir()
    write_whole(folder / "data" / "main_data.hdf5", content)
    write_whole(folder / "data" / "metadata.json", json.dumps(metadata).encode())
    seal_folder(folder)


def _hdf5(parts: list[Transitions], action: ActionSpec) -> bytes:
    """Return the content of Minari's HDF5 file, a group for each episode."""
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w", track_order=True) as file:
        for number, each in enumerate(parts):
            chosen = each.action.argmax(-1) if action.kind == "discrete" else each.action
            group = file.create_group(f"episode_{number}")
            group.attrs["id"] = number
            group.attrs["total_steps"] = len(each.reward)
            arrays = {
                "observations": torch.cat([each.obs, each.next_obs[-1:]]),
                "actions": chosen,
                "rewards": each.reward,
                "terminations": each.terminated,
                "truncations": each.truncated,
            }
            for name, rows in arrays.items():
                shape = (None, *rows.shape[1:])
                group.create_dataset(name, data=rows.cpu().numpy(), chunks=True, maxshape=shape)
    return content.getvalue()
