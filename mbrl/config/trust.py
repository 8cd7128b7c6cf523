"""What a stored config may name: it may come from a stranger, and what it names is run.

Without the user's consent that is this package's own parts only: its public classes, and the
functions that its YAML files name. Nothing is imported to find out.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mbrl import moved
from mbrl.config.library import CONFIGS, read_yaml
from mbrl.config.source import find
from mbrl.errors import BadInput

_ROOMS = (
    *("agents", "dynamics", "dynamics.sindy", "envs", "envs.tasks", "envs.policies"),
    *("learners", "planners", "symbolic"),
)
_OWN = re.compile(r"mbrl(\.[A-Za-z_][A-Za-z0-9_]*)+")
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")  # of gymnasium, without a module
_WORD = re.compile(r"[A-Za-z0-9_. -]*|cuda:[0-9]+")  # names neither a file nor a module
_KWARG = re.compile(r"[A-Za-z0-9_-]*")
_FILE_KEY = re.compile(r"file|path|dir|folder|xml|url|model|module|entry", re.I)
_FILES = (".hdf5", ".h5", ".npz")  # a dataset that is a file, not one of Minari's names
_FORMER = frozenset(["mbrl.envs.threaded_mujoco"])  # functions that our YAML files named once
_ONLY_NAMED = "mbrl.envs.OnlyInPython"  # refuses to be built: its texts are for a message
_REMEDY = "--trust (in Python trust=True) allows it, if you trust who made this folder"
_OR_FOLDER = "--config-dir DIR (config_dir=DIR) allows the code in DIR and what its files name"


class Trust(NamedTuple):
    """Consent of the user to what a stored config names."""

    code: bool = False  # any code, and files outside the run folder
    config_dir: Path | None = None  # the code in this folder, and what its YAML files name
    changes: bool = False  # a config.yaml that was changed since the checkpoint was saved


NOTHING = Trust()


class _Text(NamedTuple):
    """Text in a config."""

    key: str  # dotted
    name: str  # its last part that is no number
    text: Any
    in_kwargs: bool


def check_trusted(config: dict[str, Any], trust: Trust, *, without: tuple[str, ...] = ()) -> None:
    """Check that a stored config names nothing that the user has not agreed to.

    Args:
        config: as stored.
        trust: what the user agrees to.
        without: groups that will not be built.

    Raises:
        BadInput: naming the key and what would allow it.
    """
    if trust.config_dir is not None:
        if not trust.config_dir.is_dir():
            raise BadInput(f"config_dir={trust.config_dir}: no such folder")
        use_folder(trust.config_dir)
    if trust.code:
        return
    allowed = _texts_of(trust.config_dir)
    for group, node in config.items():
        if not isinstance(node, dict | list) or group in ("choices", "logger", *without):
            continue
        named_only = isinstance(node, dict) and node.get("_target_") == _ONLY_NAMED
        for entry in _walk(node, group):
            if entry.name == "_target_":
                _check_target(entry, trust, allowed)
            elif isinstance(entry.text, str) and entry.text not in allowed and not named_only:
                _check_text(entry, trust)


def check_dataset(config: dict[str, Any], trust: Trust) -> None:
    """Check that the dataset of a stored config, which lies outside its folder, may be read.

    Raises:
        BadInput: if it is a file, or would be downloaded.
    """
    name = config.get("dataset")
    if name is None or trust.code:
        return
    if not str(name).lower().endswith(_FILES):
        from mbrl.data.minari_files import check_id, dataset_folder, import_minari

        import_minari()
        check_id(str(name))
        if dataset_folder(str(name)).is_dir():
            return
    raise BadInput(f"dataset={name}: lies outside of the run folder; {_REMEDY}")


def use_folder(folder: Path) -> None:
    """Add a folder to those that modules are imported from, after all others."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def is_own_part(target: str) -> bool:
    """Return whether a `_target_` is a part of this package.

    Args:
        target: `package.module.Name`, old or new.
    """
    target = moved.current(target)
    if not _OWN.fullmatch(target):
        return False
    try:
        home, name, node = find(target)
        if not _OWN.fullmatch(f"{home}.{name}"):
            return False
        if isinstance(node, ast.ClassDef) and not name.startswith("_"):
            rooms = [room for room in _ROOMS if name in _public(room)]
            if any(find(f"mbrl.{room}.{name}")[:2] == (home, name) for room in rooms):
                return True
        return any(find(named)[:2] == (home, name) for named in _named() if named.endswith(name))
    except LookupError:
        return False


@functools.cache
def _public(room: str) -> frozenset[str]:
    """Return the public names of a package of parts."""
    node = find(f"mbrl.{room}.__all__").node
    return frozenset(ast.literal_eval(node)) if isinstance(node, ast.expr) else frozenset()


@functools.cache
def _named() -> frozenset[str]:
    """Return every `_target_` of the package's own YAML files, now or in earlier versions."""
    files = CONFIGS.glob("*/*.yaml")
    targets = (re.findall(r"_target_: *([\w.]+)", file.read_text("utf-8")) for file in files)
    return _FORMER.union(*targets)


def _walk(node: Any, key: str, name: str = "", in_kwargs: bool = False) -> Iterator[_Text]:
    """Yield what a node holds that is neither a mapping nor a list; of a `_target_`, anything."""
    if isinstance(node, dict) and name != "_target_":
        for child, value in node.items():
            inside = in_kwargs or child == "kwargs"
            if "_target_" not in (child, name) and inside:
                yield _Text(f"{key}.{child}", str(child), str(child), False)  # a key is text too
            yield from _walk(value, f"{key}.{child}", str(child), inside)
    elif isinstance(node, list) and name != "_target_":
        for index, value in enumerate(node):
            yield from _walk(value, f"{key}.{index}", name, in_kwargs)
    else:
        yield _Text(key, name, node, in_kwargs)


def _check_target(entry: _Text, trust: Trust, allowed: frozenset[str]) -> None:
    """Check what a `_target_` names."""
    target = entry.text
    if not isinstance(target, str) or not all(p.isidentifier() for p in target.split(".")):
        raise BadInput(f"{entry.key}={target!r:.80}: should be the name of a class")
    if target in allowed or is_own_part(target) or _is_in(trust.config_dir, target):
        return
    top = target.partition(".")[0]
    if top == "mbrl":
        _check_there(entry.key, target)
        raise BadInput(f"{entry.key}={target}: is no part; {_REMEDY}")
    raise BadInput(
        f"{entry.key}={target}: would run code that is not this package's; {_REMEDY}; {_OR_FOLDER}"
    )


def _check_there(key: str, target: str) -> None:
    """Check that there is what a name of this package stands for.

    Raises:
        BadInput: if not.
    """
    try:
        find(moved.current(target))
    except LookupError as error:
        raise BadInput(f"{key}={target}: {error.args[0]}") from None


def _check_text(entry: _Text, trust: Trust) -> None:
    """Check that a text names neither a module nor a file."""
    key, name, text, in_kwargs = entry
    if name == "id" and not in_kwargs:
        module, colon, _ = text.partition(":")
        if colon and not _is_in(trust.config_dir, f"{module}."):
            raise BadInput(
                f"{key}={text:.80}: would run the module {module:.80}; {_REMEDY}; {_OR_FOLDER}"
            )
        if not colon and not _ID.fullmatch(text):
            raise BadInput(f"{key}={text!r:.80}: should be a gymnasium id")
        return
    right = _KWARG if in_kwargs else _WORD
    names_file = name == "path" or (in_kwargs and _FILE_KEY.search(name))
    if names_file or not right.fullmatch(text):
        raise BadInput(f"{key}={text!r:.80}: may name a file or a module; {_REMEDY}")


def _is_in(folder: Path | None, target: str) -> bool:
    """Return whether a module lies in a folder."""
    top = target.partition(".")[0]
    if folder is None or not top.isidentifier():
        return False
    return (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()


def _texts_of(folder: Path | None) -> frozenset[str]:
    """Return every text in the YAML files of a folder of choices."""
    if folder is None:
        return frozenset()
    nodes = [read_yaml(file) for file in sorted(folder.glob("*/*.yaml"))]
    return frozenset(
        entry.text for node in nodes for entry in _walk(node, "") if isinstance(entry.text, str)
    )
