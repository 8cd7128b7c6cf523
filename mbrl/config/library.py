"""Library of YAML files: groups are folders, choices are files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mbrl import documents
from mbrl.errors import BadInput

CONFIGS = Path(__file__).parent.parent / "configs"
SWEEPS = "sweep"  # a folder beside the groups: its files start runs and are no part of one


class Library:
    """Configs of the package, and a user's folder beside them.

    Attributes:
        folders: where to look.
        defaults: group -> choice, in the order of train.yaml, the user's own groups before agent.
        plain: what train.yaml holds beside the groups.
        composed: what compose has made of choices, by their groups and names.

    Raises:
        BadInput: if the user's folder is none, or reuses a name.
    """

    def __init__(self, extra: Path | None = None):
        """Read train.yaml, and the names of the files in the user's folder."""
        self.folders = [CONFIGS] if extra is None else [CONFIGS, extra]
        train = read_yaml(CONFIGS / "train.yaml")
        entries = [e for e in train.pop("defaults") if isinstance(e, dict)]
        self.defaults = {
            str(key).removeprefix("optional "): str(name)
            for entry in entries
            for key, name in entry.items()
        }
        self.plain = train
        self.composed: dict[tuple[tuple[str, str], ...], tuple[dict[str, Any], dict[str, str]]] = {}
        self.own_groups: tuple[str, ...] = ()
        if extra is not None:
            self._admit(extra)

    def _admit(self, extra: Path) -> None:
        """Check the user's folder and take its new groups."""
        if not extra.is_dir():
            raise BadInput(f"--config-dir {extra}: no such folder")
        files = [f for f in sorted(extra.glob("*/*.yaml")) if f.parent.name != SWEEPS]
        for file in files:
            inside = file.relative_to(extra)
            if (CONFIGS / inside).exists():
                raise BadInput(f"{file}: {inside} is a built-in choice; rename the file")
        groups = dict.fromkeys(file.parent.name for file in files)
        self.own_groups = tuple(group for group in groups if group not in self.defaults)
        agent = self.defaults.pop("agent")
        rest = {k: self.defaults.pop(k) for k in list(self.defaults) if k == "experiment"}
        self.defaults |= dict.fromkeys(self.own_groups, "none") | {"agent": agent} | rest

    def file(self, group: str, name: str) -> Path | None:
        """Find the YAML of a choice."""
        files = (folder / group / f"{name}.yaml" for folder in self.folders)
        return next((file for file in files if file.is_file()), None)

    def choices(self, group: str) -> list[str]:
        """List a group's choices."""
        names = {file.stem for folder in self.folders for file in folder.glob(f"{group}/*.yaml")}
        optional = {self.defaults[group]} if self.defaults[group] == "none" else set()
        return sorted(names | optional)

    def read(self, group: str, name: str) -> dict[str, Any]:
        """Read a choice's YAML as it stands."""
        file = self.file(group, name)
        return read_yaml(file) if file else {}

    def _readable(self, group: str, name: str) -> dict[str, Any]:
        """Read a choice's YAML, as nothing if it is broken: it stops only a run that chooses it."""
        try:
            return self.read(group, name)
        except BadInput:
            return {}

    def providers(self, need: str) -> list[str]:
        """List the GROUP=NAME whose YAML says `_provides_: [need]`."""
        return [
            f"{group}={name}"
            for group in self.defaults
            for name in self.choices(group)
            if need in gather(self._readable(group, name), "_provides_")
        ]

    def parts(self, group: str) -> list[str]:
        """List the GROUP=NAME that build something."""
        named = ((name, self._readable(group, name)) for name in self.choices(group))
        return [f"{group}={name}" for name, node in named if "_target_" in node]


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a YAML mapping; an empty file is an empty one.

    Raises:
        BadInput: naming the file, and the line where there is one.
    """
    content = documents.read_yaml(file)
    if not isinstance(content, dict | None):
        raise BadInput(f"{file}: should hold KEY: VALUE lines")
    return content or {}


def gather(node: Any, label: str) -> set[str]:
    """Collect a label's entries from a node and all nodes within."""
    if isinstance(node, list):
        return set().union(*(gather(child, label) for child in node))
    if not isinstance(node, dict):
        return set()
    inner = (gather(child, label) for key, child in node.items() if key != label)
    return set(node.get(label) or ()).union(*inner)


def nearest(name: str, options: Iterable[str]) -> list[str]:
    """Return the valid names that a wrong one may have meant, the best first."""
    options, name = list(dict.fromkeys(options)), name.lower()
    prefix, _, last = name.rpartition(".")
    same = [option for option in options if option.lower().rpartition(".")[2] == last]
    if same:
        return same[:3]
    siblings = {o.lower().rpartition(".")[2]: o for o in options if o.rpartition(".")[0] == prefix}
    if prefix and siblings:
        return [siblings[near] for near in difflib.get_close_matches(last, siblings, n=1)]
    wholes = {option.lower(): option for option in reversed(options)}
    ends = {whole.rpartition(".")[2]: option for whole, option in wholes.items()}
    for wanted, known in ((name, wholes), (last, ends)):
        near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.6)
        if near:
            return [known[near[0]]]
    return []
