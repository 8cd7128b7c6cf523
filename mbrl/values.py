"""What values a parameter may have, said once with the parameter and checked wherever it is given.

    @checked
    def __init__(
        self,
        *,
        num_members: Count = 7,
        num_elites: Annotated[int, Ge(1), AtMost("num_members")] = 5,
    ): ...

`checked` refuses a wrong value from Python with a BadInput (a ValueError) that names the parameter;
the command line reads the same annotations from the source, without importing the class. The
constraints are those of the package annotated-types, and `AtMost` for a limit that is another
parameter. Checked are numbers with constraints, whole numbers, booleans, `Literal` choices, and
the same inside `X | None`, lists and tuples; anything else is left to the constructor.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Interval, Le, Lt

from mbrl.errors import BadInput

P = ParamSpec("P")
R = TypeVar("R")

Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]


@dataclass(frozen=True)
class AtMost:
    """Limit of a number: another parameter of the same constructor."""

    name: str  # of the other parameter


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a constructor or function against its annotations at each call.

    Args:
        function: whose annotated parameters are checked.

    Raises:
        BadInput: at a call, naming the parameter, its value and what would be right.
    """
    signature = inspect.signature(function)
    annotations: dict[str, Any] = {}  # resolved at the first call: an import may come later

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not annotations:
            annotations.update(_resolve(function, signature))
        given = signature.bind_partial(*args, **kwargs)
        given.apply_defaults()
        for name, annotation in annotations.items():
            if name in given.arguments:
                check_value(name, given.arguments[name], annotation, given.arguments)
        return function(*args, **kwargs)

    return call


def check_value(name: str, value: Any, annotation: Any, others: dict[str, Any]) -> None:
    """Check one value against an annotation.

    Args:
        name: of the parameter.
        value: what it was given.
        annotation: a type, resolved.
        others: the other parameters by name, for AtMost.

    Raises:
        BadInput: naming the parameter, its value and what would be right.
    """
    problem = _problem(value, annotation, others)
    if problem:
        raise BadInput(f"{name}={value!r}: should be {problem}")


def describe(constraints: tuple[Any, ...]) -> str:
    """Return the words for the constraints of a number, such as "at least 1"."""
    words = []
    for limit in constraints:
        if isinstance(limit, Interval):
            parts = [Ge(limit.ge) if limit.ge is not None else None]
            parts += [Gt(limit.gt) if limit.gt is not None else None]
            parts += [Le(limit.le) if limit.le is not None else None]
            parts += [Lt(limit.lt) if limit.lt is not None else None]
            words.append(describe(tuple(part for part in parts if part is not None)))
        elif isinstance(limit, Ge):
            words.append(f"at least {limit.ge}")
        elif isinstance(limit, Gt):
            words.append(f"above {limit.gt}")
        elif isinstance(limit, Le):
            words.append(f"at most {limit.le}")
        elif isinstance(limit, Lt):
            words.append(f"below {limit.lt}")
        elif isinstance(limit, AtMost):
            words.append(f"at most {limit.name}")
    return " and ".join(words)


def satisfies(value: Any, limit: Any, others: dict[str, Any]) -> bool:
    """Return whether a number satisfies one constraint; others resolve AtMost."""
    if isinstance(limit, Interval):
        return (
            (limit.ge is None or value >= limit.ge)
            and (limit.gt is None or value > limit.gt)
            and (limit.le is None or value <= limit.le)
            and (limit.lt is None or value < limit.lt)
        )
    if isinstance(limit, Ge):
        return value >= limit.ge
    if isinstance(limit, Gt):
        return value > limit.gt
    if isinstance(limit, Le):
        return value <= limit.le
    if isinstance(limit, Lt):
        return value < limit.lt
    if isinstance(limit, AtMost):
        other = others.get(limit.name)
        return not isinstance(other, numbers.Real) or value <= other
    return True


def _resolve(function: Callable[..., Any], signature: inspect.Signature) -> dict[str, Any]:
    """Evaluate the annotations that can be: names imported for the type checker only cannot."""
    scope = inspect.unwrap(function).__globals__
    resolved: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        annotation = parameter.annotation
        if isinstance(annotation, str):
            try:
                annotation = eval(annotation, scope)  # the source's own annotation
            except NameError:
                continue
        if annotation is not parameter.empty:
            resolved[name] = annotation
    return resolved


def _problem(value: Any, annotation: Any, others: dict[str, Any]) -> str:
    """Return what a value should be, or an empty string if it is right."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        wrong = _problem(value, parts[0], others)
        limits = parts[1:]
        if wrong or not isinstance(value, numbers.Real):
            return wrong and " and ".join(filter(None, (wrong, describe(limits))))
        right = all(satisfies(value, limit, others) for limit in limits)
        return "" if right else describe(limits)
    if origin in (Union, types.UnionType):
        problems = [_problem(value, part, others) for part in parts]
        return "" if "" in problems else " or ".join(problems)
    if origin is Literal:
        return "" if value in parts else f"one of {', '.join(map(str, parts))}"
    if origin in (list, tuple) and isinstance(value, list | tuple):
        kinds = parts if origin is tuple and parts[-1:] != (...,) else parts[:1] * len(value)
        if len(kinds) != len(value):
            return f"{len(kinds)} values"
        return next(filter(None, map(_problem, value, kinds, [others] * len(value))), "")
    if annotation is type(None):
        return "" if value is None else "None"
    if annotation is bool:
        return "" if isinstance(value, bool) else "True or False"
    if annotation is int:
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return "" if whole else "a whole number"
    if annotation is float:
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        return "" if number and value == value else "a number"
    return ""
