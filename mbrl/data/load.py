"""Loader of all datasets: a file of D4RL or NeoRL by its suffix, else a name of Minari's."""

from __future__ import annotations

from pathlib import Path

import torch

from mbrl.data.array_files import SUFFIXES, load_arrays
from mbrl.data.dataset import Dataset, check_known
from mbrl.data.minari_files import load_minari
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Task


def load_dataset(
    id: str | Path,
    *,
    obs_dim: int | None = None,
    action: ActionSpec | None = None,
    task: Task | None = None,
    device: torch.device | str = "cpu",
) -> Dataset:
    """Load a dataset.

    Args:
        id: one of
            PATH.hdf5 (or .h5): a file in D4RL's layout.
            PATH.npz: a file in NeoRL's layout.
            (namespace/)name-vN: a name of Minari's, on this machine or on its hub.
        obs_dim: the length that observations must have, None for any.
        action: the actions that it must hold, None for any.
        task: what is known of its environment, compared with its first rows; None for nothing.
        device: of the tensors.

    Raises:
        BadInput: if it is missing, damaged, cut short, not finite, of other spaces, or
            contradicts the task.
    """
    if not isinstance(id, str | Path):
        kind = type(id).__name__
        raise BadInput(f"dataset: a {kind} should be a path or a name, such as pendulum/medium-v0")
    id = str(id)
    if Path(id).is_file() and Path(id).suffix.lower() not in SUFFIXES:
        raise BadInput(f"dataset={id}: its name should end in .hdf5 (D4RL) or .npz (NeoRL)")
    load = load_arrays if Path(id).suffix.lower() in SUFFIXES else load_minari
    dataset = load(id, obs_dim=obs_dim, action=action, device=device)
    if task is not None:
        check_known(dataset, task)
    return dataset
