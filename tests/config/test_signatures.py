"""Signatures and annotations read without import, against the real ones."""

import inspect

import pytest
import yaml

from mbrl import values
from mbrl.config.annotations import fit
from mbrl.config.library import CONFIGS
from mbrl.config.signatures import read_signature
from tests.config import parts
from tests.config.parts import (
    HERE,
)

NODES = {
    f"{file.parent.name}/{file.stem}": yaml.safe_load(file.read_text()) or {}
    for file in sorted(CONFIGS.glob("*/*.yaml"))
}


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for child in node.values():
            yield from targets(child)
    elif isinstance(node, list):
        for child in node:
            yield from targets(child)


@pytest.mark.parametrize("name", NODES)
def test_signatures_read_without_import_are_the_real_ones(name):
    for node in targets(NODES[name]):
        read = read_signature(node["_target_"])
        module, _, attribute = node["_target_"].rpartition(".")
        real = inspect.signature(getattr(__import__(module, fromlist=["_"]), attribute)).parameters
        real = {k: p for k, p in real.items() if p.kind is not p.VAR_KEYWORD}
        assert list(read.parameters) == list(real)
        for key, parameter in real.items():
            required = parameter.default is parameter.empty
            assert (read.parameters[key].default is None) == required, key


@pytest.mark.parametrize("name", [*NODES, "limited"])
def test_constraints_read_without_import_are_the_real_ones(name):
    for node in targets(NODES.get(name, {"_target_": f"{HERE}.Limited"})):
        module, _, attribute = node["_target_"].rpartition(".")
        made = getattr(__import__(module, fromlist=["_"]), attribute)
        function = inspect.unwrap(made.__init__ if isinstance(made, type) else made)
        real = values.annotations_of(function)
        read = read_signature(node["_target_"]).parameters
        for key in real.keys() & read.keys():
            if "Annotated" in str(real[key]) or "Annotated" in str(read[key].annotation):
                assert values.expected(read[key].annotation) == values.expected(real[key]), key


@pytest.mark.parametrize("target", [f"{HERE}.{c}" for c in ("Sizes", "Outer", "Child", "Agent")])
def test_named_tuples_and_inherited_constructors_are_read(target):
    real = inspect.signature(getattr(parts, target.rpartition(".")[2])).parameters
    assert list(read_signature(target).parameters) == list(real)


def test_reexports_are_followed_without_importing(tmp_path, monkeypatch):
    files = {
        "parts/__init__.py": "from .deep import Thing as Renamed\nfrom .deep.core import make\n",
        "parts/deep/__init__.py": "from .core import Thing\n",
        "parts/deep/core.py": "raise ImportError\nfrom dataclasses import dataclass\n"
        "from ..modes import Mode\n@dataclass\nclass Thing:\n    size: int\n"
        "    mode: Mode = 'a'\ndef make(x, *, y=1, **rest): ...\n",
        "parts/modes.py": "from typing import Literal\nMode = Literal['a', 'b']\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    thing = read_signature("parts.Renamed")
    assert list(thing.parameters) == ["size", "mode"] and not thing.is_open
    mode = thing.parameters["mode"].annotation
    assert fit("b", mode) == "b"  # an alias in another file
    with pytest.raises(TypeError):
        fit("c", mode)
    make = read_signature("parts.make")
    assert list(make.parameters) == ["x", "y"] and make.is_open
    for target in ("parts.Missing", "parts.nowhere.X", "absent.X"):
        with pytest.raises(LookupError):
            read_signature(target)


def test_docstrings_are_read():
    read = read_signature(f"{HERE}.Outer")
    assert read.summary == "Hold parts."
    assert read.parameters["inner"].description == "a part of its own."
