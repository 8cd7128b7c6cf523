"""YAML and JSON that may come from a stranger: size, depth and aliases are bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from mbrl.errors import BadInput
from mbrl.files import MB, read_regular

YAML_LIMIT = MB // 16  # bytes; a resolved config has about 5,000
_MAX_NODES = 20_000  # of a YAML document, aliases expanded
_MAX_DEPTH = 50
_TOO_LARGE = 2**64  # of whole numbers


class Unreadable(Exception):
    """Error of a text that is no document, or too large a one.

    Args:
        reason: why it is not read.
        line: where, None if that is not known.
    """

    def __init__(self, reason: str, line: int | None = None):
        """Store the reason."""
        super().__init__(reason)
        self.reason, self.line = reason, line


def read_yaml(file: Path) -> Any:
    """Read a YAML file.

    Args:
        file: where it is.

    Raises:
        BadInput: naming the file, and the line where there is one.
        FileNotFoundError: if there is none.
    """
    try:
        return parse_yaml(read_regular(file, YAML_LIMIT))
    except Unreadable as error:
        where = "" if error.line is None else f", line {error.line}"
        raise BadInput(f"{file}{where}: {error.reason}") from None


def parse_yaml(content: bytes | str) -> Any:
    """Read a YAML document.

    Args:
        content: the text.

    Raises:
        Unreadable: if it is none, too deep, or too large with its aliases expanded.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _measure(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (Unreadable, MemoryError):
        raise
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except Exception as error:  # whatever PyYAML makes of it
        mark = getattr(error, "problem_mark", None)
        raise Unreadable("not readable as YAML", mark.line + 1 if mark else None) from None


def _measure(node: yaml.Node, known: dict[int, int], depth: int = 0) -> int:
    """Return the number of nodes below a node and itself, aliases expanded.

    Raises:
        Unreadable: if they are too many, too deep or without an end.
    """
    line = node.start_mark.line + 1 if node.start_mark else None
    if depth > _MAX_DEPTH:
        raise Unreadable("nested too deeply", line)
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) in known:
        if known[id(node)] < 0:
            raise Unreadable("an alias stands within its own anchor", line)
        return known[id(node)]
    known[id(node)] = -1
    children = node.value
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        children = [child for pair in children for child in pair]
    total = 1 + sum(_measure(child, known, depth + 1) for child in children)
    if total > _MAX_NODES:
        raise Unreadable(f"more than {_MAX_NODES} entries, aliases expanded", line)
    known[id(node)] = total
    return total


def _check_keys(node: yaml.MappingNode) -> None:
    """Check that no key stands twice in a mapping: PyYAML takes the last one in silence.

    Raises:
        Unreadable: naming it.
    """
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise Unreadable(f"the key {key.value:.60} stands twice", key.start_mark.line + 1)
            seen.add(key.value)


def plain(value: Any, key: str = "") -> Any:
    """Return what YAML holds, if it is only text, numbers, booleans, lists and mappings.

    Args:
        value: as parse_yaml returns it.
        key: its dotted name.

    Raises:
        BadInput: naming the entry that is something else, or has a key that is no text.
    """
    if isinstance(value, dict):
        for name in value:
            if not isinstance(name, str):
                raise BadInput(f"{key or 'the top'}: its key {name!r:.60} should be text")
        return {
            name: plain(child, f"{key}.{name}" if key else name) for name, child in value.items()
        }
    if isinstance(value, list):
        return [plain(child, f"{key}.{index}") for index, child in enumerate(value)]
    if isinstance(value, int) and abs(value) >= _TOO_LARGE:
        raise BadInput(f"{key}: a number of {value.bit_length()} bits; should have at most 64")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise BadInput(f"{key}={value!r:.60}: should be text, a number, a list or a mapping")


def parse_json(content: bytes | str) -> Any:
    """Read a JSON document.

    Args:
        content: the text.

    Raises:
        Unreadable: if it is none, or too deep.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except ValueError:
        raise Unreadable("not readable as JSON") from None
