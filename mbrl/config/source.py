"""Where a dotted name is defined, read from source files: nothing is imported."""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Definition(NamedTuple):
    """Definition of a name."""

    home: str  # module that defines it
    name: str
    node: ast.expr | ast.ClassDef | ast.FunctionDef


def find(target: str) -> Definition:
    """Return where `package.module.Name` is defined, re-exports followed.

    Raises:
        LookupError: if there is no such module or no such name in it, with the reason.
    """
    home, _, name = target.rpartition(".")
    file = _module_file(home)
    if file is None:
        raise LookupError(f"there is no module {home or target}")
    names = _names(file, file.stat().st_mtime_ns)
    if name in names.defined:
        return Definition(home, name, names.defined[name])
    for node, alias in names.imported.get(name, ()):
        if isinstance(node, ast.ImportFrom):
            return find(f"{_absolute(home, file, node)}.{alias.name}")
    raise LookupError(f"{home} has no {name}")


def find_in(home: str, name: str) -> Definition:
    """Return what a name, dotted or not, means in a module: `Count`, or `values.Count`.

    Raises:
        LookupError: if it is not found.
    """
    prefix, _, last = name.rpartition(".")
    if not prefix:
        return find(f"{home}.{name}")
    file = _module_file(home)
    imported = _names(file, file.stat().st_mtime_ns).imported if file else {}
    for node, alias in imported.get(prefix, ()):
        package = f"{_absolute(home, file, node)}." if isinstance(node, ast.ImportFrom) else ""
        return find(f"{package}{alias.name}.{last}")
    raise LookupError(f"{home} imports no {prefix}")


def exports(package: str) -> list[str]:
    """Return the names that a package's file imports from the same project, in its order.

    Args:
        package: its dotted name.
    """
    file = _module_file(package)
    tree = _parse(file, file.stat().st_mtime_ns) if file else ast.Module([], [])
    names = [
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and _absolute(package, file, node).split(".")[0] == package.split(".")[0]
        for alias in node.names
    ]
    return list(dict.fromkeys(names))


class _Names(NamedTuple):
    """Names of a module; of several of one name the first counts."""

    defined: dict[str, ast.expr | ast.ClassDef | ast.FunctionDef]
    imported: dict[str, list[tuple[ast.stmt, ast.alias]]]


@functools.lru_cache(maxsize=256)
def _names(file: Path, changed: int) -> _Names:
    """Return the names of a module, once for each time that it was changed."""
    names, tree = _Names({}, {}), _parse(file, changed)
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            names.defined.setdefault(statement.name, statement)
        for name, value in _assigned(statement):
            names.defined.setdefault(name, value)
    for node in ast.walk(tree):  # also under TYPE_CHECKING
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                names.imported.setdefault(alias.asname or alias.name, []).append((node, alias))
    return names


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """Yield the names that a statement assigns to with their values, also of A, B = 1, 2."""
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        yield ast.unparse(statement.target), statement.value
    if not isinstance(statement, ast.Assign):
        return
    for target in statement.targets:
        yield ast.unparse(target), statement.value
        if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
            for one, value in zip(target.elts, statement.value.elts, strict=True):
                yield ast.unparse(one), value


@functools.lru_cache(maxsize=256)
def _parse(file: Path, changed: int) -> ast.Module:
    """Parse a file, once for each time that it was changed."""
    return ast.parse(file.read_text(encoding="utf-8"))


def _absolute(home: str, file: Path | None, node: ast.ImportFrom) -> str:
    """Return the module that an import names, also a relative one."""
    if not node.level:
        return node.module or ""
    parts = home.split(".") if file and file.name == "__init__.py" else home.split(".")[:-1]
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *([node.module] if node.module else [])])


def _module_file(module: str) -> Path | None:
    """Return a module's source file; Python is asked for its top package only."""
    top, *rest = module.split(".")
    if not all(part.isidentifier() for part in rest):  # or it would be a path
        return None
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
