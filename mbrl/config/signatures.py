"""Parameters of a `_target_`, read from its source with `ast`: no import, so no torch."""

from __future__ import annotations

import ast
import contextlib
import re
from typing import Any, NamedTuple

from mbrl.config.annotations import resolve
from mbrl.config.source import Definition, exports, find, find_in

_EMPTY_BASES = {"object", "ABC", "Protocol", "Generic"}


class Parameter(NamedTuple):
    """Parameter of a constructor."""

    annotation: Any  # a type: mbrl.config.annotations.resolve
    default: ast.expr | None  # None if it must be given
    description: str
    home: str = ""  # module that the default stands in


class Signature(NamedTuple):
    """Parameters of a class or function."""

    home: str  # module that defines it
    summary: str
    parameters: dict[str, Parameter]
    is_open: bool  # takes any keyword


def read_signature(target: str) -> Signature:
    """Read what `package.module.Name` takes, re-exports followed.

    Raises:
        LookupError: if there is no such module or no such name in it, with the reason.
    """
    home, _, node = find(target)
    if isinstance(node, ast.FunctionDef):
        return _of_function(home, node, node, skip=0)
    if isinstance(node, ast.ClassDef):
        return _of_class(home, node)
    return Signature(home, "", {}, is_open=True)


def classes_of(target: str) -> list[str]:
    """Return the final classes that a class's package exports: itself, and those derived from it.

    Args:
        target: full name of the class.
    """
    package = ".".join(target.split(".")[:2])
    classes = []
    for name in exports(package):
        try:
            definition = find(f"{package}.{name}")
        except LookupError:
            continue
        marks = [ast.unparse(m) for m in getattr(definition.node, "decorator_list", [])]
        own = f"{definition.home}.{definition.name}" == target
        if "final" in marks and (own or _derives(definition, target)):
            classes.append(f"{package}.{name}")
    return sorted(classes)


def _derives(definition: Definition, target: str) -> bool:
    """Return whether a definition is that of a class derived from the target."""
    bases = definition.node.bases if isinstance(definition.node, ast.ClassDef) else []
    for base in bases:
        name = ast.unparse(base).split("[")[0]
        if name.split(".")[-1] in _EMPTY_BASES or name.startswith("nn."):
            continue
        with contextlib.suppress(LookupError):
            parent = find_in(definition.home, name)
            if f"{parent.home}.{parent.name}" == target or _derives(parent, target):
                return True
    return False


def _of_class(home: str, node: ast.ClassDef) -> Signature:
    """Return the parameters of __init__, of a dataclass or named tuple, or of the bases."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            own = _of_function(home, item, node, skip=1)
            if _passes_keywords_on(item):
                base = read_signature(f"{home}.{ast.unparse(node.bases[0])}")
                parameters = own.parameters | base.parameters
                return own._replace(parameters=parameters, is_open=base.is_open)
            return own
    marks = {ast.unparse(m).split("(")[0].split(".")[-1] for m in node.decorator_list}
    bases = [ast.unparse(base).split("[")[0] for base in node.bases]
    if "dataclass" in marks or "NamedTuple" in bases:
        fields = [f for f in node.body if isinstance(f, ast.AnnAssign)]
        described = _descriptions(node)
        parameters = {
            name: Parameter(
                resolve(f.annotation, home), _default(f.value), described.get(name, ""), home
            )
            for f in fields
            if (name := ast.unparse(f.target))
        }
        return Signature(home, _summary(node), parameters, is_open=False)
    is_open = False
    for base in bases:
        if base.split(".")[-1] in _EMPTY_BASES:
            continue
        try:
            taken = read_signature(f"{home}.{base}")
        except LookupError:
            is_open = True  # a base out of sight may take anything
            continue
        return taken._replace(summary=_summary(node))
    return Signature(home, _summary(node), {}, is_open)


def _default(value: ast.expr | None) -> ast.expr | None:
    """Return the default of a field; of `field(...)`, what it names."""
    if not isinstance(value, ast.Call) or ast.unparse(value.func).split(".")[-1] != "field":
        return value
    named = {k.arg: k.value for k in value.keywords}
    if "default_factory" in named:
        return ast.Call(named["default_factory"], [], [])
    return named.get("default")


def _passes_keywords_on(function: ast.FunctionDef) -> bool:
    """Return whether a constructor passes its `**keywords` on to that of its base class."""
    keywords = function.args.kwarg
    return keywords is not None and any(
        isinstance(call, ast.Call)
        and ast.unparse(call.func) == "super().__init__"
        and any(k.arg is None and ast.unparse(k.value) == keywords.arg for k in call.keywords)
        for call in ast.walk(function)
    )


def _of_function(
    home: str, function: ast.FunctionDef, documented: ast.ClassDef | ast.FunctionDef, *, skip: int
) -> Signature:
    """Return the parameters of a function, without its first `skip`."""
    args = function.args
    positional = args.posonlyargs + args.args
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
    defaults += args.defaults
    pairs = list(zip(positional, defaults, strict=True))[skip:]
    pairs += list(zip(args.kwonlyargs, args.kw_defaults, strict=True))
    described = _descriptions(documented) | _descriptions(function)
    parameters = {
        arg.arg: Parameter(resolve(arg.annotation, home), default, described.get(arg.arg, ""), home)
        for arg, default in pairs
    }
    return Signature(home, _summary(documented), parameters, is_open=args.kwarg is not None)


def _summary(node: ast.ClassDef | ast.FunctionDef) -> str:
    """Return a docstring's first line."""
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _descriptions(node: ast.ClassDef | ast.FunctionDef) -> dict[str, str]:
    """Read the Args: section of a docstring."""
    section = re.search(r"\nArgs:\n((?: .*\n|\n)*)", (ast.get_docstring(node) or "") + "\n")
    text = section.group(1) if section else ""
    lines = re.findall(r"^ {4}(\w+)(?: \(.*?\))?: (.*(?:\n {5,}.*)*)", text, re.M)
    return {name: " ".join(words.split()) for name, words in lines}
