"""The house: who may import whom, and that importing does no work."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "mbrl"

# Rooms from the ground up; a room imports only from the floors below it (and from itself).
FLOORS = [
    {"errors"},
    {"types", "relu", "global_rng", "generators", "graphs", "manifest"},
    {"buffer", "planners", "envs", "dynamics"},
    {"agents", "data", "gym"},
    {"run", "logger", "report", "progress"},
    {"loop"},
    {"config", "cli"},
]
# Floors where neighbours may lean on each other: cli on config, report on run, errors on none.
OPEN = {"config", "cli", "run", "logger", "report", "types", "relu", "agents", "data", "gym"}
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "mbrl":
                names = [f"mbrl.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("mbrl.")}
    return found


FILES = [f for f in sorted(HOUSE.rglob("*.py")) if f != HOUSE / "__init__.py"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_imports_go_down(file):
    parts = file.relative_to(HOUSE).parts
    room = parts[0].removesuffix(".py")
    if room == "__main__":
        return
    assert room in FLOOR, f"{room} has no floor yet: give it one in FLOORS"
    for other in imports(file) - {room}:
        below = FLOOR[other] < FLOOR[room]
        beside = FLOOR[other] == FLOOR[room] and room in OPEN and other in OPEN
        assert below or beside, f"{file.relative_to(ROOT)} imports mbrl.{other} against the house"


def test_no_cycles_between_files():
    modules = {".".join(f.relative_to(ROOT).with_suffix("").parts): f for f in FILES}
    edges = {
        name: {
            f"mbrl.{n.module.removeprefix('mbrl.')}"
            for n in ast.parse(file.read_text()).body
            if isinstance(n, ast.ImportFrom) and n.module and n.module.startswith("mbrl.")
        }
        & modules.keys()
        for name, file in modules.items()
        if file.name != "__init__.py"
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in edges.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_no_file_is_too_long():
    long = [str(f) for f in FILES if len(f.read_text().splitlines()) > 400]
    assert not long, f"split these: {long}"


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, mbrl; print(sorted({'torch', 'numpy', 'hydra', 'mujoco'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_rooms_at_the_top_are_doors_into_the_package():
    for room in ("envs", "planners", "configs"):
        door = ROOT / room
        assert door.is_symlink() and door.resolve() == HOUSE / room
        assert not Path(door.readlink()).is_absolute()
