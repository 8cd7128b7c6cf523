"""Minari datasets on disk: written with checksums, and checked when they are read.

```
$MINARI_DATASETS_PATH/ID/  data/main_data.hdf5  data/metadata.json  manifest.json (SHA-256)
```
manifest.json is this package's own, written last. Other datasets have none until this package
downloads them: of those only the form is checked. Minari and h5py are imported on use.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mbrl.data.containers import check_arrow, check_hdf5
from mbrl.data.dataset import (
    Dataset,
    check_spaces,
    content_hash,
    line_of,
    report_outside,
)
from mbrl.documents import Unreadable, parse_json
from mbrl.errors import BadInput
from mbrl.files import MB, check_tree, read_regular, write_whole
from mbrl.manifest import seal, unseal
from mbrl.memory import limited_memory
from mbrl.types import ActionSpec, Transitions

_log = logging.getLogger(__name__)
_METADATA_LIMIT = 16 * MB
_MAX_DIM = 1_000_000  # numbers of an observation or an action
_MAX_ACTIONS = 10_000  # discrete ones
_MAX_EPISODES = 10_000_000
_REMEDY = "collect or download the dataset again"


def load_minari(
    id: str,
    *,
    obs_dim: int | None = None,
    action: ActionSpec | None = None,
    device: torch.device | str = "cpu",
) -> Dataset:
    """Load a Minari dataset of this machine, or download one of the hub (a name with a namespace).

    Args:
        id: Minari's name, (namespace/)name-vN.
        obs_dim: the length that observations must have, None for any.
        action: the actions that it must hold, None for any.
        device: of the tensors.

    Raises:
        BadInput: if it is missing, damaged, cut short, not finite, or of other spaces.
    """
    minari = import_minari()
    check_id(id)
    folder = dataset_folder(id)
    if not (folder / "data").is_dir():
        _download(minari, id)
    check_tree(folder)
    sealed = (folder / "manifest.json").exists()
    if sealed:
        _check_seal(folder)
    try:
        most = _check_form(folder / "data")
    except BadInput as error:
        raise BadInput(f"dataset={id}: {error}") from None
    except ImportError as error:  # Minari's Arrow storage needs a package of its own
        raise BadInput(f"dataset={id}: needs {error.name}: pip install pyarrow") from None
    try:
        with _quiet(), limited_memory(most):
            stored = minari.load_dataset(id)
            metadata = stored.storage.metadata
            spaces = stored.observation_space, stored.action_space
            recorded = list(stored.iterate_episodes())
    except Exception as error:  # whatever h5py, json or minari make of a damaged file
        raise BadInput(f"dataset={id}: not readable ({line_of(error)}); {_REMEDY}") from None
    if len(recorded) != metadata.get("total_episodes") or not recorded:
        raise BadInput(
            f"dataset={id}: {len(recorded)} episodes where its metadata says "
            f"{metadata.get('total_episodes')}; {_REMEDY}"
        )
    data = _transitions(id, recorded, *spaces)
    own_action = _action_spec(spaces[1], device)
    if own_action.kind == "continuous" and action is None:  # else the environment's are compared
        report_outside(id, "actions", data.action, own_action.low, own_action.high)
    ends = (torch.as_tensor(end.reshape(-1)) for end in (spaces[0].low, spaces[0].high))
    report_outside(id, "observations", data.obs, *ends)
    check_spaces(id, data, own_action, obs_dim, action)
    digest = content_hash(data)
    if metadata.get("content_sha256", digest) != digest:
        raise BadInput(f"dataset={id}: its contents are not those it was written with; {_REMEDY}")
    if not sealed:
        _log.warning("dataset %s has no checksums; its contents hash to %s", id, digest[:16])
    env = metadata.get("collected_in")
    if env is None and stored.env_spec is not None:
        env = stored.env_spec.id
    scores = [metadata.get(f"ref_{end}_score") for end in ("min", "max")]
    if not all(s is None or isinstance(s, int | float) for s in scores):
        raise BadInput(f"dataset={id}: ref_min_score and ref_max_score should be numbers")
    low, high = (None if s is None else float(s) for s in scores)
    on_device = Transitions(*(x.to(device) for x in data))
    env = None if env is None else f"{env!s:.200}"
    return Dataset(on_device, id, digest, own_action, low, high, env)


def check_id(id: str) -> None:
    """Check that a name is one of Minari's form.

    Args:
        id: the name.

    Raises:
        BadInput: if not, with an example.
    """
    from minari.dataset.minari_dataset import DATASET_ID_RE

    match = DATASET_ID_RE.fullmatch(id)
    if match is None or match["version"] is None:
        raise BadInput(f"{id}: no name of a dataset; it should be like pendulum/medium-v0")


def import_minari() -> Any:
    """Import Minari and h5py."""
    try:
        import h5py  # noqa: F401
        import minari
    except ImportError as error:
        raise BadInput(f"datasets need {error.name}: pip install 'dynaplan[offline]'") from None
    return minari


def dataset_folder(id: str) -> Path:
    """Return the folder of a dataset."""
    from minari.storage.datasets_root_dir import get_dataset_path

    return Path(get_dataset_path(id))


def _download(minari: Any, id: str) -> None:
    """Download a dataset of the hub and write its checksums; local names have no namespace."""
    local: list[str] = []
    with _quiet(), contextlib.suppress(Exception):  # one folder of another name stops Minari
        local = list(minari.list_local_datasets())
    where = dataset_folder("")
    from difflib import get_close_matches

    nearest = get_close_matches(id, local, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(local) or 'none'}"
    if "/" not in id:
        raise BadInput(f"dataset={id}: not in {where}; {hint}")
    try:
        with _quiet():
            minari.download_dataset(id)
    except Exception as error:
        reason = line_of(error)
        raise BadInput(
            f"dataset={id}: not in {where}, and not downloaded ({reason}); {hint}"
        ) from None
    seal_folder(dataset_folder(id))


def seal_folder(folder: Path) -> None:
    """Write the checksums of a dataset's files."""
    digests = {name: _sha256(folder / name) for name in _files(folder)}
    write_whole(folder / "manifest.json", seal(digests))


def _check_seal(folder: Path) -> None:
    """Check a dataset's files against their checksums."""
    digests = unseal(folder / "manifest.json", _REMEDY)
    for name, digest in digests.items():
        file = folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BadInput(f"{folder / 'manifest.json'}: {name!r:.80} lies outside of it")
        if not file.is_file():
            raise BadInput(f"{file}: missing; {_REMEDY}")
        if _sha256(file) != digest:
            raise BadInput(f"{file}: damaged; {_REMEDY}")


def _check_form(data: Path) -> int | None:
    """Check a dataset's metadata and arrays, before Minari reads them.

    Without spaces in the metadata Minari would make the environment that they name.

    Returns:
        The bytes that reading it may take, None for those of the machine.

    Raises:
        BadInput: naming what is missing, too large or stored elsewhere.
    """
    try:
        metadata = parse_json(read_regular(data / "metadata.json", _METADATA_LIMIT))
        for name in ("observation_space", "action_space"):
            if not isinstance(metadata, dict) or not isinstance(metadata.get(name), str):
                raise BadInput(f"metadata.json has no {name}; {_REMEDY}")
            _check_space(name, parse_json(metadata[name]))
        number = metadata.get("total_episodes")
        if type(number) is not int or not 0 <= number <= _MAX_EPISODES:
            raise BadInput(f"total_episodes={number!s:.80}: should be at most {_MAX_EPISODES}")
    except FileNotFoundError:
        raise BadInput(f"metadata.json is missing; {_REMEDY}") from None
    except Unreadable as error:
        raise BadInput(f"metadata.json: {error.reason}; {_REMEDY}") from None
    main = data / "main_data.hdf5"
    if os.path.lexists(main):
        try:
            check_hdf5(main)
        except BadInput:
            raise
        except Exception as error:  # whatever h5py makes of a damaged file
            raise BadInput(f"not readable ({line_of(error)}); {_REMEDY}") from None
    form = metadata.get("data_format")
    if form not in ("arrow", "parquet"):
        return None
    try:
        return check_arrow(data, form)
    except (BadInput, ImportError):
        raise
    except Exception as error:  # whatever pyarrow makes of a damaged file
        raise BadInput(f"not readable ({line_of(error)}); {_REMEDY}") from None


def _check_space(name: str, space: Any) -> None:
    """Check what the metadata say of a space, before Minari makes it.

    Raises:
        BadInput: if it is none that can be learned from, or too large.
    """
    kind = space.get("type") if isinstance(space, dict) else None
    kinds = ("Box", "Discrete")[: 1 if name == "observation_space" else 2]
    if kind not in kinds:
        raise BadInput(f"{name} is a {kind!s:.40}; only {' or '.join(kinds)} can be learned from")
    shape, number = space.get("shape", []), space.get("n", 1)
    numbers = shape if isinstance(shape, list) else [-1]
    if not all(type(n) is int and 0 <= n <= _MAX_DIM for n in numbers):
        raise BadInput(f"{name}: shape {shape!s:.80} should have at most {_MAX_DIM} numbers")
    if math.prod(numbers) > _MAX_DIM or type(number) is not int or number > _MAX_ACTIONS:
        raise BadInput(f"{name}: should have at most {_MAX_DIM} numbers")


def _files(folder: Path) -> list[str]:
    """List a dataset's files, relative to its folder."""
    return sorted(str(f.relative_to(folder)) for f in (folder / "data").rglob("*") if f.is_file())


def _sha256(file: Path) -> str:
    """Compute the SHA-256 of a file."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _transitions(id: str, recorded: list[Any], obs_space: Any, act_space: Any) -> Transitions:
    """Convert Minari's episodes; the last observation is the last true successor."""
    from gymnasium.spaces import Box, Discrete

    if not isinstance(obs_space, Box) or not isinstance(act_space, Box | Discrete):
        raise BadInput(
            f"dataset={id}: observations {type(obs_space).__name__} and actions "
            f"{type(act_space).__name__}; only Box, and Discrete actions, can be learned from"
        )
    parts: list[Transitions] = []
    count = split = 0
    for number, each in enumerate(recorded):
        try:
            part = _episode(each, act_space)
        except BadInput as error:
            raise BadInput(f"dataset={id}: episode {number}: {error}") from None
        inner = part.terminated.long().cumsum(0) - part.terminated.long()
        parts.append(part._replace(episode=count + inner))
        split += int(inner[-1])
        count += 1 + int(inner[-1])
    if split:
        _log.warning(
            "dataset %s: %d terminations are not the last step of their episode; the episodes are "
            "split there",
            id,
            split,
        )
    return Transitions(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _episode(each: Any, act_space: Any) -> Transitions:
    """Convert one of Minari's episodes; its number is 0.

    Raises:
        BadInput: naming what does not fit or is not finite.
    """
    obs = np.asarray(each.observations, dtype=np.float32)
    obs = obs.reshape(len(obs), -1)
    raw = np.asarray(each.actions)
    names = ("rewards", "terminations", "truncations")
    columns = {name: np.asarray(getattr(each, name)) for name in names}
    steps = len(columns["rewards"])
    if steps == 0 or {len(obs) - 1, len(raw), *map(len, columns.values())} != {steps}:
        raise BadInput(
            f"{len(obs)} observations and {len(raw)} actions for {steps} rewards; {_REMEDY}"
        )
    for name, column in columns.items():
        if column.size != steps:
            raise BadInput(f"{name} of shape {column.shape}; should be one number a step")
    reward = columns["rewards"].reshape(-1).astype(np.float32)
    action = _actions(raw, act_space)
    for name, values in (("observation", obs), ("action", action), ("reward", reward)):
        if not np.isfinite(values).all():
            raise BadInput(f"not every {name} is finite")
    terminated = torch.from_numpy(columns["terminations"].reshape(-1).astype(bool))
    truncated = torch.from_numpy(columns["truncations"].reshape(-1).astype(bool)) & ~terminated
    truncated[-1] = ~terminated[-1]  # where the record was cut off, the value is bootstrapped
    whole, numbers = torch.from_numpy(obs), torch.from_numpy(reward)
    chosen, episode = torch.from_numpy(action), torch.zeros(steps, dtype=torch.int64)
    return Transitions(whole[:-1], chosen, numbers, whole[1:], terminated, truncated, episode)


def _actions(raw: np.ndarray, space: Any) -> np.ndarray:
    """Return the actions of an episode (steps, act_dim), discrete ones one-hot.

    Raises:
        BadInput: naming one that is no action of a discrete space.
    """
    from gymnasium.spaces import Discrete

    if not isinstance(space, Discrete):
        return raw.reshape(len(raw), -1).astype(np.float32)
    chosen = raw.reshape(-1) - int(space.start)
    outside = (chosen < 0) | (chosen >= space.n)
    if outside.any():
        raise BadInput(f"action {raw.reshape(-1)[outside.argmax()]} is not in {space}")
    return np.eye(int(space.n), dtype=np.float32)[chosen]


def _action_spec(space: Any, device: torch.device | str) -> ActionSpec:
    """Return the ActionSpec of an action space, Box or Discrete."""
    from gymnasium.spaces import Discrete

    if isinstance(space, Discrete):
        number = int(space.n)
        ends = torch.zeros(number, device=device), torch.ones(number, device=device)
        return ActionSpec("discrete", *ends, num_actions=number)
    low, high = (torch.as_tensor(end.reshape(-1)).float() for end in (space.low, space.high))
    return ActionSpec("continuous", low.to(device), high.to(device))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Ignore Minari's advice on authors and licenses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def summary(dataset: Dataset) -> str:
    """Return a summary in JSON.

    Args:
        dataset: a dataset.
    """
    returns = dataset.returns()
    return json.dumps(
        {
            "dataset": dataset.id,
            "steps": len(dataset.data.reward),
            "episodes": len(returns),
            "mean_return": returns.mean().item(),
            "terminated": int(dataset.data.terminated.sum()),
            "sha256": dataset.digest,
        }
    )
