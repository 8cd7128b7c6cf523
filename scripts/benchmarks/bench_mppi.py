"""Time MPPI against pytorch-mppi: one network, one iteration, in one process, turn by turn.

    python -m scripts.benchmarks.bench_mppi [--seconds 1.0] [--envs 1 16]

The same functions predict and pay for both; noise, bounds, samples and horizon are the same. For
several environments pytorch-mppi needs a controller each and plans them one after the other; ours
plans them at once. Times are CPU milliseconds of one plan for all environments, on one thread,
medians over the turns; `ratio` is pytorch-mppi's time over ours, turn by turn, its median and its
5th and 95th percentile. Building our planner lets glibc keep freed memory for the whole process, so
that pytorch-mppi gains from it as well. Needs the extra `bench`; writes
results/benchmarks/mppi_peer.csv.
"""

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_mppi import MPPI as PeerMPPI  # pyright: ignore[reportMissingImports]  # extra: bench
from torch import Tensor

from mbrl.planners import MPPI
from mbrl.roles import Plan
from mbrl.types import ActionSpec, Prediction

OBS_DIM, ACT_DIM, STD = 4, 2, 0.5
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


def ours(model: Network, starts: Tensor, samples: int, horizon: int) -> Callable[[], object]:
    """Plan for all starts (E, obs_dim) in one call."""
    planner = MPPI(
        action=ACTION,
        horizon=horizon,
        num_samples=samples,
        num_iterations=1,
        warm_iterations=1,
        adapt_std=False,
        std=STD,
    )
    draws = torch.Generator().manual_seed(0)
    plan: Plan | None = None
    system: Any = model  # planners call nothing but its step

    def turn() -> None:
        nonlocal plan
        plan = planner.plan(starts, system, generator=draws, previous=plan)

    return turn


def peer(model: Network, starts: Tensor, samples: int, horizon: int) -> Callable[[], object]:
    """Plan for each start with pytorch-mppi's controller of its own."""
    controllers = [
        PeerMPPI(
            model.advance,
            lambda state, action: model.paid(state, action, 1),
            OBS_DIM,
            STD**2 * torch.eye(ACT_DIM),
            num_samples=samples,
            horizon=horizon,
            u_min=ACTION.low,
            u_max=ACTION.high,
        )
        for _ in starts
    ]

    def turn() -> None:
        for controller, start in zip(controllers, starts, strict=True):
            controller.command(start)

    return turn


@torch.no_grad()
def measure(sides: list[Callable[[], object]], seconds: float) -> list[list[float]]:
    """Return CPU milliseconds of each side, turn by turn."""
    times: list[list[float]] = [[] for _ in sides]
    for side in sides * 3:
        side()
    until = time.process_time() + seconds
    while time.process_time() < until or len(times[0]) < 15:
        for side, found in zip(sides, times, strict=True):
            start = time.process_time()
            side()
            found.append((time.process_time() - start) * 1e3)
    return times


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU seconds a row")
    parser.add_argument("--envs", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--sizes", nargs="+", default=list(SIZES))
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--horizon", type=int, nargs="+", default=[15, 30])
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    grid = itertools.product(args.envs, args.sizes, args.samples, args.horizon)
    for envs, size, samples, horizon in grid:
        model = Network(SIZES[size])
        starts = torch.randn(envs, OBS_DIM, generator=torch.Generator().manual_seed(1))
        mine, other = measure(
            [build(model, starts, samples, horizon) for build in (ours, peer)], args.seconds
        )
        ratios = sorted(b / a for a, b in zip(mine, other, strict=True))
        low, high = ratios[len(ratios) // 20], ratios[-1 - len(ratios) // 20]
        ratio = statistics.median(ratios)
        found = f"{statistics.median(mine):.3f},{statistics.median(other):.3f},{ratio:.2f}"
        lines.append(
            f"{envs},{size},{samples},{horizon},{found},{low:.2f},{high:.2f},{len(ratios)}"
        )
        print(
            f"{envs:3d} envs  {size:6s}  {samples:5d} samples  H {horizon}  {ratio:5.2f}x",
            flush=True,
        )
    out = Path(__file__).parents[2] / "results" / "benchmarks" / "mppi_peer.csv"
    command = "# python -m scripts.benchmarks.bench_mppi " + " ".join(sys.argv[1:])
    header = "envs,model,samples,horizon,ms,pytorch_mppi_ms,ratio,ratio_p5,ratio_p95,turns"
    out.write_text("\n".join([command.strip(), header, *lines]) + "\n")


if __name__ == "__main__":
    main()
