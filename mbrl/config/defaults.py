"""Defaults of constructors, written into a config: a run stays described when one changes later."""

from __future__ import annotations

import ast
import contextlib
from typing import Any

from mbrl.config.annotations import evaluate
from mbrl.config.build import FROM_ENV, FROM_RUN
from mbrl.config.signatures import Parameter, read_signature
from mbrl.config.source import find_in

Node = dict[str, Any]


def add_defaults(config: Node) -> None:
    """Add the defaults of every part that is built, and of the parts within it, in place.

    What is filled in when the parts are built stays out, and so does a default that YAML cannot
    hold.

    Args:
        config: checked, with `choices` in building order.
    """
    given = {*FROM_RUN, *config["choices"]}
    for group in config["choices"]:
        _complete(config.get(group), given)
        given |= {"env", *FROM_ENV}


def default_of(parameter: Parameter) -> Any:
    """Return a parameter's default as a config holds it: a settings object is a node.

    Args:
        parameter: one that has a default.

    Raises:
        LookupError: if a config cannot hold it.
    """
    default = parameter.default
    assert default is not None
    if isinstance(default, ast.Call) and not default.args:
        home, name, node = find_in(parameter.home, ast.unparse(default.func))
        if isinstance(node, ast.ClassDef):
            named = {str(k.arg): evaluate(k.value, parameter.home) for k in default.keywords}
            return {"_target_": f"{home}.{name}", **named}
    return evaluate(default, parameter.home)


def _complete(node: Any, given: set[str]) -> None:
    """Add the defaults of a node and of the nodes within it.

    Args:
        node: of a part, or a list or mapping that holds parts.
        given: parameters that are filled in when the part is built.
    """
    if isinstance(node, dict) and "_target_" in node:
        parameters = read_signature(node["_target_"]).parameters
        for name, parameter in parameters.items():
            if name not in node and name not in given and parameter.default is not None:
                with contextlib.suppress(LookupError):
                    node[name] = default_of(parameter)
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        _complete(child, given)
