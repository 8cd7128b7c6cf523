"""Measure where the CPU time of a training run goes, beside the least that its arithmetic takes.

    python -m scripts.benchmarks.profile_training [key=value ...]

By default MBPO's preset for Hopper, 4,000 steps. `mbrl train` runs twice on one thread: with clocks
around its parts, where what one part spends inside another counts for the inner one alone, and
once more, slowly, to count its matrix products. The floor of a part is the time of these products
alone, of the same shapes, by the fastest products of this processor (mbrl/nn/products.py): no
activation, optimizer, sampling or copying. Writes results/benchmarks/profile.csv.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mbrl.cli import main as command
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.envs.simulation import SimulatedVecEnv
from mbrl.imagination.branched_rollouts import BranchedRollouts
from mbrl.learners.sac import SAC
from mbrl.nn.products import FastProducts, chosen_products
from mbrl.training import evaluation
from mbrl.training.run_folder import RunFolder

DEFAULT = ["agent=mbpo", "env=hopper", "seed=0", "total_steps=4000"]
PARTS: list[tuple[str, Any, str]] = [
    ("policy updates (SAC)", SAC, "improve"),
    ("model fits", GaussianEnsemble, "fit"),
    ("imagined rollouts", BranchedRollouts, "generate"),
    ("evaluations", evaluation, "evaluate"),
    ("environment steps", SimulatedVecEnv, "step"),
    ("checkpoints", RunFolder, "save"),
]
REST = "rest (acting, replay, logging)"
INSIDE = {"evaluations", "imagined rollouts"}  # what they call is theirs
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm"}

Shape = tuple[int, int, int, int, torch.dtype]  # networks, rows, in, out


class Clock:
    """CPU seconds of each part, and how often which product was computed in it."""

    def __init__(self):
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.products: defaultdict[str, Counter[Shape]] = defaultdict(Counter)
        self.running = [REST]
        self._since = time.process_time()

    def book(self) -> None:
        """Add the time since the last call to the part that runs."""
        now = time.process_time()
        self.seconds[self.running[-1]] += now - self._since
        self._since = now

    def wrap(self, name: str, owner: Any, method: str) -> None:
        """Wrap the clock around a function."""
        function = getattr(owner, method)

        def clocked(*args: Any, **options: Any) -> Any:
            if self.running[-1] in INSIDE:
                return function(*args, **options)
            self.book()
            self.running.append(name)
            try:
                return function(*args, **options)
            finally:
                self.book()
                self.running.pop()

        setattr(owner, method, clocked)


class CountProducts(TorchDispatchMode):
    """Count the matrix products of each part.

    Args:
        clock: knows which part runs.
    """

    def __init__(self, clock: Clock):
        super().__init__()
        self._clock = clock

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count it where it is a product."""
        name = func.overloadpacket.__name__
        if name in PRODUCTS:
            left, right = args[-2:]
            networks = 1 if left.dim() == 2 else left.shape[0]
            shape = (networks, *left.shape[-2:], right.shape[-1], left.dtype)
            self._clock.products[self._clock.running[-1]][shape] += 1
        return func(*args, **(kwargs or {}))


def bare(shape: Shape) -> float:
    """Return the seconds of products (networks, n, a) @ (networks, a, b)."""
    networks, rows, below, above, dtype = shape
    left = torch.randn(networks, rows, below).to(dtype)
    right = torch.randn(networks, below, above).to(dtype)
    out = torch.empty(networks, rows, above, dtype=dtype)
    repeats = max(3, min(200, int(1e9 / (2 * networks * rows * below * above))))
    torch.bmm(left, right, out=out)
    best = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(repeats):
            torch.bmm(left, right, out=out)
        best.append((time.process_time() - start) / repeats)
    return min(best)


def train(settings: list[str]) -> None:
    """Run `mbrl train` in a temporary folder.

    Raises:
        SystemExit: if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = [] if any(x.startswith("run_dir=") for x in settings) else [f"run_dir={folder}/run"]
        if status := command(["train", *settings, *run]):
            raise SystemExit(status)


def main() -> None:
    if {"-h", "--help"} & {*sys.argv[1:]}:
        return print(__doc__)
    settings = sys.argv[1:] or DEFAULT
    torch.set_num_threads(1)
    clock = Clock()
    for part in PARTS:
        clock.wrap(*part)
    clock.book()
    clock.seconds.clear()
    train(settings)
    clock.book()
    found = dict(clock.seconds)
    with CountProducts(clock):
        train(settings)
    total = sum(found.values())
    lines = [["part", "cpu_seconds", "share", "floor_seconds"]]
    for name in [*(name for name, *_ in PARTS), REST]:
        seconds, products = found.get(name, 0.0), clock.products[name]
        with FastProducts():
            floor = sum(count * bare(shape) for shape, count in products.items())
        shown = f"{floor:.1f}" if products else ""
        lines.append([name, f"{seconds:.1f}", f"{100 * seconds / total:.0f}%", shown])
    lines.append(["total", f"{total:.1f}", "100%", ""])
    for line in lines:
        print(f"{line[0]:32}{line[1]:>12}{line[2]:>8}{line[3]:>15}")
    out = Path(__file__).parents[2] / "results" / "benchmarks" / "profile.csv"
    header = "# python -m scripts.benchmarks.profile_training " + " ".join(settings)
    header += f"\n# products: {chosen_products()}"
    rows = "".join(",".join(f'"{x}"' if "," in x else x for x in line) + "\n" for line in lines)
    out.write_text(f"{header}\n{rows}")


if __name__ == "__main__":
    main()
