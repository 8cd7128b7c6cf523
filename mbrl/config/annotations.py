"""Annotations read from source: as types, without importing the module that holds them."""

from __future__ import annotations

import ast
import functools
import math
import operator
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types

from mbrl.config.source import Definition, find_in
from mbrl.values import AtMost, InsideIf

_LISTS = {"list", "List", "Sequence", "Iterable", "Collection"}
_DICTS = {"dict", "Dict", "Mapping", "MutableMapping"}
_SIMPLE: dict[str, Any] = {
    **{"int": int, "float": float, "bool": bool, "str": str, "None": type(None)},
    **{"Path": str, "device": str, "Any": Any, "object": Any},
    "dtype": Literal["float32", "float64"],  # config.build makes it torch's
    **{"tuple": tuple[Any, ...], "Tuple": tuple[Any, ...]},
    **dict.fromkeys(_LISTS, list[Any]),
    **dict.fromkeys(_DICTS, dict[Any, Any]),
}
_OWN: dict[str, Any] = {"AtMost": AtMost, "InsideIf": InsideIf}
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


class Part:
    """Annotation of a parameter that takes a part: a mapping with a `_target_`."""

    target: str  # full name of the annotated class


class Unknown:
    """Annotation that is out of sight: the constructor itself decides."""


@functools.cache
def _part(target: str) -> type[Part]:
    """Return the Part that a class stands for."""
    return type(target.rpartition(".")[2], (Part,), {"target": target})


@functools.cache
def _unknown(name: str) -> type[Unknown]:
    """Return the Unknown of an annotation."""
    return type(name, (Unknown,), {})


def resolve(node: ast.expr | None, home: str) -> Any:
    """Return the type that an annotation means.

    Aliases are followed into other modules. A class stands for a part, and what cannot be found
    is Unknown.

    Args:
        node: the annotation as parsed, None if there is none.
        home: module that it was read from.
    """
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return resolve(ast.parse(node.value, mode="eval").body, home)
        return type(None) if node.value is None else _unknown(repr(node.value))
    if isinstance(node, ast.BinOp):
        return Union[resolve(node.left, home), resolve(node.right, home)]  # noqa: UP007
    if isinstance(node, ast.Subscript):
        inner = node.slice
        parts = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
        return _resolve_generic(_last_name(node.value), parts, home)
    if node is None:
        return Unknown
    if not isinstance(node, ast.Name | ast.Attribute):
        return _unknown(ast.unparse(node))
    name = _last_name(node)
    if name in _SIMPLE:
        return _SIMPLE[name]
    definition = _definition(node, home)
    if definition is None:
        return _unknown(name)
    if isinstance(definition.node, ast.ClassDef | ast.FunctionDef):
        return _part(f"{definition.home}.{definition.name}")
    return resolve(definition.node, definition.home)


def _resolve_generic(kind: str, parts: list[ast.expr], home: str) -> Any:
    """Return the type that kind[parts] means."""
    if kind == "Literal":
        return Literal[tuple(ast.literal_eval(part) for part in parts)]
    if kind == "Annotated":
        constraints = [_constraint(part, home) for part in parts[1:]]
        known = tuple(constraint for constraint in constraints if constraint is not None)
        base = resolve(parts[0], home)
        return Annotated[(base, *known)] if known else base
    inner = [resolve(part, home) for part in parts if ast.unparse(part) != "..."]
    if kind == "Optional":
        return Union[inner[0], None]  # noqa: UP007
    if kind == "Union":
        return Union[tuple(inner)]  # noqa: UP007
    if kind in ("tuple", "Tuple"):
        return tuple[inner[0], ...] if len(inner) < len(parts) else tuple[tuple(inner)]
    if kind in _LISTS:
        return list[inner[0]]
    if kind in _DICTS:
        return dict[inner[0], inner[-1]]
    return _unknown(kind)


def _constraint(node: ast.expr, home: str) -> Any:
    """Return the constraint that an expression such as Ge(1) makes, None if it is another mark."""
    if isinstance(node, ast.Name | ast.Attribute):
        definition = _definition(node, home)  # a constraint with a name of its own
        if definition is None or not isinstance(definition.node, ast.Call):
            return None
        return _constraint(definition.node, definition.home)
    if not isinstance(node, ast.Call):
        return None
    definition = _definition(node.func, home)
    name = definition.name if definition else _last_name(node.func)
    made = _OWN.get(name) or getattr(annotated_types, name, None)
    if made is None:
        return None
    try:
        arguments = [evaluate(argument, home) for argument in node.args]
        named = {str(k.arg): evaluate(k.value, home) for k in node.keywords}
    except (LookupError, ArithmeticError):
        return None
    return made(*arguments, **named)


def evaluate(node: ast.expr, home: str) -> Any:
    """Return the value of a literal, a constant of a module, or arithmetic and tuples of these.

    Args:
        node: the expression.
        home: the module that it stands in.

    Raises:
        LookupError: if it is something else.
    """
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -evaluate(node.operand, home)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](evaluate(node.left, home), evaluate(node.right, home))
    if isinstance(node, ast.List | ast.Tuple):
        return [evaluate(item, home) for item in node.elts]
    if isinstance(node, ast.Dict) and all(node.keys):
        pairs = zip(node.keys, node.values, strict=True)
        return {evaluate(key, home): evaluate(value, home) for key, value in pairs if key}
    text = ast.unparse(node)
    if text in ("math.inf", "np.inf", "torch.inf"):
        return math.inf
    if text in ("torch.float32", "torch.float64"):
        return text.removeprefix("torch.")
    definition = _definition(node, home)
    if definition is None or isinstance(definition.node, ast.ClassDef | ast.FunctionDef):
        raise LookupError(ast.unparse(node))
    return evaluate(definition.node, definition.home)


def _definition(node: ast.expr, home: str) -> Definition | None:
    """Return what a name means in a module; None if that is out of sight."""
    try:
        return find_in(home, ast.unparse(node))
    except LookupError:
        return None


def _last_name(node: ast.expr) -> str:
    """Return the last part of a dotted name."""
    return ast.unparse(node).split(".")[-1]


def fit(value: Any, annotation: Any) -> Any:
    """Convert a YAML value to a type: 1e5 to int, 1 to float; a path stays a string.

    Args:
        value: as YAML gives it.
        annotation: as resolve returns it.

    Raises:
        TypeError: if it cannot be converted.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return fit(value, parts[0])
    if origin is Union:
        return _fit_any(value, parts)
    if origin is Literal:
        return _need(any(value == c and type(value) is type(c) for c in parts), value)
    if origin in (list, tuple):
        _need(isinstance(value, list), value)
        each = parts if origin is tuple and parts[-1] is not ... else parts[:1] * len(value)
        _need(len(value) == len(each), value)
        return [fit(item, part) for item, part in zip(value, each, strict=True)]
    if origin is dict:
        _need(isinstance(value, dict), value)
        return {fit(k, parts[0]): fit(v, parts[1]) for k, v in value.items()}
    if annotation is int:
        whole = isinstance(value, float) and value.is_integer()
        return int(_need(whole or type(value) is int, value))
    if annotation is float:
        return float(_need(type(value) in (int, float), value))
    if annotation in (bool, str, type(None)):
        return _need(type(value) is annotation, value)
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return _need(isinstance(value, dict) and "_target_" in value, value)
    return value


def _fit_any(value: Any, options: tuple[Any, ...]) -> Any:
    """Convert to one of several types, the value's own first.

    Raises:
        TypeError: if it fits none.
    """
    for option in sorted(options, key=lambda o: base(o) is not type(value)):
        try:
            return fit(value, option)
        except TypeError:
            continue
    raise TypeError


def base(annotation: Any) -> Any:
    """Return a type without its constraints."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def parts_of(annotation: Any) -> list[type[Part]]:
    """Return the Parts in an annotation, those within `X | None` and lists too."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [part for inner in get_args(annotation) for part in parts_of(inner)]


def _need(condition: bool, value: Any) -> Any:
    """Return the value if the condition holds.

    Raises:
        TypeError: if it does not.
    """
    if not condition:
        raise TypeError
    return value
