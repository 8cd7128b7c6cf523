"""Names of a package that are imported when they are first used.

    if TYPE_CHECKING:
        from mbrl.planners.cem import CEM

    __all__ = ["CEM"]
    __getattr__, __dir__ = lazy.exports(__name__)

So a run imports only the parts that it names. Where they are is read from the imports under
`TYPE_CHECKING`, which type checkers read as well. A name that is also a module of the package must
be imported at once: the module would stand in its place.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def exports(
    package: str, otherwise: Callable[[str], Any] | None = None
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a package.

    Args:
        package: its full name.
        otherwise: `__getattr__` for names that it does not import; it raises AttributeError.
    """

    def find(name: str) -> Any:
        module = sys.modules[package]
        home = None if name.startswith("__") else _homes(package).get(name)
        if home is not None:
            value = getattr(importlib.import_module(home), name)
        elif not name.startswith("_") and importlib.util.find_spec(f"{package}.{name}"):
            return importlib.import_module(f"{package}.{name}")
        elif otherwise is not None:
            return otherwise(name)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(module, name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *_homes(package)})

    return find, names


@functools.cache
def _homes(package: str) -> dict[str, str]:
    """Return the module of each name that a package's file imports."""
    file = sys.modules[package].__file__
    assert file is not None
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mbrl.")
        for alias in node.names
    }
