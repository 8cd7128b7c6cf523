"""Grammar of the command line: KEY=VALUE, in every form that a shell or a sweep writes it.

W&B's macros: `${args}` writes --key=value, `${args_no_hyphens}` key=value, `${args_append_hydra}`
+key=value and `${args_override_hydra}` ++key=value, values as Python prints them; nested parameters
come as a {mapping} under the outer key.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from mbrl.errors import BadInput

_INT = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(
    r"[-+]?([0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|[-+]?\.?inf(inity)?|\.?nan", re.I
)
_WORDS = {"null": None, "none": None, "~": None, "true": True, "false": False}


class Argument(NamedTuple):
    """One KEY=VALUE as typed."""

    key: str  # dotted
    text: str


def parse_arguments(arguments: Sequence[str]) -> list[Argument]:
    """Parse key=value, --key=value, +key=value and ++key=value.

    Raises:
        BadInput: if there is no `=`, no key or no value.
    """
    parsed = []
    for argument in arguments:
        bare = re.sub(r"^(--|\+\+|\+)", "", argument)
        key, equals, text = bare.partition("=")
        key = key.strip()
        if not equals:
            raise BadInput(f"{argument}: write KEY=VALUE, for example seed=1")
        if not key:
            raise BadInput(f"{argument}: the key before = is missing, for example seed=1")
        if not text:
            raise BadInput(f"{argument}: the value after = is missing; null stands for nothing")
        parsed.append(Argument(key, text))
    return parsed


def parse_value(text: str) -> Any:
    """Read a value: null, a boolean, a number, a [list], a {mapping}, or else the string itself.

    None and True as Python writes them are read too; what is quoted is a string.
    """
    if text.lstrip()[:1] in tuple("[{\"'"):
        try:
            value = _from_python(ast.parse(text.strip(), mode="eval").body)
            if isinstance(value, list | dict | str):
                return value
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            pass
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError:
            return text
        return text if node is None else _from_yaml(node)
    return _scalar(text)


def _from_python(node: ast.expr) -> Any:
    """Read a literal as Python or JSON prints it, infinities included.

    Raises:
        ValueError: if it is none.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        return node.value
    if isinstance(node, ast.List):
        return [_from_python(child) for child in node.elts]
    if isinstance(node, ast.Dict) and all(node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return {_from_python(key): _from_python(child) for key, child in pairs if key}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _from_python(node.operand)
        if isinstance(value, int | float):
            return -value
    if isinstance(node, ast.Name) and not isinstance(value := _scalar(node.id), str):
        return value
    raise ValueError


def _from_yaml(node: yaml.Node) -> Any:
    """Read YAML's structure, and scalars as everywhere else on the command line."""
    if isinstance(node, yaml.SequenceNode):
        return [_from_yaml(child) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        return {_from_yaml(key): _from_yaml(child) for key, child in node.value}
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return _scalar(node.value) if plain else node.value


def _scalar(text: str) -> Any:
    """Read a plain word; YAML 1.1's octal, base-60 and yes/no are left out on purpose."""
    word = text.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    if _INT.fullmatch(word):
        return int(word.rstrip("_").replace("_", ""))
    if _FLOAT.fullmatch(word):
        return float(word.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    return text
