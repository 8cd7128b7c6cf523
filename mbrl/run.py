"""The run folder: resolved config, versions, metrics, checkpoints, summary.

```
config.yaml  versions.json  metrics.jsonl  summary.json
checkpoints/0000002000/  agent.safetensors agent.json ... manifest.json (SHA-256, written last)
```
A checkpoint is written beside the others and committed by one rename, so a kill at any moment
leaves the last good one. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from mbrl.errors import BadInput

_PACKAGES = ("dynaplan", "torch", "numpy", "gymnasium", "mujoco", "stable-baselines3", "pysindy")


class RunFolder:
    """One run on disk.

    Attributes:
        path: the folder.
        config: the resolved config the run was started with.
    """

    def __init__(self, path: Path, config: dict[str, Any]):
        """Take the folder as it is; use create or open."""
        self.path = path
        self.config = config

    @classmethod
    def create(cls, path: Path, config: dict[str, Any]) -> RunFolder:
        """Make a new run folder.

        Raises:
            BadInput: if something is there already.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise BadInput(
                f"run_dir={path}: already there; go on with `mbrl train --resume {path}` "
                "or name a new folder"
            )
        path.mkdir(parents=True, exist_ok=True)
        _write(path / "versions.json", json.dumps(_versions(), indent=2).encode())
        _write(path / "config.yaml", yaml.safe_dump(config, sort_keys=False).encode())
        return cls(path, config)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            BadInput: if it is none, or its config cannot be read.
        """
        file = path / "config.yaml"
        if not path.is_dir():
            raise BadInput(f"{path}: no such run folder")
        if not file.is_file():
            raise BadInput(f"{path}: not a run folder (it has no config.yaml)")
        try:
            config = yaml.safe_load(file.read_text())
        except (yaml.YAMLError, UnicodeDecodeError):
            config = None
        if not isinstance(config, dict):
            raise BadInput(f"{file}: not a readable config; it should be the YAML of the run")
        return cls(path, config)

    def update_config(self, **changes: Any) -> None:
        """Change top-level keys of the config, on disk too (a resume may extend total_steps)."""
        self.config = {**self.config, **changes}
        _write(self.path / "config.yaml", yaml.safe_dump(self.config, sort_keys=False).encode())

    @property
    def metrics_path(self) -> Path:
        """Name the append-only record of metrics."""
        return self.path / "metrics.jsonl"

    def checkpoints(self) -> list[Path]:
        """List the committed checkpoints, the oldest first."""
        return sorted(p for p in (self.path / "checkpoints").glob("[0-9]*") if p.is_dir())

    def save(self, step: int, state: dict[str, Any], *, keep: int = 2) -> Path:
        """Commit a checkpoint.

        Args:
            step: environment steps so far; names the checkpoint.
            state: part name -> nested dicts and lists of tensors and JSON values.
            keep: newest checkpoints to keep.

        Raises:
            OSError: if it cannot be written; the last good checkpoint stays.
        """
        folder = self.path / "checkpoints" / f"{step:010d}"
        if folder.exists():
            return folder
        working = folder.with_name(f".{folder.name}")
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir(parents=True)
        try:
            digests = {}
            for part, value in state.items():
                for name, content in _encode(part, value):
                    _write(working / name, content)
                    digests[name] = hashlib.sha256(content).hexdigest()
            _write(working / "manifest.json", json.dumps(digests, indent=2).encode())
            working.rename(folder)
            _sync(folder.parent)
        except OSError as error:
            shutil.rmtree(working, ignore_errors=True)
            raise OSError(
                error.errno, f"checkpoint not written ({error.strerror})", str(folder)
            ) from error
        for old in self.checkpoints()[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
        return folder

    def load(self, *parts: str) -> dict[str, Any] | None:
        """Read the newest checkpoint, every file checked against the manifest.

        Args:
            parts: the parts to read; all if none is named.

        Returns:
            part name -> state; None if there is no checkpoint yet.

        Raises:
            BadInput: naming the file that is missing or damaged.
        """
        folders = self.checkpoints()
        if not folders:
            return None
        folder = folders[-1]
        remedy = "remove that checkpoint folder to go on from the one before"
        try:
            digests = json.loads((folder / "manifest.json").read_bytes())
            names = {name: bytes.fromhex(digest) for name, digest in digests.items()}
        except FileNotFoundError:
            raise BadInput(f"{folder / 'manifest.json'}: missing; {remedy}") from None
        except (ValueError, AttributeError, TypeError):
            raise BadInput(f"{folder / 'manifest.json'}: damaged; {remedy}") from None
        contents = {}
        for name, digest in names.items():
            if parts and Path(name).stem not in parts:
                continue
            try:
                contents[name] = (folder / name).read_bytes()
            except OSError:
                raise BadInput(f"{folder / name}: missing; {remedy}") from None
            if hashlib.sha256(contents[name]).digest() != digest:
                raise BadInput(f"{folder / name}: damaged; {remedy}")
        stems = parts or tuple(dict.fromkeys(Path(name).stem for name in contents))
        for part in stems:
            for name in (f"{part}.json", f"{part}.safetensors"):
                if name not in contents:
                    raise BadInput(f"{folder / name}: not in the manifest; {remedy}")
        return {
            part: _decode(contents[f"{part}.json"], contents[f"{part}.safetensors"])
            for part in stems
        }

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write summary.json."""
        _write(self.path / "summary.json", json.dumps(summary, indent=2).encode())


def _encode(part: str, state: Any) -> list[tuple[str, bytes]]:
    """Turn nested state into the bytes of PART.safetensors and PART.json."""
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
    """Undo _encode."""
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
        return value

    return restore(json.loads(tree))


def _write(path: Path, content: bytes) -> None:
    """Write a file whole: temporary name, fsync, rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _sync(folder: Path) -> None:
    """Make a rename in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _versions() -> dict[str, str]:
    """Name the versions that decide whether a run can be repeated."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
