"""Run folder: resolved config, versions, metrics, checkpoints, summary.

```
config.yaml  versions.json  metrics.jsonl  summary.json
checkpoints/0000002000/  agent.safetensors agent.json ... manifest.json (SHA-256, written last)
```
The manifest holds the SHA-256 of config.yaml too: a checkpoint belongs to one config.
A checkpoint is written beside the others and committed by one rename, so a kill at any moment
leaves the last good one. A damaged one is passed over for the one before it. One process at a time
trains in a folder: it holds the lock on RUN/.lock. Nothing is ever unpickled. The manifest's last
entry is its own SHA-256, so that a damaged digest is not taken for a damaged file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from mbrl import documents
from mbrl.errors import BadInput
from mbrl.files import MB, check_tree, is_regular, read_lines, read_regular
from mbrl.files import write_whole as _write
from mbrl.lock import Lock
from mbrl.manifest import seal, unseal
from mbrl.training.versions import current_versions

_log = logging.getLogger(__name__)
_UNFINISHED = {
    "versions.json",
    ".versions.json.tmp",
    ".config.yaml.tmp",
    ".lock",
}  # before config.yaml stands
_REMEDY = "no checkpoint before it is good; put it back, or begin a new run"
_FORGED = "it was not written by this package; remove that checkpoint folder"
_SUMMARY = {"finished", "step", "evaluations", "time/cpu_seconds", "time/wall_seconds"}
_CONFIG, _NEXT_CONFIG = "config.yaml", "config.yaml.next"  # the latter while it is changed
_LARGEST = 1e60  # sums of float32 over any episode are smaller
_FILE = re.compile(r"\w+\.(json|safetensors)")  # of a checkpoint
_LIMITS = {".json": 64 * MB, ".safetensors": 8192 * MB}  # bytes of a file of a checkpoint
_RECORD_LIMIT = 16 * MB  # bytes of summary.json and versions.json
_LINE_LIMIT, _METRICS_LIMIT = MB, 1024 * MB  # bytes of a row of metrics, and of all


class RunFolder:
    """Folder of one run.

    Args:
        path: the folder.
        config: the resolved config the run was started with.
    """

    def __init__(self, path: Path, config: dict[str, Any]):
        """Store path and config; use create or open."""
        self.path = path
        self.config = config
        self._lock: Lock | None = None
        self._damaged: set[Path] = set()  # checkpoints that were passed over
        self._current: Path | None = None  # the checkpoint that was saved or loaded last

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> RunFolder:
        """Create a new run folder.

        Raises:
            BadInput: if something is there already, or another process makes a run there.
        """
        run = cls(path, config)
        if not is_taken(path):
            path.mkdir(parents=True, exist_ok=True)
            run.claim()
        if is_taken(path):  # another process may have been faster
            raise BadInput(
                f"run_dir={path}: already there; go on with `mbrl train --resume {path}` "
                "or name a new folder"
            )
        _write(run.versions_path, json.dumps(current_versions(), indent=2).encode())
        _write(path / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder, which may come from a stranger.

        Raises:
            BadInput: if it is none, its config cannot be read, or it holds links or special files.
        """
        file = cls(path, {}).config_path
        if not path.is_dir():
            what = "a file, not a run folder" if path.exists() else "no such run folder"
            raise BadInput(f"{path}: {what}")
        check_tree(path, without=("wandb",))
        if not is_regular(file):
            seeds = [p.name for p in path.glob("[0-9]*") if is_regular(p / "config.yaml")]
            if seeds:
                one = path / min(seeds)
                raise BadInput(f"{path}: holds the runs of several seeds; name one, such as {one}")
            raise BadInput(f"{path}: not a run folder (it has no config.yaml)")
        _check_wandb(path / "wandb")
        try:
            content = read_regular(file, documents.YAML_LIMIT)
            config = documents.plain(documents.parse_yaml(content))
        except documents.Unreadable as error:
            raise BadInput(
                f"{file}: not a readable config ({error.reason}); it should be the YAML of the run"
            ) from None
        except BadInput as error:
            raise BadInput(str(error) if str(file) in str(error) else f"{file}: {error}") from None
        if not isinstance(config, dict):
            raise BadInput(f"{file}: not a readable config; it should be the YAML of the run")
        return cls(path, config)

    def claim(self) -> None:
        """Lock the folder for this process, until it ends or this object is gone.

        Raises:
            BadInput: naming the process that trains in it.
        """
        if self._lock is None:
            self._lock = Lock(self.path / ".lock", str(self.path))

    def resume(self) -> dict[str, Any] | None:
        """Lock the folder for this process, and load the newest good checkpoint.

        Raises:
            BadInput: as claim and load.
        """
        self.claim()
        return self.load()

    def update_config(self, **changes: Any) -> None:
        """Update top-level keys of the config, on disk too (a resume may extend total_steps)."""
        config = {**self.config, **changes}
        content = yaml.safe_dump(config, sort_keys=False).encode()
        self.seal_config(after=content)  # before it is written: a kill between leaves a good run
        _write(self.config_path, content)
        self.config = config

    def check_config(self, *, accept: bool = False) -> None:
        """Check that config.yaml is that of the newest checkpoint, by its SHA-256: no torch.

        Args:
            accept: whether a change is accepted.

        Raises:
            BadInput: if it was changed, or the checkpoint is of another run.
        """
        if accept:
            return
        for folder in reversed(self.checkpoints()):
            with contextlib.suppress(BadInput):  # a damaged one is passed over
                digests = unseal(folder / "manifest.json")
                break
        else:
            return
        sealed = [digests[name] for name in (_CONFIG, _NEXT_CONFIG) if name in digests]
        if not sealed:
            _log.warning(
                "%s: not sealed, the checkpoint is of an older version; a change would not be seen",
                self.config_path,
            )
        elif _sha256(read_regular(self.config_path, documents.YAML_LIMIT)) not in sealed:
            raise BadInput(
                f"{self.config_path}: not the one that checkpoint {folder.name} was saved "
                "with: changed by hand, or the checkpoint is of another run; put the right one "
                "back, or accept it with --accept-config (in Python accept_config=True)"
            )

    def seal_config(self, after: bytes | None = None) -> None:
        """Write the SHA-256 of config.yaml into the manifest of every checkpoint.

        Args:
            after: what config.yaml is about to hold, which is accepted too; None: no change.
        """
        own = _sha256(self.config_path.read_bytes())
        for folder in self.checkpoints():
            file = folder / "manifest.json"
            try:
                digests = unseal(file) | {_CONFIG: own}
            except BadInput:  # damaged: it will be passed over
                continue
            digests.pop(_NEXT_CONFIG, None)
            if after is not None:
                digests[_NEXT_CONFIG] = _sha256(after)
            _write(file, seal(digests))

    @property
    def config_path(self) -> Path:
        """Return the path of the resolved config."""
        return self.path / "config.yaml"

    @property
    def versions_path(self) -> Path:
        """Return the path of the versions that the run was made with."""
        return self.path / "versions.json"

    @property
    def metrics_path(self) -> Path:
        """Return the path of the append-only record of metrics."""
        return self.path / "metrics.jsonl"

    def checkpoints(self) -> list[Path]:
        """Return the folders of the checkpoints, the oldest first."""
        folders = (self.path / "checkpoints").glob("[0-9]*")
        return sorted(
            p for p in folders if p.name.isdecimal() and p.is_dir() and not p.is_symlink()
        )

    def rewind(self, step: int) -> None:
        """Skip the checkpoints after a step; the next one that is saved replaces them.

        Args:
            step: the newest that counts.
        """
        self._damaged |= {each for each in self.checkpoints() if int(each.name) > step}
        self._current = None

    def save(
        self, step: int, state: dict[str, Any], *, keep: int = 2, replace: bool = False
    ) -> Path:
        """Save a checkpoint.

        Args:
            step: environment steps so far; names the checkpoint.
            state: part name -> nested dicts and lists of tensors and JSON values.
            keep: newest checkpoints to keep; those of later steps, damaged ones, are removed.
            replace: whether to write it again if it was saved or loaded just before.

        Raises:
            OSError: if it cannot be written; the last good checkpoint stays.
        """
        folder = self.path / "checkpoints" / f"{step:010d}"
        if folder == self._current and folder.exists() and not replace:
            return folder
        working = folder.with_name(f".{folder.name}")
        try:
            for left in folder.parent.glob(".*"):  # of a save that was killed
                shutil.rmtree(left, ignore_errors=True)
            working.mkdir(parents=True)
            digests = {}
            for part, value in state.items():
                for name, content in _encode(part, value):
                    _write(working / name, content)
                    digests[name] = _sha256(content)
            if self.config_path.exists():
                digests[_CONFIG] = _sha256(self.config_path.read_bytes())
            _write(working / "manifest.json", seal(digests))
            if folder.exists():
                folder.rename(folder.with_name(f".{folder.name}.old"))
            working.rename(folder)
            _sync(folder.parent)
        except OSError as error:
            shutil.rmtree(working, ignore_errors=True)
            raise OSError(
                error.errno, f"checkpoint not written ({error.strerror})", str(folder)
            ) from error
        self._current = folder
        self._damaged.discard(folder)
        kept = [each for each in self.checkpoints() if each <= folder][-keep:]
        for left in (*folder.parent.glob(".*"), *self.checkpoints()):
            if left not in kept:
                shutil.rmtree(left, ignore_errors=True)
        return folder

    def load(self, *parts: str) -> dict[str, Any] | None:
        """Read the newest good checkpoint, every file checked against the manifest.

        A line of the log says which file is damaged, if one is, and which step is used instead.

        Args:
            parts: the parts to read; all if none is named.

        Returns:
            part name -> state; None if there is no checkpoint yet.

        Raises:
            BadInput: naming the file that is missing or damaged, if no checkpoint is good.
        """
        contents = self._read(parts)
        if contents is None:
            return None
        state = {}
        for part in dict.fromkeys(Path(name).stem for name in contents):
            try:
                state[part] = _decode(contents[f"{part}.json"], contents[f"{part}.safetensors"])
            except Exception as error:  # whatever safetensors and a tree of another form raise
                file = f"{self._current}/{part}.json"
                reason = f"{type(error).__name__}: {error!s:.200}"
                raise BadInput(f"{file}: not the state of a part ({reason}); {_FORGED}") from None
        _check_finite(self._current, state.get("agent"), "agent")
        return state

    def check(self, *parts: str) -> None:
        """Check a checkpoint's files as load does, without decoding them: no torch.

        Raises:
            BadInput: naming the file that is missing or damaged, if no checkpoint is good.
        """
        self._read(parts)

    @property
    def num_bytes(self) -> int:
        """Return the size of the checkpoint that load or check found good, 0 without one."""
        files = self._current.iterdir() if self._current else ()
        return sum(file.lstat().st_size for file in files)

    @property
    def step(self) -> int:
        """Return the step of the checkpoint that load or check found good, 0 without one."""
        return int(self._current.name) if self._current else 0

    def check_metrics(self) -> None:
        """Check that metrics.jsonl still holds what the newest checkpoint counts: no torch.

        Raises:
            BadInput: if part of it is gone; an empty or missing one begins a new record.
        """
        contents = self._read(("loop",))
        length = self.metrics_path.stat().st_size if self.metrics_path.exists() else 0
        if contents is None or length == 0:
            return
        try:
            counted = int(json.loads(contents["loop.json"])["dict"]["log_position"]["value"])
        except (ValueError, KeyError, TypeError, RecursionError):
            file = f"{self._current}/loop.json"
            raise BadInput(f"{file}: does not hold log_position; {_FORGED}") from None
        if length < counted:
            raise BadInput(
                f"{self.metrics_path}: damaged, {length} bytes where the checkpoint counts "
                f"{counted}; put it back, or remove it to begin a new record"
            )

    def _read(self, parts: tuple[str, ...]) -> dict[str, bytes] | None:
        """Read the files of the named parts, or of all, of the newest checkpoint that is good."""
        faults: dict[Path, BadInput] = {}
        for folder in reversed(self.checkpoints()):
            if folder in self._damaged:
                continue
            try:
                contents = _read_checkpoint(folder, parts)
            except BadInput as fault:
                faults[folder] = fault
                continue
            step = int(folder.name)
            for fault in faults.values():
                _log.warning("%s; the checkpoint before it is used, of step %s", fault, step)
            self._damaged |= faults.keys()
            self._current = folder
            return contents
        for fault in faults.values():
            raise BadInput(f"{fault}; {_REMEDY}") from None
        return None

    def check_records(self) -> None:
        """Check what a report is made of: summary.json, versions.json and metrics.jsonl.

        Raises:
            BadInput: naming the file, and the line where there is one.
        """
        again = f"`mbrl train --resume {self.path}` writes it anew"
        _check_json(self.path / "summary.json", _SUMMARY, again)
        _check_summary(self.path / "summary.json")
        _check_json(self.versions_path, set(), "put it back, or write {} into it")
        _check_json(self.metrics_path, {"step"}, "put it back, or remove that line", lines=True)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json."""
        _write(self.path / "summary.json", json.dumps(summary, indent=2).encode())


def _read_checkpoint(folder: Path, parts: tuple[str, ...]) -> dict[str, bytes]:
    """Read the files of a checkpoint's named parts, or of all, and compare them with the manifest.

    Raises:
        BadInput: naming the file that is missing, damaged or not readable.
    """
    digests = unseal(folder / "manifest.json")
    contents = {}
    for name in [f"{p}.{end}" for p in parts for end in ("json", "safetensors")] or digests:
        if name in (_CONFIG, _NEXT_CONFIG):
            continue
        file = folder / name
        if name not in digests:
            raise BadInput(f"{file}: not in the manifest")
        if not _FILE.fullmatch(name):
            raise BadInput(f"{folder / 'manifest.json'}: {name!r:.80} is no file of a checkpoint")
        try:
            contents[name] = read_regular(file, _LIMITS[file.suffix])
        except FileNotFoundError:
            raise BadInput(f"{file}: missing") from None
        except OSError as error:  # of the disk, say
            raise BadInput(f"{file}: not readable ({error.strerror})") from None
        if _sha256(contents[name]) != digests[name]:
            raise BadInput(f"{file}: damaged")
    return contents


def is_taken(path: Path) -> bool:
    """Return whether a new run cannot be created here; a folder without a config is free.

    Args:
        path: of the new run folder.
    """
    if not path.is_dir():
        return os.path.lexists(path)
    return any(entry.name not in _UNFINISHED for entry in path.iterdir())


def _check_json(file: Path, keys: set[str], remedy: str, *, lines: bool = False) -> None:
    """Check that a file is a JSON mapping with these keys, or lines of them.

    Raises:
        BadInput: naming the file, and the line where there is one.
    """
    if not os.path.lexists(file):
        raise BadInput(f"{file}: missing; {remedy}")
    rows = (
        read_lines(file, limit=_METRICS_LIMIT, longest=_LINE_LIMIT)
        if lines
        else [read_regular(file, _RECORD_LIMIT)]
    )
    for number, row in enumerate(rows, 1):
        try:
            good = keys <= json.loads(row).keys()
        except (ValueError, AttributeError, RecursionError):
            good = False
        if not good:
            raise BadInput(f"{file}{f', line {number}' if lines else ''}: damaged; {remedy}")


def _check_summary(file: Path) -> None:
    """Check the types of what a report takes from summary.json.

    Raises:
        BadInput: naming the entry.
    """
    summary = json.loads(read_regular(file, _RECORD_LIMIT))
    entries = summary["evaluations"]
    good = {
        "step": _is_whole(summary["step"]),
        "time/cpu_seconds": _is_number(summary["time/cpu_seconds"]),
        "time/wall_seconds": _is_number(summary["time/wall_seconds"]),
        "evaluations": isinstance(entries, list)
        and all(
            isinstance(each, dict)
            and _is_whole(each.get("step"))
            and isinstance(each.get("rewards"), list)
            and len(each["rewards"]) > 0
            and all(map(_is_number, each["rewards"]))
            for each in entries
        ),
    }
    for name, right in good.items():
        if not right:
            raise BadInput(f"{file}: {name}={summary[name]!r:.80} is not what a run writes")


def _is_whole(value: Any) -> bool:
    """Return whether a value is a whole number from 0 to what an index may be."""
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    """Return whether a value is a number, or a NaN, of a size that sums and pictures can take."""
    return type(value) in (int, float) and not abs(value) > _LARGEST


def _check_wandb(folder: Path) -> None:
    """Check what W&B would follow or obey in its folder; within its runs it makes links itself.

    Raises:
        BadInput: naming it.
    """
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_symlink():
            target = os.path.normpath(folder / os.readlink(entry))
            if not Path(target).is_relative_to(os.path.normpath(folder)):
                raise BadInput(f"{entry}: a symbolic link that leads out of wandb; remove it")
        elif entry.name == "settings":
            raise BadInput(f"{entry}: W&B would obey it; remove it")


def _check_finite(folder: Path | None, state: Any, name: str) -> None:
    """Check that the weights of an agent are finite.

    Raises:
        BadInput: naming the tensor.
    """
    from torch import Tensor

    if isinstance(state, dict):
        for key, value in state.items():
            _check_finite(folder, value, f"{name}/{key}")
    elif isinstance(state, list):
        for index, value in enumerate(state):
            _check_finite(folder, value, f"{name}/{index}")
    elif isinstance(state, Tensor) and state.is_floating_point():
        # a limit or a threshold may be infinite, a weight may not
        is_weight = state.ndim > 1 or name.endswith(("weight", "bias")) and state.ndim > 0
        wrong = ~state.isfinite() if is_weight else state.isnan()
        if not wrong.any():
            return
        raise BadInput(
            f"{folder}/agent.safetensors: {name} holds a NaN or an infinity; remove that "
            "checkpoint folder to use the one before it"
        )


def _encode(part: str, state: Any) -> list[tuple[str, bytes]]:
    """Encode nested state as the bytes of PART.safetensors and PART.json."""
    from safetensors.torch import save
    from torch import Tensor

    tensors: dict[str, Tensor] = {}

    def strip(value: Any, key: str) -> Any:
        if isinstance(value, Tensor):
            tensors[key] = value.detach().cpu().contiguous().clone()
            return {"tensor": key}
        if isinstance(value, dict):
            return {"dict": {name: strip(v, f"{key}/{name}") for name, v in value.items()}}
        if isinstance(value, list | tuple):
            return {"list": [strip(v, f"{key}/{i}") for i, v in enumerate(value)]}
        return {"value": value}

    tree = strip(state, part)
    return [
        (f"{part}.safetensors", save(tensors)),
        (f"{part}.json", json.dumps(tree).encode()),
    ]


def _decode(tree: bytes, data: bytes) -> Any:
    """Decode what _encode wrote."""
    from safetensors.torch import load

    tensors = load(data)

    def restore(node: dict[str, Any]) -> Any:
        ((kind, value),) = node.items()
        if kind == "tensor":
            return tensors[value]
        if kind == "dict":
            return {name: restore(child) for name, child in value.items()}
        if kind == "list":
            return [restore(child) for child in value]
        if kind != "value" or isinstance(value, dict | list):
            raise ValueError(f"{kind:.40} is no kind of state")
        return value

    return restore(json.loads(tree))


def _sha256(content: bytes) -> str:
    """Compute the SHA-256 of bytes, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _sync(folder: Path) -> None:
    """Synchronize a folder with the disk, so that a rename in it is durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
