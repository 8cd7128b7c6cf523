"""Signatures and annotations read without import, against the real ones."""

import inspect

import pytest
import yaml

from mbrl import values
from mbrl.config.annotations import fit, resolve
from mbrl.config.library import CONFIGS, nearest
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


@pytest.mark.parametrize(
    "annotation, good, bad",
    [
        ("int", [3, -1, 2.0], [2.5, True, "3", None, [1]]),
        ("float", [3, 0.5], [True, "x", None]),
        ("bool", [True], [1, "true"]),
        ("str", ["x", ""], [1, None]),
        ("str | None", ["x", None], [1]),
        ("int | None", [None, 3], ["x"]),
        ("Optional[float]", [None, 1], ["x"]),
        ("Union[int, str]", [1, "x"], [1.5, None]),
        ("Literal['a', 1]", ["a", 1], ["b", 2, True, None]),
        ("tuple[int, float]", [[1, 2]], [[1], [1, 2, 3], [1.5, 2], 3, "ab"]),
        ("tuple[int, ...]", [[], [1, 2, 3]], [["x"], 1]),
        ("list[str]", [["a"]], [[1], "a"]),
        ("Sequence[tuple[int, int]]", [[[1, 2]]], [[1, 2]]),
        ("dict[str, int]", [{"a": 1}], [{"a": "x"}, []]),
        ("'tuple[int, int] | None'", [None, [1, 2]], [[1]]),
        ("Inner", [{"_target_": "x"}], [1, {"a": 1}, None]),
        ("Inner | None", [None], [1]),
        ("torch.device | str", ["cpu"], [1]),
        ("Unheard", [1, "x", None], []),
    ],
)
def test_values_fit_annotations(annotation, good, bad):
    import ast

    kind = resolve(ast.parse(annotation, mode="eval").body, HERE)
    for value in good:
        assert fit(value, kind) == value
    for value in bad:
        with pytest.raises(TypeError):
            fit(value, kind)


def test_nearest_knows_a_key_without_its_group():
    assert nearest("tau", ["agent.tau", "learner.tau", "seed"]) == ["agent.tau", "learner.tau"]
    assert nearest("learner.tua", ["agent.tau", "learner.tau"]) == ["learner.tau"]
    assert nearest("qqqq", ["agent.tau"]) == []
