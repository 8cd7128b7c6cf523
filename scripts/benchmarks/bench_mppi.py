"""Time MPPI and CEM against pytorch-mppi, and against another build: one network, one iteration.

    python -m scripts.benchmarks.bench_mppi [--seconds 1.0] [--envs 1 16] [--against DIR]

The same functions predict and pay for all; noise, bounds, samples and horizon are the same. Each
side has a process of its own; they take turns of 20 plans, of 2 for several environments. There
pytorch-mppi needs a controller each and plans them one after the other; ours plans them at once.
pytorch-mppi has no CEM: ours, which also scores the mean of its last distribution, stands beside
its MPPI. Times are CPU milliseconds of one plan for all environments, on one thread, medians over
the turns; a ratio is the other side's time over ours, turn by turn, its median and its 5th and 95th
percentile. DIR is a checkout of another build (`git worktree add DIR COMMIT`). `steps_ms` is the
time of the network's own steps with nothing around them: the floor of one environment; for several
it is higher than ours, because nothing keeps their memory. Needs the extra `bench`; writes
results/benchmarks/mppi_peer.csv.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mbrl.planners import CEM, MPPI
from mbrl.types import ActionSpec, Prediction

ROOT = Path(__file__).parents[2]
OBS_DIM, ACT_DIM, STD = 4, 2, 0.5
PLANNERS = {"mppi": MPPI, "cem": CEM}
ACTION = ActionSpec("continuous", -torch.ones(ACT_DIM), torch.ones(ACT_DIM))
SIZES: dict[str, tuple[int, ...]] = {
    "linear": (),
    "2x32": (32, 32),
    "2x64": (64, 64),
    "2x200": (200, 200),
}


class Network:
    """A Model: next_obs = obs + network([obs, action]), a quadratic reward, no end."""

    def __init__(self, hidden: tuple[int, ...]):
        draws = torch.Generator().manual_seed(0)
        widths = [OBS_DIM + ACT_DIM, *hidden, OBS_DIM]
        self.layers = [
            (torch.randn(o, i, generator=draws) * 0.5 / i**0.5, torch.zeros(o))
            for i, o in itertools.pairwise(widths)
        ]
        self._flags: dict[int, tuple[Tensor, Tensor]] = {}  # by rows: nobody, everyone

    def advance(self, obs: Tensor, action: Tensor) -> Tensor:
        x = torch.cat([obs, action], 1)
        for weight, bias in self.layers[:-1]:
            x = torch.relu(torch.nn.functional.linear(x, weight, bias))
        return obs + torch.nn.functional.linear(x, *self.layers[-1])

    def paid(self, next_obs: Tensor, action: Tensor, sign: float) -> Tensor:
        """Return the reward (sign -1) or the cost (sign 1), at the same price."""
        effort = (0.1 * sign) * action.square().sum(1)
        return torch.add(effort, next_obs.square().sum(1), alpha=sign)

    def step(self, state: Tensor, action: Tensor, **_: object) -> tuple[Tensor, Prediction]:
        after = self.advance(state, action)
        rows = after.shape[0]
        if rows not in self._flags:
            never = torch.zeros(rows, dtype=torch.bool)
            self._flags[rows] = never, ~never
        return after, Prediction(after, self.paid(after, action, -1), *self._flags[rows], None)


class Row(NamedTuple):
    """What is planned."""

    envs: int
    planner: str
    model: str
    samples: int
    horizon: int

    @property
    def plans(self) -> int:
        """Return the number of plans in a turn."""
        return 20 if self.envs == 1 else 2


def ours(row: Row, model: Network, starts: Tensor) -> Callable[[], object]:
    """Plan for all starts (E, obs_dim) in one call."""
    settings: dict[str, Any] = {"num_elites": row.samples // 10}
    if row.planner == "mppi":
        settings = {"adapt_std": False}
    planner = PLANNERS[row.planner](
        action=ACTION,
        horizon=row.horizon,
        num_samples=row.samples,
        num_iterations=1,
        warm_iterations=1,
        std=STD,
        **settings,
    )
    draws = torch.Generator().manual_seed(0)
    plan: Any = None
    system: Any = model  # planners call nothing but its step

    def turn() -> None:
        nonlocal plan
        plan = planner.plan(starts, system, generator=draws, previous=plan)

    return turn


def peer(row: Row, model: Network, starts: Tensor) -> Callable[[], object]:
    """Plan for each start with pytorch-mppi's controller of its own."""
    from pytorch_mppi import MPPI as Peer  # pyright: ignore[reportMissingImports]  # extra: bench

    controllers = [
        Peer(
            model.advance,
            lambda state, action: model.paid(state, action, 1),
            OBS_DIM,
            STD**2 * torch.eye(ACT_DIM),
            num_samples=row.samples,
            horizon=row.horizon,
            u_min=ACTION.low,
            u_max=ACTION.high,
        )
        for _ in starts
    ]

    def turn() -> None:
        for controller, start in zip(controllers, starts, strict=True):
            controller.command(start)

    return turn


def steps(row: Row, model: Network, starts: Tensor) -> Callable[[], object]:
    """Step the network by actions that are there already."""
    first = starts.repeat_interleave(row.samples, dim=0)
    actions = torch.rand(row.horizon, len(first), ACT_DIM) * 2 - 1

    def turn() -> None:
        state = first
        for action in actions:
            state, _ = model.step(state, action)

    return turn


SIDES = {"ours": ours, "peer": peer, "steps": steps}


@torch.no_grad()
def serve(side: str, row: Row) -> None:
    """Plan several times for each line that is read, and write the CPU milliseconds of one plan."""
    torch.set_num_threads(1)
    starts = torch.randn(row.envs, OBS_DIM, generator=torch.Generator().manual_seed(1))
    turn = SIDES[side](row, Network(SIZES[row.model]), starts)
    number = row.plans
    for _ in range(number):
        turn()
    for _ in sys.stdin:
        start = time.process_time()
        for _ in range(number):
            turn()
        print((time.process_time() - start) * 1e3 / number, flush=True)


class Process:
    """A side in a process of its own.

    Args:
        side: one of SIDES.
        row: what it plans.
        build: checkout whose package it imports.
    """

    def __init__(self, side: str, row: Row, build: Path):
        paths = [str(build), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--serve", side, json.dumps(row)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )

    def turn(self) -> float:
        """Return the CPU milliseconds of one plan."""
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None and answers is not None
        print(file=asked, flush=True)
        return float(answers.readline())

    def close(self) -> None:
        self._process.communicate()


def measure(row: Row, against: Path | None, seconds: float) -> dict[str, list[float]]:
    """Return CPU milliseconds of each side, turn by turn."""
    builds = {side: ROOT for side in SIDES} | ({"against": against} if against else {})
    sides = {
        name: Process("ours" if name == "against" else name, row, build)
        for name, build in builds.items()
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(3):  # to warm up
        for side in sides.values():
            side.turn()
    while row.plans * sum(map(sum, times.values())) < seconds * 1e3 or len(times["ours"]) < 15:
        for name, side in sides.items():
            times[name].append(side.turn())
    for side in sides.values():
        side.close()
    return times


def ratio(mine: list[float], other: list[float]) -> list[str]:
    """Return the median of the other side's times over ours, its 5th and 95th percentile."""
    ratios = sorted(b / a for a, b in zip(mine, other, strict=True))
    low, high = ratios[len(ratios) // 20], ratios[-1 - len(ratios) // 20]
    return [f"{value:.2f}" for value in (statistics.median(ratios), low, high)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds a row")
    parser.add_argument("--planners", nargs="+", default=list(PLANNERS))
    parser.add_argument("--envs", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--horizon", type=int, nargs="+", default=[15, 30])
    parser.add_argument("--against", type=Path, help="checkout of another build")
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        side, row = args.serve
        return serve(side, Row(*json.loads(row)))
    lines = []
    grid = itertools.product(args.envs, args.planners, args.sizes, args.samples, args.horizon)
    for row in itertools.starmap(Row, grid):
        times = measure(row, args.against, args.seconds)
        mine, medians = times["ours"], {k: f"{statistics.median(v):.3f}" for k, v in times.items()}
        fields = [*map(str, row), medians["ours"], medians["steps"], medians["peer"]]
        fields += ratio(mine, times["peer"])
        other = times.get("against")
        fields += [medians["against"], *ratio(mine, other)] if other else [""] * 4
        lines.append(",".join([*fields, str(len(mine))]))
        print(lines[-1], flush=True)
    out = ROOT / "results" / "benchmarks" / "mppi_peer.csv"
    command = "# python -m scripts.benchmarks.bench_mppi " + " ".join(sys.argv[1:])
    header = "envs,planner,model,samples,horizon,ms,steps_ms,pytorch_mppi_ms"
    header += ",ratio,ratio_p5,ratio_p95,against_ms,against_ratio,against_p5,against_p95"
    out.write_text("\n".join([command.strip(), header + ",turns", *lines]) + "\n")


if __name__ == "__main__":
    main()
