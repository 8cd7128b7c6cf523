"""Constraints on the values of parameters: stated in the annotation, checked wherever one is given.

    @checked
    def __init__(
        self,
        *,
        num_members: Count = 7,
        num_elites: Annotated[int, Ge(1), AtMost("num_members")] = 5,
    ): ...

`checked` refuses a wrong value from Python with a BadInput (a ValueError) that names the parameter;
the command line reads the same annotations from the source, without importing the class. The
constraints are those of the package annotated-types, and two that look at another parameter:
`AtMost` and `InsideIf`. Checked are numbers, booleans, strings, `Literal` choices, and the same
inside `X | None`, lists and tuples; anything else is left to the constructor. A number with a
constraint is finite, unless the constraint itself is infinite, as in `Le(math.inf)`. No whole
number is beyond `LARGEST`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import numbers
import types
from collections.abc import Callable
from typing import (
    Annotated,
    Any,
    Literal,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    overload,
)

from annotated_types import Ge, Gt, Interval, Le, Lt

from mbrl import moved
from mbrl.errors import BadInput, UnknownArgument

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Count = Annotated[int, Ge(1)]
CountOrZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Interval(ge=0, le=1)]
Seed = Annotated[int, Interval(ge=0, le=2147483647)]
Finite = Annotated[float, Gt(-math.inf), Lt(math.inf)]
Width = Annotated[int, Interval(ge=1, le=10_000)]  # of a layer
NumEnvs = Annotated[int, Interval(ge=1, le=100_000)]  # stepped at once
NumSeeds = Annotated[int, Interval(ge=1, le=1000)]  # that learn as one batch
NumMembers = Annotated[int, Interval(ge=1, le=1000)]  # networks or equations of an ensemble
Depth = Annotated[int, Interval(ge=1, le=1000)]  # layers of a network
Degree = Annotated[int, Interval(ge=1, le=20)]  # of a polynomial
NumThreads = Annotated[int, Interval(ge=1, le=1024)]  # more would exhaust the system's threads

LARGEST = 10**12  # of whole numbers

_WORDS: dict[Any, str] = {
    type(None): "None",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "text",
    Any: "a value",
}


@dataclasses.dataclass(frozen=True)
class AtMost:
    """Limit of a number: another parameter of the same constructor."""

    name: str  # of the other parameter


@dataclasses.dataclass(frozen=True)
class InsideIf:
    """Limit of a fraction: neither 0 nor 1 if another parameter is above 0."""

    name: str  # of the other parameter


@overload
def checked(function: type[T]) -> type[T]: ...
@overload
def checked(function: Callable[P, R]) -> Callable[P, R]: ...
def checked(function: Any) -> Any:
    """Check the arguments of a constructor or function against its annotations at each call.

    Args:
        function: whose annotated parameters are checked; of a dataclass, its constructor's.

    Raises:
        BadInput: at a call, naming the parameter, its value and what would be right.
    """
    if isinstance(function, type):
        setattr(function, "__init__", checked(vars(function)["__init__"]))  # noqa: B010
        return function
    signature = inspect.signature(function)
    annotations: dict[str, Any] = {}  # resolved at the first call: an import may come later

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not annotations:
            annotations.update(annotations_of(function))
        _rename(function, signature, annotations, kwargs)
        _check_names(function, signature, kwargs)
        given = _bind(function, signature, args, kwargs)
        given.apply_defaults()
        for name, annotation in annotations.items():
            if name in given.arguments:
                check_value(name, given.arguments[name], annotation, given.arguments)
        if given.arguments.get("device") not in (None, "cpu"):
            _check_device(given.arguments["device"])
        return function(*args, **kwargs)

    return call


def _check_device(value: Any) -> None:
    """Check that there is a device of torch.

    Raises:
        BadInput: if there is none.
    """
    import torch

    try:
        device = torch.device(value)
    except (RuntimeError, TypeError):
        raise BadInput(f"device={value!r}: should be cpu, cuda, or cuda:N") from None
    count = torch.cuda.device_count() if device.type == "cuda" else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise BadInput(f"device={value}: there are {count} CUDA devices here; use device=cpu")


def _bind(
    function: Callable[..., Any],
    signature: inspect.Signature,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> inspect.BoundArguments:
    """Return the arguments by name.

    Raises:
        UnknownArgument: if there are more by position than the function has.
    """
    try:
        return signature.bind_partial(*args, **kwargs)
    except TypeError as error:
        taker, options = _taker(function), ", ".join(_options(signature))
        raise UnknownArgument(f"{taker}: {error}; there are {options}") from None


def _taker(function: Callable[..., Any]) -> str:
    """Return the name of a function, or of the class of a constructor."""
    return function.__qualname__.removesuffix(".__init__")


def _options(signature: inspect.Signature) -> list[str]:
    """Return the names of the parameters that a user gives; those by name alone with a `=`."""
    return [
        f"{name}=" if parameter.kind is parameter.KEYWORD_ONLY else name
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls")
    ]


def _check_names(
    function: Callable[..., Any], signature: inspect.Signature, given: dict[str, Any]
) -> None:
    """Check that a function has parameters of these names.

    Raises:
        UnknownArgument: naming the nearest.
    """
    parameters = signature.parameters
    if given.keys() <= parameters.keys() or any(
        p.kind is p.VAR_KEYWORD for p in parameters.values()
    ):
        return
    name = next(iter(given.keys() - parameters.keys()))
    options = [option.rstrip("=") for option in _options(signature)]
    near = difflib.get_close_matches(name, options, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(options)}"
    raise UnknownArgument(f"{name}: {_taker(function)} takes no such argument; {hint}")


def _rename(
    function: Callable[..., Any],
    signature: inspect.Signature,
    annotations: dict[str, Any],
    given: dict[str, Any],
) -> None:
    """Replace old names and values among keyword arguments by those of `mbrl.moved`."""
    name = f"{function.__module__}.{function.__qualname__}".removesuffix(".__init__")
    for parameter, values in moved.entry(moved.VALUES, name).items():
        old = given.get(parameter)
        if isinstance(old, str) and old in values:
            moved.warn(f"{parameter}={old!r}", repr(values[old]))
            given[parameter] = values[old]
    if signature.parameters.keys() >= given.keys():
        return
    new_names = moved.entry(moved.PARAMETERS, name)
    parts: dict[str, dict[str, Any]] = {}
    for old in given.keys() & new_names.keys() - signature.parameters.keys():
        new, dot, inner = new_names[old].partition(".")
        moved.warn(f"{old}=", f"{new_names[old]}=")
        (parts.setdefault(new, {}) if dot else given)[inner or new] = given.pop(old)
    for new, values in parts.items():
        part = given.get(new, signature.parameters[new].default)
        if dataclasses.is_dataclass(part) and not isinstance(part, type):
            given[new] = dataclasses.replace(part, **values)
        else:
            kinds = get_args(annotations[new]) or (annotations[new],)
            given[new] = next(kind for kind in kinds if isinstance(kind, type))(**values)


def check_value(
    name: str, value: Any, annotation: Any, others: dict[str, Any], text: str | None = None
) -> None:
    """Check one value against an annotation.

    Args:
        name: of the parameter.
        value: what it was given.
        annotation: a type, resolved.
        others: the other parameters by name, for AtMost and InsideIf.
        text: how the message writes the value, None for its repr.

    Raises:
        BadInput: naming the parameter, its value and what would be right.
    """
    problem = _problem(value, annotation, others)
    if problem:
        shown = repr(value) if text is None else text
        raise BadInput(f"{name}={shown}: should be {problem}")


def expected(annotation: Any, others: dict[str, Any] | None = None) -> str:
    """Return what values an annotation takes, in words.

    Args:
        annotation: a type, resolved.
        others: the other parameters by name, for AtMost and InsideIf.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = describe(parts[1:], others)
        return ", ".join(filter(None, (expected(parts[0], others), limits)))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(expected(part, others) for part in parts))
    if origin is Literal:
        return f"one of {', '.join(map(str, parts))}"
    if origin in (list, tuple):
        each = list(dict.fromkeys(expected(part, others) for part in parts if part is not ...))
        number = "" if origin is list or parts[-1] is ... else f" of {len(parts)} values"
        return f"a list{number}: {', '.join(each)}{' each' * (len(each) == 1)}"
    if origin is dict:
        each = expected(parts[1], others)
        return "a mapping" + (f", for each name {each}" if each != _WORDS[Any] else "")
    return _WORDS.get(annotation) or getattr(annotation, "__name__", "a value")


def describe(constraints: tuple[Any, ...], others: dict[str, Any] | None = None) -> str:
    """Return the words for the constraints of a number, such as "at least 1".

    Args:
        constraints: those of annotated-types, AtMost and InsideIf.
        others: the other parameters by name: AtMost adds the value of its own, InsideIf has no
            words where it does not hold.
    """
    words = []
    for limit in constraints:
        if isinstance(limit, Interval):
            words.append(describe(tuple(limit), others))
        elif isinstance(limit, Ge):
            words.append(f"at least {limit.ge}")
        elif isinstance(limit, Gt):
            words += [f"above {limit.gt}"] * (limit.gt != -math.inf)
        elif isinstance(limit, Le):
            words.append(f"at most {limit.le}")
        elif isinstance(limit, Lt):
            words.append("finite" if limit.lt == math.inf else f"below {limit.lt}")
        elif isinstance(limit, AtMost):
            other = (others or {}).get(limit.name)
            value = f"={other}" if isinstance(other, numbers.Real) else ""
            words.append(f"at most {limit.name}{value}")
        elif isinstance(limit, InsideIf) and (others is None or _is_positive(others, limit.name)):
            words.append(f"above 0 and below 1 with {limit.name}")
    return " and ".join(words)


def satisfies(value: Any, limit: Any, others: dict[str, Any]) -> bool:
    """Return whether a number satisfies one constraint.

    Args:
        value: the number.
        limit: a constraint of annotated-types, AtMost or InsideIf.
        others: the other parameters by name, for AtMost and InsideIf.
    """
    if isinstance(limit, Interval):
        return all(satisfies(value, part, others) for part in limit)
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
    if isinstance(limit, InsideIf):
        return not _is_positive(others, limit.name) or 0 < value < 1
    return True


def annotations_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function's parameters, without those imported for pyright only.

    Args:
        function: whose parameters are meant.
    """
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    resolved: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
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
        if _problem(value, parts[0], others):
            return _beyond(value) or expected(annotation, others)
        if not isinstance(value, numbers.Real):
            return ""
        limits = parts[1:]
        if not all(satisfies(value, limit, others) for limit in limits):
            return describe(limits, others)
        infinite = isinstance(value, float) and math.isinf(value)
        if infinite and not any(_is_infinite(limit) for limit in limits):
            return " and ".join(filter(None, (describe(limits, others), "finite")))
        return _beyond(value)
    if origin in (Union, types.UnionType):
        problems = [_problem(value, part, others) for part in parts]
        return "" if "" in problems else " or ".join(dict.fromkeys(problems))
    if origin is Literal:
        right = any(value == part and type(value) is type(part) for part in parts)
        return "" if right else expected(annotation)
    if origin is dict and not isinstance(value, dict):
        return expected(annotation)
    if origin in (list, tuple) and isinstance(value, list | tuple):
        kinds = parts if origin is tuple and parts[-1:] != (...,) else parts[:1] * len(value)
        if len(kinds) != len(value):
            return expected(annotation, others)
        return next(filter(None, map(_problem, value, kinds, [others] * len(value))), "")
    right = {
        type(None): value is None,
        bool: isinstance(value, bool),
        int: isinstance(value, numbers.Integral) and not isinstance(value, bool),
        float: isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value,
        str: isinstance(value, str),
    }
    if not right.get(annotation, True):
        return _WORDS[annotation]
    return _beyond(value) if annotation is int else ""


def _beyond(value: Any) -> str:
    """Return what a whole number beyond LARGEST should be, or an empty string."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or abs(int(value)) <= LARGEST:
        return ""
    return f"at most {LARGEST}" if int(value) > 0 else f"at least {-LARGEST}"


def _is_infinite(limit: Any) -> bool:
    """Return whether a constraint lets infinity through by naming it."""
    ends = tuple(limit) if isinstance(limit, Interval) else (limit,)
    return any(isinstance(end, Le) and end.le == math.inf for end in ends)


def _is_positive(others: dict[str, Any], name: str) -> bool:
    """Return whether another parameter is a number above 0."""
    other = others.get(name)
    return isinstance(other, int | float) and other > 0
