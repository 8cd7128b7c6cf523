"""Time the planners: one warm plan by planner, model, samples, horizon and environments.

    python -m scripts.benchmarks.bench_planners [--seconds 0.5]

A plan is what an agent waits for at each step: it starts from the plan before, with the default
number of warm iterations (cem, icem and mppi 5, gradient 30 steps from 4 starts, so that it has no
samples to vary). Wall milliseconds for all environments together, on one thread: median, 99th
percentile (the worst of fewer than 100 plans) and the number of plans. Models are the networks of
bench_mppi.py and dynamics=ensemble with its default 4 x 200 units, one elite for each environment.
Writes results/benchmarks/planner_latency.csv.
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

from mbrl.dynamics import GaussianEnsemble
from mbrl.planners import CEM, ICEM, MPPI, Gradient
from mbrl.roles import Plan, Planner
from mbrl.types import Task
from scripts.benchmarks.bench_mppi import ACT_DIM, ACTION, OBS_DIM, SIZES, Network

PLANNERS: dict[str, Callable[..., Planner]] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "gradient": Gradient,
}


def model(name: str) -> Any:
    """Build a model; weights do not matter for its speed."""
    if name in SIZES:
        return Network(SIZES[name])
    draws = torch.Generator().manual_seed(0)
    found = GaussianEnsemble(obs_dim=OBS_DIM, action=ACTION, task=Task(), generator=draws)
    return found.requires_grad_(False)


def measure(planner: Planner, system: Any, envs: int, seconds: float) -> tuple[list[float], int]:
    """Return the milliseconds of warm plans, and the sequences that each evaluates."""
    draws = torch.Generator().manual_seed(1)
    obs = torch.randn(envs, OBS_DIM, generator=draws)
    state = obs if isinstance(system, Network) else system.initial(obs, generator=draws)
    model: Any = system
    plan: Plan | None = None
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < 7 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        plan = planner.plan(state, model, generator=draws, previous=plan)
        times.append((time.perf_counter() - start) * 1e3)
    assert plan is not None
    return times[2:], plan.info["evaluations"]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.5, help="a row, at least 7 plans")
    parser.add_argument("--planners", nargs="+", default=list(PLANNERS))
    parser.add_argument("--models", nargs="+", default=["linear", "2x32", "2x200", "ensemble"])
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--horizon", type=int, nargs="+", default=[15, 30])
    parser.add_argument("--envs", type=int, nargs="+", default=[1, 16])
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    grid = itertools.product(args.planners, args.models, args.samples, args.horizon, args.envs)
    for name, size, samples, horizon, envs in grid:
        settings: dict[str, Any] = {"num_samples": samples, "num_elites": samples // 10}
        if name == "mppi":
            del settings["num_elites"]
        if name == "gradient":
            if samples != args.samples[0]:
                continue
            settings, samples = {}, 4
        planner = PLANNERS[name](action=ACTION, horizon=horizon, num_iterations=1, **settings)
        times, evaluations = measure(planner, model(size), envs, args.seconds)
        times.sort()
        median, p99 = statistics.median(times), times[min(len(times) - 1, int(0.99 * len(times)))]
        row = f"{name},{size},{samples},{horizon},{envs},{evaluations}"
        lines.append(f"{row},{median:.2f},{p99:.2f},{len(times)}")
        print(lines[-1], flush=True)
    out = Path(__file__).parents[2] / "results" / "benchmarks" / "planner_latency.csv"
    command = "# python -m scripts.benchmarks.bench_planners " + " ".join(sys.argv[1:])
    header = "planner,model,samples,horizon,envs,evaluations,median_ms,p99_ms,plans"
    note = f"# obs_dim {OBS_DIM}, act_dim {ACT_DIM}, one thread, wall milliseconds of one warm plan"
    out.write_text("\n".join([command.strip(), note, header, *lines]) + "\n")


if __name__ == "__main__":
    main()
