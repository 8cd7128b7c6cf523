"""The house: who may import whom, and that importing does no work."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "mbrl"

# Rooms from the ground up. A room imports from itself and from the rooms above it in this list;
# rooms of one line do not import each other. Imports inside functions or TYPE_CHECKING count.
FLOORS = [
    {"errors", "lazy", "moved", "memory"},
    {"values", "files"},
    {"relu"},  # mathematics: knows nothing of models and planners
    {"types", "manifest", "documents", "lock"},
    {"buffer", "task_check"},
    {"inputs", "nn"},
    {"roles"},
    {"imagination"},
    {"planners", "envs", "dynamics"},
    {"learners", "symbolic"},
    {"agents"},
    {"data"},
    {"training", "report"},
    {"config"},
    {"api", "recorded"},
    {"cli"},
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
FILES = [
    f
    for f in sorted(HOUSE.rglob("*.py"))
    if f not in (HOUSE / "__init__.py", HOUSE / "__main__.py") and f.parent.name != "moved"
]


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(file): file for file in FILES}


def imports(file: Path) -> Iterator[str]:
    """Yield the modules of this package that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("mbrl."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mbrl":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_down(file):
    room = file.relative_to(HOUSE).parts[0].removesuffix(".py")
    assert room in FLOOR, f"{room} has no floor yet: give it one in FLOORS"
    others = {name.split(".")[1] for name in imports(file) if name != "mbrl"}
    for other in others - {room, "moved"}:
        assert FLOOR[other] < FLOOR[room], f"{file.relative_to(ROOT)} imports mbrl.{other}"


def test_no_cycles_between_files():
    edges = {
        name: {n for n in imports(file) if n in MODULES and MODULES[n].name != "__init__.py"}
        for name, file in MODULES.items()
        if file.name != "__init__.py"
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in sorted(edges.get(name, ())):
                visit(other, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, mbrl; print(sorted({'torch', 'numpy', 'hydra', 'mujoco'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_rooms_at_the_top_are_doors_into_the_package():
    for room in ("envs", "planners", "configs"):
        door = ROOT / room
        assert door.is_symlink() and door.resolve() == HOUSE / room
        assert not Path(door.readlink()).is_absolute()
