"""Names found in source files: nothing is imported."""

import ast
import sys

import pytest

from mbrl.config.source import find, find_in

FILES = {
    "room/__init__.py": "from .deep import Thing as Renamed\nfrom room.deep.core import make\n",
    "room/deep/__init__.py": "from .core import Thing\nfrom ..values import LOW\n",
    "room/deep/core.py": (
        "raise ImportError\n"
        "from typing import TYPE_CHECKING\n"
        "import room.values as v\n"
        "from .. import values\n"
        "if TYPE_CHECKING:\n    from ..values import Seen\n"
        "class Thing: ...\n"
        "def make(): ...\n"
        "class Outer:\n    class Hidden: ...\n"
    ),
    "room/values.py": "LOW, HIGH = 1, 2\nSize: int = 3\nMode = 'a'\nempty: int\nclass Seen: ...\n",
}


@pytest.fixture(autouse=True)
def room(tmp_path, monkeypatch):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    assert not any(name.startswith("room.") for name in sys.modules)


@pytest.mark.parametrize(
    "target, home, name",
    [
        ("room.Renamed", "room.deep.core", "Thing"),  # two files further, under another name
        ("room.make", "room.deep.core", "make"),
        ("room.deep.Thing", "room.deep.core", "Thing"),
        ("room.deep.LOW", "room.values", "LOW"),  # two levels up
        ("room.deep.core.Seen", "room.values", "Seen"),  # under TYPE_CHECKING
        ("room.values.Size", "room.values", "Size"),
    ],
)
def test_names_are_found_where_they_are_defined(target, home, name):
    assert find(target)[:2] == (home, name)


@pytest.mark.parametrize(
    "name, value", [("LOW", "1"), ("HIGH", "2"), ("Size", "3"), ("Mode", "'a'")]
)
def test_what_is_assigned_is_the_definition(name, value):
    node = find(f"room.values.{name}").node
    assert isinstance(node, ast.expr) and ast.unparse(node) == value


@pytest.mark.parametrize(
    "target, words",
    [
        ("room.values.Missing", "room.values has no Missing"),
        ("room.values.empty", "room.values has no empty"),  # declared, without a value
        ("room.deep.core.Hidden", "room.deep.core has no Hidden"),  # within a class
        ("room.nowhere.X", "there is no module room.nowhere"),
        ("absent.X", "there is no module absent"),
        ("X", "there is no module X"),
        ("", "there is no module "),
        ("..X", "there is no module ."),
        ("sys.argv", "there is no module sys"),  # without a source
    ],
)
def test_what_is_not_there_is_said(target, words):
    with pytest.raises(LookupError) as caught:
        find(target)
    assert caught.value.args[0].startswith(words)


def test_a_dotted_name_is_looked_up_through_the_modules_imports():
    for name in ("v.LOW", "values.LOW"):
        assert find_in("room.deep.core", name)[:2] == ("room.values", "LOW")
    assert find_in("room.deep.core", "Thing").home == "room.deep.core"
    with pytest.raises(LookupError, match=r"^room\.deep\.core imports no w$"):
        find_in("room.deep.core", "w.LOW")
    with pytest.raises(LookupError, match="imports no w"):
        find_in("room.nowhere", "w.LOW")


def test_a_file_that_changes_is_read_again(room):
    import os

    file = room / "room" / "values.py"
    before = file.stat().st_mtime_ns
    file.write_text(FILES["room/values.py"].replace("Size: int = 3", "Size: int = 4"))
    os.utime(file, ns=(before + 10**9, before + 10**9))
    assert ast.unparse(find("room.values.Size").node) == "4"  # type: ignore[arg-type]
