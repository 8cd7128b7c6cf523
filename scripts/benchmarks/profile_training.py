"""Measure where the CPU time of a training run goes, beside the least that its arithmetic takes.

    python -m scripts.benchmarks.profile_training [key=value ...]

By default MBPO's preset for Hopper, 5,000 steps. The run is `mbrl train` with clocks around its
parts; what one part spends inside another counts for the inner one alone. The floor of a part is
the time of the matrix products that it cannot do without, of the same shapes and on one thread:
no activation, optimizer, sampling or copying. Writes results/benchmarks/profile.csv.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from mbrl.agents.dyna import Dyna
from mbrl.cli import main as command
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.envs.simulation import SimulatedVecEnv
from mbrl.learners.sac import SAC
from mbrl.nn.mlp import CHUNK
from mbrl.training import loop
from mbrl.training.run_folder import RunFolder

DEFAULT = ["agent=mbpo", "env=hopper", "seed=0", "total_steps=5000"]
PARTS = [
    ("policy updates (SAC)", SAC, "improve"),
    ("model fits", GaussianEnsemble, "fit"),
    ("imagined rollouts", Dyna, "_imagine"),
    ("evaluations", loop, "evaluate"),
    ("environment steps", SimulatedVecEnv, "step"),
    ("checkpoints", RunFolder, "save"),
]
REST = "rest (acting, replay, logging)"
INSIDE = {"evaluations", "imagined rollouts"}  # what they call is theirs

Shape = tuple[int, int, int, int]  # networks, rows, in, out


class Clock:
    """CPU seconds of each part, and how often which product was asked for in it."""

    def __init__(self):
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.products: dict[str, Counter[Shape]] = {name: Counter() for name, *_ in PARTS}
        self._running = [REST]
        self._since = time.process_time()

    def book(self) -> None:
        """Add the time since the last call to the part that runs."""
        now = time.process_time()
        self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def wrap(self, name: str, owner: Any, method: str) -> None:
        """Wrap a clock around a function."""
        function = getattr(owner, method)

        def clocked(*args: Any, **options: Any) -> Any:
            if self._running[-1] in INSIDE:
                return function(*args, **options)
            self.book()
            self._running.append(name)
            try:
                return function(*args, **options)
            finally:
                self.book()
                self._running.pop()

        setattr(owner, method, clocked)

    def count(self, owner: Any, method: str, products: Callable[..., Any]) -> None:
        """Note what products(*args) says that a function needs, for the part that runs."""
        function = getattr(owner, method)

        def counted(*args: Any, **options: Any) -> Any:
            if self._running[-1] in self.products:
                self.products[self._running[-1]].update(products(*args, **options))
            return function(*args, **options)

        setattr(owner, method, counted)


def forward(networks: int, rows: int, sizes: tuple[int, ...]) -> Iterator[Shape]:
    """Name the products of networks evaluated on rows each."""
    for below, above in zip(sizes[:-1], sizes[1:], strict=True):
        yield networks, rows, below, above


def backward(networks: int, rows: int, sizes: tuple[int, ...]) -> Iterator[Shape]:
    """Name those of the gradients by the weights, and by all inputs but the first."""
    for k, (below, above) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        yield networks, below, rows, above
        if k:
            yield networks, rows, above, below


def ensemble_products(model: Any, x: Any, weights: Any, biases: Any) -> Iterator[Shape]:
    """Name the products of one evaluation, with its gradients where they are wanted."""
    sizes = (weights[0].shape[1], *(w.shape[2] for w in weights))
    networks, rows = x.shape[:2]
    yield from forward(networks, rows, sizes)
    if torch.is_grad_enabled():
        yield from backward(networks, rows, sizes)


def sac_products(learner: SAC, *args: Any, num_updates: int = 1) -> Counter[Shape]:
    """Name the products of some updates."""
    nets, rows = learner.networks, learner._updates.settings.batch_size
    critic = nets.critic_sizes
    through = [(2, rows, above, below) for below, above in zip(critic, critic[1:], strict=False)]
    one = [
        *forward(1, 2 * rows, nets.actor_sizes),  # at obs and at next_obs
        *backward(1, rows, nets.actor_sizes),
        *forward(2, rows, critic),  # the targets
        *forward(2, rows, critic),
        *backward(2, rows, critic),
        *forward(2, rows, critic),  # for the actor's loss
        *through,  # down to the action
    ]
    return Counter({shape: count * num_updates for shape, count in Counter(one).items()})


def policy_products(learner: SAC, obs: Any, **options: Any) -> Iterator[Shape]:
    """Name the products of choosing actions."""
    yield from forward(1, obs.shape[0], learner.networks.actor_sizes)


def bare(shape: Shape) -> float:
    """Time one product (networks, n, a) @ (networks, a, b), the faster of two layouts, in s."""
    networks, rows, below, above = shape
    share = max(1, rows // CHUNK)  # many rows: the time of the pieces that stay in the cache
    left = torch.randn(networks, rows // share, below)
    right = torch.randn(networks, below, above)
    out = torch.empty(networks, rows // share, above)
    pairs = list(zip(left, right, out, strict=True))

    def loop_over() -> None:
        for a, b, c in pairs:
            torch.mm(a, b, out=c)

    flops = 2 * networks * (rows // share) * below * above
    repeats = max(3, min(200, int(1e9 / flops)))
    best = []
    for work in (loop_over, lambda: torch.bmm(left, right, out=out)):
        work()
        for _ in range(3):
            start = time.process_time()
            for _ in range(repeats):
                work()
            best.append((time.process_time() - start) / repeats)
    return min(best) * rows / (rows // share)


def main() -> None:
    if {"-h", "--help"} & {*sys.argv[1:]}:
        return print(__doc__)
    settings = sys.argv[1:] or DEFAULT
    torch.set_num_threads(1)
    clock = Clock()
    clock.count(GaussianEnsemble, "_forward", ensemble_products)
    clock.count(SAC, "select", policy_products)
    clock.count(SAC, "improve", sac_products)
    for part in PARTS:
        clock.wrap(*part)
    with tempfile.TemporaryDirectory() as folder:
        run = [] if any(x.startswith("run_dir=") for x in settings) else [f"run_dir={folder}/run"]
        if status := command(["train", *settings, *run]):
            raise SystemExit(status)
    clock.book()
    total = sum(clock.seconds.values())
    lines = [["part", "cpu_seconds", "share", "floor_seconds"]]
    for name in [*(name for name, *_ in PARTS), REST]:
        products = clock.products.get(name, {})
        floor = sum(count * bare(shape) for shape, count in products.items())
        seconds = clock.seconds[name]
        shown = f"{floor:.1f}" if products else ""
        lines.append([name, f"{seconds:.1f}", f"{100 * seconds / total:.0f}%", shown])
    lines.append(["total", f"{total:.1f}", "100%", ""])
    for line in lines:
        print(f"{line[0]:32}{line[1]:>12}{line[2]:>8}{line[3]:>15}")
    out = Path(__file__).parents[2] / "results" / "benchmarks" / "profile.csv"
    header = "# python -m scripts.benchmarks.profile_training " + " ".join(settings)
    rows = "".join(",".join(f'"{x}"' if "," in x else x for x in line) + "\n" for line in lines)
    out.write_text(f"{header}\n{rows}")


if __name__ == "__main__":
    main()
