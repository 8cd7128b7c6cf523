"""Old names in configurations: read for one release, with a warning (tables in `mbrl.moved`)."""

from __future__ import annotations

from typing import Any

from mbrl import moved
from mbrl.config.annotations import Part
from mbrl.config.signatures import read_signature
from mbrl.config.source import find

Node = dict[str, Any]


def rename(config: Node) -> None:
    """Replace the old names of a config by the present ones, in place.

    Args:
        config: parts by group; may hold `choices`.
    """
    choices = config.get("choices")
    if isinstance(choices, dict):
        choices.update({group: rename_choice(group, name) for group, name in choices.items()})
    for group, node in config.items():
        _rename_node(node, str(group))


def rename_choice(group: str, name: Any) -> Any:
    """Return the present name of a choice.

    Args:
        group: such as learner.
        name: old or present.
    """
    old = f"{group}={name}"
    if old not in moved.CHOICES:
        return name
    moved.warn(old, moved.CHOICES[old])
    return moved.CHOICES[old].partition("=")[2]


def rename_key(key: str, config: Node) -> str:
    """Return the present name of a dotted key.

    Args:
        key: as typed.
        config: renamed; a part that the key now names is added to it where it is missing.
    """
    path: list[str] = []
    node: Any = config
    for name in key.split("."):
        names = _new_names(node)
        new = names.get(name, name) if isinstance(node, dict) and name not in node else name
        for part in new.split(".")[:-1]:
            node = _part(node, part)
        path += new.split(".")
        node = node.get(path[-1]) if isinstance(node, dict) else None
    renamed = ".".join(path)
    if renamed != key:
        moved.warn(key, renamed)
    return renamed


def _rename_node(node: Any, key: str) -> None:
    """Rename the old names of a node and the nodes within it."""
    if isinstance(node, list):
        for index, child in enumerate(node):
            _rename_node(child, f"{key}.{index}")
    if not isinstance(node, dict):
        return
    if node.pop("_range_", None) is not None:
        moved.warn(f"{key}._range_", "stated with the parameter, as in num: Annotated[int, Ge(1)]")
    target = str(node.get("_target_", ""))
    if moved.current(target) != target:
        moved.warn(f"{key}._target_={target}", moved.current(target))
        node["_target_"] = moved.current(target)
    for old, new in _new_names(node).items():
        if old in node:
            moved.warn(f"{key}.{old}", f"{key}.{new}")
            *parts, last = new.split(".")
            inner = node
            for part in parts:
                inner = _part(inner, part)
            inner[last] = _merged(inner.get(last), node.pop(old))
    _drop_unset(node)
    values = moved.entry(moved.VALUES, _full_name(node))
    for name, old in node.items():
        if isinstance(old, str) and old in values.get(name, {}):
            node[name] = values[name][old]
            moved.warn(f"{key}.{name}={old}", f"{key}.{name}={node[name]}")
    for name, child in node.items():
        _rename_node(child, f"{key}.{name}")


def _drop_unset(node: Node) -> None:
    """Remove the nulls of parameters that only another class has now: they asked for nothing."""
    for name in moved.entry(moved.SPLIT, _full_name(node)):
        if name in node and node[name] is None:
            del node[name]


def _full_name(node: Node) -> str:
    """Return the full name of what a node's `_target_` names, empty if there is none."""
    try:
        home, name, _ = find(str(node.get("_target_", "")))
    except LookupError:
        return ""
    return f"{home}.{name}"


def _new_names(node: Any) -> dict[str, str]:
    """Return the renamed parameters of a node's class: old name -> new name."""
    return moved.entry(moved.PARAMETERS, _full_name(node)) if isinstance(node, dict) else {}


def _part(node: Node, name: str) -> Node:
    """Return the node of a part, made of the class that the parameter takes if it is missing."""
    if not isinstance(node.get(name), dict):
        kind = read_signature(node["_target_"]).parameters[name].annotation
        kinds = [k for k in (kind, *getattr(kind, "__args__", ())) if isinstance(k, type)]
        node[name] = {"_target_": next(k.target for k in kinds if issubclass(k, Part))}
    return node[name]


def _merged(below: Any, above: Any) -> Any:
    """Return two values of one key merged as Hydra does: above wins, mappings are united."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}
