"""Packages import what is used of them, and offer all that they list."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = [
    *("mbrl.agents", "mbrl.dynamics", "mbrl.envs", "mbrl.envs.tasks"),
    *("mbrl.imagination", "mbrl.learners", "mbrl.planners"),
]


def loaded(code):
    """Return the modules that a fresh process has after some code."""
    code += "; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_has_all_that_it_lists(name):
    package = importlib.import_module(name)
    assert set(package.__all__) <= set(dir(package))
    for exported in package.__all__:
        assert getattr(package, exported).__module__ != name
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'Nothing'"):
        _ = package.Nothing


@pytest.mark.parametrize("name", PACKAGES)
def test_a_name_that_is_also_a_module_is_imported_at_once(name):
    package = importlib.import_module(name)
    file = Path(str(package.__file__))
    modules = {path.stem for path in file.parent.iterdir()}
    tree = ast.parse(file.read_text())
    at_once = {
        alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert set(package.__all__) & modules <= at_once


def test_a_part_imports_no_other_part():
    found = loaded("from mbrl.planners import CEM")
    assert "mbrl.planners.cem" in found
    assert not {"mbrl.planners.up_mpc", "mbrl.planners.exact.mip", "mbrl.relu"} & found
