"""Break the code in one place at a time and see whether a test notices.

    python -m scripts.robustness.mutants [--number 40] [--seed 0] [--jobs 2] [--list]
    python -m scripts.robustness.mutants --seed 0 --only 3 17      # these again, after new tests

Mutants are drawn with a seed from planners, agents, learners and dynamics, as many of each, all
kinds of edits alike. Left out are docstrings, annotations, default values, messages (what stands in
`raise` or goes to a log), `__repr__` and `assert`. Each mutant is written into a temporary copy of
the tree. Tests run until one fails: first the file that mirrors the module, then its folder, then
the room, then the room's contracts; slow ones are left out. A mutant that takes over three times
as long as the whole code is killed by the time limit. Rows go to results/robustness/mutants.csv; an
explanation that is written there by hand stays with its mutant.
"""

from __future__ import annotations

import argparse
import ast
import copy
import csv
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
OUT = ROOT / "results" / "robustness" / "mutants.csv"
FIELDS = ["seed", "number", "file", "line", "kind", "before", "after", "killed_by", "seconds",
          "explanation"]  # fmt: skip
SURVIVED = "SURVIVED"
CONTRACTS = {
    "planners": ["planner", "selector"],
    "agents": ["agent"],
    "learners": ["learner"],
    "dynamics": ["dynamics"],
}
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Add, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
EXTREMES = {
    "min": "max", "minimum": "maximum", "amin": "amax", "argmin": "argmax", "fmin": "fmax",
    "cummin": "cummax", "clamp_min": "clamp_max",
}  # fmt: skip
EXTREMES |= {value: key for key, value in EXTREMES.items()}
COMMUTATIVE = {*EXTREMES, "add", "mul", "isinstance", "cast", "getattr", "allclose", "equal"}
DECLARED = {"annotation", "returns", "decorator_list", "args", "bases", "type_params"}
MESSAGES = {"debug", "info", "warning", "warn", "error", "log", "print"}


Node = ast.stmt | ast.expr


class Mutant(NamedTuple):
    """An edit of one place in a file."""

    file: str  # relative to the root of the tree
    line: int
    kind: str
    before: str  # source of what is replaced
    after: str
    start: int  # characters of the file that are replaced
    end: int


def mutants(source: str, file: str) -> list[Mutant]:
    """Return every mutant of a module.

    Args:
        source: text of the module.
        file: its path, for the mutants.
    """
    starts = [0]  # of the lines, in bytes, as ast counts them
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    content, result = source.encode(), []
    for node in _computing(ast.parse(source)):
        for kind, replaced, changed in _edits(node):
            start = starts[replaced.lineno - 1] + replaced.col_offset
            end = starts[(replaced.end_lineno or 0) - 1] + (replaced.end_col_offset or 0)
            after = ast.unparse(changed)
            if isinstance(replaced, ast.expr):
                after = f"({after})"  # its surroundings may bind more tightly
            before = content[start:end].decode()
            result.append(Mutant(file, replaced.lineno, kind, before, after, start, end))
    return result


def _computing(node: ast.AST) -> Iterator[Node]:
    """Walk a tree, without what computes nothing."""
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.FunctionDef) and node.name in ("__repr__", "__str__"):
        return
    if isinstance(node, ast.Call) and _name(node.func) in MESSAGES:
        return
    if isinstance(node, ast.Expr) and _is_inert(node.value):
        return
    if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.stmt | ast.expr):
        yield node
    for name, value in ast.iter_fields(node):
        if name in DECLARED and not isinstance(node, ast.Call):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _computing(child)


def _is_inert(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return _name(value.func) in MESSAGES
    return isinstance(value, ast.Constant)  # a docstring or an ellipsis


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _edits(node: Node) -> Iterator[tuple[str, Node, Node]]:
    """Yield the kind of each edit of a node itself, what it replaces, and by what."""
    changed: Any = copy.deepcopy(node)
    if isinstance(node, ast.If | ast.While | ast.IfExp):
        yield "negated condition", node.test, ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.Compare):
        changed.ops[0] = COMPARISONS[type(node.ops[0])]()
        yield "comparison", node, changed
    elif isinstance(node, ast.Constant):
        for value in _other_constants(node.value):
            yield "constant", node, ast.Constant(value)
    elif isinstance(node, ast.Call):
        for kind, call in _other_calls(node):
            yield kind, node, call
    elif isinstance(node, ast.Return) and ast.unparse(node) not in ("return", "return None"):
        assert node.value is not None
        yield "returned value", node, ast.Return(_other_value(node.value))
    elif isinstance(node, ast.BinOp | ast.AugAssign) and _is_arithmetic(node):
        changed.op = ARITHMETIC[type(node.op)]()
        yield "arithmetic", node, changed
    targets = node.targets if isinstance(node, ast.Assign) else []
    keeps = any(isinstance(target, ast.Attribute | ast.Subscript) for target in targets)
    if keeps or isinstance(node, ast.Expr | ast.AugAssign | ast.Delete):
        yield "dropped statement", node, ast.Pass()


def _is_arithmetic(node: ast.BinOp | ast.AugAssign) -> bool:
    sides = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.value]
    values = [side.value for side in sides if isinstance(side, ast.Constant)]
    text = any(isinstance(side, ast.JoinedStr) for side in sides)
    text = text or any(isinstance(value, str) for value in values)
    return type(node.op) in ARITHMETIC and not text


def _other_constants(value: object) -> list[bool | int | float]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    return [2 * value if value else 1.0] if isinstance(value, float) else []


def _other_calls(node: ast.Call) -> Iterator[tuple[str, ast.Call]]:
    name = _name(node.func)
    if name in EXTREMES:
        changed = copy.deepcopy(node)
        if isinstance(changed.func, ast.Attribute):
            changed.func.attr = EXTREMES[name]
        else:
            changed.func = ast.Name(EXTREMES[name])
        yield "min or max", changed
    plain = len(node.args) >= 2 and not any(isinstance(x, ast.Starred) for x in node.args[:2])
    if plain and name not in COMMUTATIVE and ast.dump(node.args[0]) != ast.dump(node.args[1]):
        changed = copy.deepcopy(node)
        changed.args[:2] = reversed(changed.args[:2])
        yield "swapped arguments", changed


def _other_value(value: ast.expr) -> ast.expr:
    if isinstance(value, ast.Constant) and isinstance(value.value, bool):
        return ast.Constant(not value.value)
    if isinstance(value, ast.Tuple) and len(value.elts) > 1:
        return ast.Tuple([*value.elts[1::-1], *value.elts[2:]], ast.Load())
    return ast.Constant(None)


def draw(root: Path, number: int, seed: int, rooms: Iterable[str] = CONTRACTS) -> list[Mutant]:
    """Draw mutants without replacement: rooms in turn, then a kind, then a place.

    Args:
        root: of the tree.
        number: of mutants.
        seed: of the draw.
        rooms: folders of mbrl.
    """
    draws, places = random.Random(seed), {}
    for room in rooms:
        kinds = places.setdefault(room, {})
        for path in sorted((root / "mbrl" / room).rglob("*.py")):
            source, name = path.read_text(), str(path.relative_to(root))
            for mutant in mutants(source, name):
                kinds.setdefault(mutant.kind, []).append(mutant)
    result: list[Mutant] = []
    turns = list(places)
    while len(result) < number and any(any(kinds.values()) for kinds in places.values()):
        kinds = places[turns[len(result) % len(turns)]]
        kind = draws.choice(sorted(key for key, found in kinds.items() if found))
        found = kinds[kind]
        result.append(found.pop(draws.randrange(len(found))))
    return result


def stages(root: Path, file: str) -> list[list[str]]:
    """Return what is tested for a module, one pytest call after the other.

    Args:
        root: of the tree.
        file: path of the module in it, mbrl/ROOM/.../NAME.py.
    """
    *folders, name = Path(file).with_suffix("").parts[1:]
    tests = Path("tests")
    result = [tests.joinpath(*folders, f"test_{name}.py")]
    result += [tests.joinpath(*folders[:depth]) for depth in range(len(folders), 0, -1)]
    calls = [[str(path)] for path in dict.fromkeys(result) if (root / path).exists()]
    contracts = [f"tests/contracts/test_{part}.py" for part in CONTRACTS.get(folders[0], [])]
    contracts = [path for path in contracts if (root / path).exists()]
    return calls + ([contracts] if contracts else [])


def copied(root: Path, folder: Path) -> Path:
    """Copy the files that git tracks or would track, and return the copy's root.

    Args:
        root: of the tree.
        folder: where the copy goes.
    """
    command = ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"]
    for name in subprocess.check_output(command, text=True).split("\0"):
        if name and os.path.lexists(root / name):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name, follow_symlinks=False)
    return folder


def failing(tree: Path, tests: list[str], limit: float | None) -> str | None:
    """Return the first test that fails, "time limit", or None where all pass.

    Args:
        tree: root of a copy.
        tests: files or folders in it.
        limit: seconds.
    """
    settings = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    settings |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--tb=no",
               "-m", "not slow and not gpu", *tests]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tree, env=os.environ | settings, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return "time limit"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()
    if process.returncode in (0, 5):  # 5: nothing was collected
        return None
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return found[1] if found else f"pytest ended with status {process.returncode}"


class Limits:
    """Seconds that each call of pytest may take, from one run on the code as it is."""

    def __init__(self) -> None:
        """Hold no measurement yet."""
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def of(self, tree: Path, tests: list[str]) -> float:
        """Return the limit of a call, after a run of it on a whole tree if it is new.

        Args:
            tree: root of a copy without a mutant.
            tests: files or folders in it.

        Raises:
            SystemExit: if a test fails on the code as it is.
        """
        key = " ".join(tests)
        with self._lock:
            if key not in self._seconds:
                began = time.monotonic()
                failed = failing(tree, tests, None)
                if failed:
                    raise SystemExit(f"{failed} fails on the code as it is")
                self._seconds[key] = time.monotonic() - began
        return 30 + 3 * self._seconds[key]


def judged(mutant: Mutant, tree: Path, limits: Limits) -> tuple[str, float]:
    """Return the test that kills a mutant, or SURVIVED, and the seconds that it took.

    Args:
        mutant: is written into the tree, and taken out again.
        tree: root of a copy of the code as it is.
        limits: of the calls of pytest.
    """
    path, spent = tree / mutant.file, 0.0
    content = path.read_bytes()
    changed = content[: mutant.start] + mutant.after.encode() + content[mutant.end :]
    for tests in stages(tree, mutant.file):
        limit = limits.of(tree, tests)
        path.write_bytes(changed)
        began = time.monotonic()
        try:
            killed_by = failing(tree, tests, limit)
        finally:
            path.write_bytes(content)
        spent += time.monotonic() - began
        if killed_by:
            return killed_by, spent
    return SURVIVED, spent


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 120 else line[:117] + "..."


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in ("file", "kind", "before", "after"))


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def _write(path: Path, command: str, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        file.write(f"# {command}\n")
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: (int(row["seed"]), int(row["number"]))))


def main() -> int:
    """Draw, test, print and write the table; return 1 if a survivor is not explained."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=1)
    parser.add_argument("--rooms", nargs="+", choices=CONTRACTS, default=list(CONTRACTS))
    parser.add_argument("--only", type=int, nargs="+", help="numbers of mutants, from 0")
    parser.add_argument("--list", action="store_true", help="print the mutants, test nothing")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    drawn = dict(enumerate(draw(ROOT, options.number, options.seed, options.rooms)))
    if options.only is not None:
        drawn = {number: drawn[number] for number in options.only}
    if options.list:
        for number, m in drawn.items():
            print(f"{number:3} {m.file}:{m.line} {m.kind}: {_short(m.before)} -> {_short(m.after)}")
        return 0
    old = _read(options.out)
    explained = {_key(row): row["explanation"] for row in old}
    kept = [row for row in old if options.only and row["seed"] == str(options.seed)]
    rows = {int(row["number"]): row for row in kept}
    command = f"python -m scripts.robustness.mutants --number {options.number} "
    command += f"--seed {options.seed}"
    limits, lock = Limits(), threading.Lock()

    def finish(number: int, mutant: Mutant, tree: Path) -> None:
        killed_by, seconds = judged(mutant, tree, limits)
        row = {
            "seed": str(options.seed), "number": str(number), "file": mutant.file,
            "line": str(mutant.line), "kind": mutant.kind, "before": _short(mutant.before),
            "after": _short(mutant.after), "killed_by": killed_by, "seconds": f"{seconds:.0f}",
        }  # fmt: skip
        row["explanation"] = explained.get(_key(row), "") if killed_by == SURVIVED else ""
        with lock:
            rows[number] = row
            _write(options.out, command, list(rows.values()))
            print(
                f"{number:3} {mutant.file}:{mutant.line} {mutant.kind}: {row['before']} -> "
                f"{row['after']}: {killed_by}, {seconds:.0f} s",
                flush=True,
            )

    with tempfile.TemporaryDirectory() as name:
        trees = [copied(ROOT, Path(name) / str(k)) for k in range(options.jobs)]
        waiting = sorted(drawn.items(), key=lambda item: item[1].file)
        with ThreadPoolExecutor(options.jobs) as pool:

            def work(tree: Path) -> None:
                while True:
                    with lock:
                        if not waiting:
                            return
                        number, mutant = waiting.pop(0)
                    finish(number, mutant, tree)

            for job in [pool.submit(work, tree) for tree in trees]:
                job.result()
    survivors = [row for row in rows.values() if row["killed_by"] == SURVIVED]
    print(f"{len(rows) - len(survivors)} of {len(rows)} killed")
    for row in survivors:
        print(f"  {row['file']}:{row['line']} {row['explanation'] or 'NOT EXPLAINED'}")
    return int(any(not row["explanation"] for row in survivors))


if __name__ == "__main__":
    raise SystemExit(main())
