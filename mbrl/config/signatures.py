"""What a `_target_` takes, read from its source with `ast`: no import, so no torch."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any, NamedTuple

_LISTS = {"list", "List", "Sequence", "Iterable", "Collection"}
_DICTS = {"dict", "Dict", "Mapping", "MutableMapping"}
_EMPTY_BASES = {"object", "ABC", "Protocol", "Generic"}


class Parameter(NamedTuple):
    """One parameter of a constructor."""

    annotation: ast.expr | None
    default: ast.expr | None  # None if it must be given
    description: str


class Signature(NamedTuple):
    """What a class or function takes."""

    home: str  # module that defines it
    summary: str
    parameters: dict[str, Parameter]
    is_open: bool  # takes any keyword


class _Found(NamedTuple):
    home: str
    node: ast.expr | ast.ClassDef | ast.FunctionDef


def read_signature(target: str) -> Signature:
    """Read what `package.module.Name` takes, re-exports followed.

    Raises:
        LookupError: if there is no such module or no such name in it, with the reason.
    """
    home, node = _find(target)
    if isinstance(node, ast.FunctionDef):
        return _of_function(home, node, node, skip=0)
    if isinstance(node, ast.ClassDef):
        return _of_class(home, node)
    return Signature(home, "", {}, is_open=True)


def _of_class(home: str, node: ast.ClassDef) -> Signature:
    """Take __init__, the fields of a dataclass or named tuple, or what the bases take."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _of_function(home, item, node, skip=1)
    marks = {ast.unparse(m).split("(")[0].split(".")[-1] for m in node.decorator_list}
    bases = [ast.unparse(base).split("[")[0] for base in node.bases]
    if "dataclass" in marks or "NamedTuple" in bases:
        fields = [f for f in node.body if isinstance(f, ast.AnnAssign)]
        described = _descriptions(node)
        parameters = {
            name: Parameter(f.annotation, f.value, described.get(name, ""))
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


def _of_function(
    home: str, function: ast.FunctionDef, documented: ast.ClassDef | ast.FunctionDef, *, skip: int
) -> Signature:
    """Take the arguments of a function, without its first `skip`."""
    args = function.args
    positional = args.posonlyargs + args.args
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
    defaults += args.defaults
    pairs = list(zip(positional, defaults, strict=True))[skip:]
    pairs += list(zip(args.kwonlyargs, args.kw_defaults, strict=True))
    described = _descriptions(documented) | _descriptions(function)
    parameters = {
        arg.arg: Parameter(arg.annotation, default, described.get(arg.arg, ""))
        for arg, default in pairs
    }
    return Signature(home, _summary(documented), parameters, is_open=args.kwarg is not None)


def _summary(node: ast.ClassDef | ast.FunctionDef) -> str:
    """Give a docstring's first line."""
    return (ast.get_docstring(node) or "").partition("\n")[0]


def _descriptions(node: ast.ClassDef | ast.FunctionDef) -> dict[str, str]:
    """Read the Args: section of a docstring."""
    section = re.search(r"\nArgs:\n((?: .*\n|\n)*)", (ast.get_docstring(node) or "") + "\n")
    text = section.group(1) if section else ""
    lines = re.findall(r"^ {4}(\w+)(?: \(.*?\))?: (.*(?:\n {5,}.*)*)", text, re.M)
    return {name: " ".join(words.split()) for name, words in lines}


def _find(target: str) -> _Found:
    """Find where a name is defined."""
    home, _, name = target.rpartition(".")
    file = _module_file(home)
    if file is None:
        raise LookupError(f"there is no module {home or target}")
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return _Found(home, node)
        if isinstance(node, ast.Assign) and name in {ast.unparse(t) for t in node.targets}:
            return _Found(home, node.value)
    for node in ast.walk(tree):  # also under TYPE_CHECKING
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(f"{_absolute(home, file, node)}.{alias.name}")
    raise LookupError(f"{home} has no {name}")


def _absolute(home: str, file: Path, node: ast.ImportFrom) -> str:
    """Resolve a relative import."""
    if not node.level:
        return node.module or ""
    parts = home.split(".") if file.name == "__init__.py" else home.split(".")[:-1]
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _module_file(module: str) -> Path | None:
    """Find a module's source; only the path of its top package is asked of Python."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top) if top else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        path = Path(folder, *rest)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if file.is_file():
                return file
    return None


def fit(value: Any, annotation: ast.expr | None, home: str) -> Any:
    """Bring a YAML value to an annotated type: 1e5 to int, 1 to float, a path stays a string.

    Raises:
        TypeError: if it cannot be.
    """
    if annotation is None:
        return value
    if isinstance(annotation, ast.Constant):
        if isinstance(annotation.value, str):
            return fit(value, ast.parse(annotation.value, mode="eval").body, home)
        return _need(annotation.value is None and value is None, value)
    if isinstance(annotation, ast.BinOp):
        return _fit_any(value, [annotation.left, annotation.right], home)
    if isinstance(annotation, ast.Subscript):
        kind = ast.unparse(annotation.value).split(".")[-1]
        inner = annotation.slice
        parts = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
        return _fit_generic(value, kind, parts, home)
    name = ast.unparse(annotation)
    simple = _fit_simple(value, name.split(".")[-1])
    if simple is not NotImplemented:
        return simple
    try:
        found = _find(f"{home}.{name}") if isinstance(annotation, ast.Name) else None
    except LookupError:
        found = None
    if found is None:
        return value  # out of sight: its own constructor will say
    if isinstance(found.node, ast.ClassDef | ast.FunctionDef):
        return _need(isinstance(value, dict) and "_target_" in value, value)
    return fit(value, found.node, found.home)


def _need(condition: bool, value: Any) -> Any:
    """Hand the value on if the condition holds."""
    if not condition:
        raise TypeError
    return value


def _fit_any(value: Any, options: list[ast.expr], home: str) -> Any:
    """Fit one of several types, the value's own first."""
    own = type(value).__name__
    for option in sorted(options, key=lambda o: ast.unparse(o) != own):
        try:
            return fit(value, option, home)
        except TypeError:
            continue
    raise TypeError


def _fit_simple(value: Any, name: str) -> Any:
    """Fit a type without parts; NotImplemented if the name is none."""
    if name in ("Any", "object"):
        return value
    if name == "int":
        whole = isinstance(value, float) and value.is_integer()
        return int(_need(whole or type(value) is int, value))
    if name == "float":
        return float(_need(type(value) in (int, float), value))
    if name in ("bool", "str"):
        return _need(type(value).__name__ == name, value)
    if name in ("Path", "device"):
        return _need(isinstance(value, str), value)
    if name in _LISTS | {"tuple", "Tuple"}:
        return _need(isinstance(value, list), value)
    if name in _DICTS:
        return _need(isinstance(value, dict), value)
    return NotImplemented


def _fit_generic(value: Any, kind: str, parts: list[ast.expr], home: str) -> Any:
    """Fit kind[parts]."""
    if kind == "Literal":
        choices = [ast.literal_eval(part) for part in parts]
        return _need(any(value == c and type(value) is type(c) for c in choices), value)
    if kind in ("Optional", "Union"):
        nothing = [ast.Constant(None)] if kind == "Optional" else []
        return _fit_any(value, parts + nothing, home)
    if kind in _LISTS or kind in ("tuple", "Tuple"):
        _need(isinstance(value, list), value)
        if kind in _LISTS or ast.unparse(parts[-1]) == "...":
            return [fit(item, parts[0], home) for item in value]
        _need(len(value) == len(parts), value)
        return [fit(item, part, home) for item, part in zip(value, parts, strict=True)]
    if kind in _DICTS:
        _need(isinstance(value, dict), value)
        return {fit(k, parts[0], home): fit(v, parts[-1], home) for k, v in value.items()}
    if kind == "Annotated":
        return fit(value, parts[0], home)
    return value


def describe_type(annotation: ast.expr | None) -> str:
    """Say in the user's words what a parameter takes."""
    if annotation is None:
        return "a value"
    text = ast.unparse(annotation).replace("torch.device | str", "str")
    text = re.sub(r"Literal\[(.*?)\]", lambda m: "one of " + m[1].replace("'", ""), text)
    return text.replace("None", "null")
