"""The words of the field: no docstring begins with a private verb, no name is a private word."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILES = [
    f for room in ("mbrl", "scripts", "tests", "examples") for f in (ROOT / room).rglob("*.py")
]
PACKAGE = [f for f in FILES if f.is_relative_to(ROOT / "mbrl") and f.parent.name != "moved"]
NEVER = ("Give", "Take", "Tell", "Say", "Begin", "Know", "Hand")
LEAVE = re.compile(
    r"(^|_)(doubts?|judges?|reading|wary|curious|told|earned|found|asked)(_|$)", re.I
)


def names(file: Path) -> Iterator[str]:
    """Yield the names that a file defines: functions, classes, parameters, variables."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def test_no_docstring_begins_with_a_private_verb():
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module):
                first = (ast.get_docstring(node) or "").split(" ")[0]
                assert first not in NEVER, f"{file.relative_to(ROOT)}: {first}"


def test_no_name_of_the_package_is_a_private_word():
    for file in PACKAGE:
        for name in names(file):
            plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
            assert not LEAVE.search(plain), f"{file.relative_to(ROOT)}: {name}"


@pytest.mark.parametrize("group", sorted(p.name for p in (ROOT / "mbrl/configs").iterdir()))
def test_no_key_of_a_configuration_is_a_private_word(group):
    for file in (ROOT / "mbrl/configs" / group).rglob("*.yaml"):
        pending = [yaml.safe_load(file.read_text())]
        while pending:
            node = pending.pop()
            children = node.values() if isinstance(node, dict) else node
            if isinstance(node, dict):
                assert not [key for key in node if LEAVE.search(str(key))], file
            pending += [child for child in children or () if isinstance(child, dict | list)]
