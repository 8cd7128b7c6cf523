"""Planner against planner on ReLU dynamics: equal horizon, equal wall time, one model and cost.

    # results/benchmarks/mip_open_loop.csv
    python -m scripts.benchmarks.bench_exact open [--seconds 0.1] [--name _1s]

One plan from each start of the problems in scripts/benchmarks/mip_problems.py, or of a run's model
and environment (--run), within the same wall time. Scored by the cost in the model, as a share of
the best that any planner found from that start (excess), with MIP's proven bound beside it.
cem_200k draws 200_000 samples, as long as that takes. Intervals are 95%, from a bootstrap over
starts. Whole episodes are in scripts/experiments/exact_closed.py.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mbrl.imagination.rollout import rollout
from mbrl.planners import CEM, MIP, MPPI, BaB, Gradient
from mbrl.planners.exact.piecewise_linear import Exact, obs_of
from mbrl.relu import attach
from mbrl.roles import Plan, Planner
from mbrl.types import ActionSpec
from scripts.benchmarks import mip_problems as problems

RESULTS = Path(__file__).parents[2] / "results" / "benchmarks"
CELLS = [("smooth", 16, 10), ("contact", 8, 5), ("contact", 8, 8), ("contact", 16, 10)]
PLANNERS = ("mip", "regions", "bab", "cem", "mppi", "gradient")


class Timed(Planner):
    """A planner that has so many seconds for each environment.

    Args:
        planner: which.
        seconds: None leaves it its own iterations.
    """

    def __init__(self, planner: Planner, seconds: float | None):
        self._planner, self._seconds = planner, seconds
        self.num_particles, self.action_hold = planner.num_particles, planner.action_hold

    def start(self, num_envs: int) -> Any:
        return self._planner.start(num_envs)

    def plan(
        self,
        state: Any,
        model: Any,
        *,
        generator: torch.Generator,
        previous: Plan | None = None,
        deadline: float | None = None,
    ) -> Plan:
        if self._seconds is not None:
            deadline = self._seconds * obs_of(state).shape[0]
        return self._planner.plan(
            state, model, generator=generator, previous=previous, deadline=deadline
        )


def make(name: str, action: ActionSpec, horizon: int, hold: int, seconds: float | None) -> Planner:
    """Build a planner, whose wall time is all that stops it."""
    options: dict[str, Any] = {"action": action, "horizon": horizon, "action_hold": hold}
    long = 10**6
    if name in ("mip", "regions"):
        form: Any = "regions" if name == "regions" else "binaries"
        planner: Planner = MIP(**options, max_nodes=long, formulation=form)
    elif name == "bab":
        planner = BaB(**options, max_boxes=long)
    elif name == "cem":
        planner = CEM(**options, num_iterations=60, warm_iterations=60)
    elif name == "cem_200k":
        planner = CEM(
            **options, num_samples=10000, num_elites=200, num_iterations=20, warm_iterations=20
        )
        seconds = None
    elif name == "mppi":
        planner = MPPI(**options, num_iterations=60, warm_iterations=60)
    else:
        planner = Gradient(**options, num_starts=16, num_iterations=200, warm_iterations=200)
    return Timed(planner, seconds)


def cost_of(model: Any, state: Any, plan: Plan, hold: int) -> float:
    """Score a plan of one environment in the model, in float64."""
    network, cost = attach(model.network(), model.cost)
    exact = Exact(network.simplify(), cost)
    value = rollout(
        exact, obs_of(state).double(), plan.actions[:, None].double(), hold=hold,
        terminal_value=exact.terminal_value,
    ).value  # fmt: skip
    return -value.item()


def interval(values: np.ndarray) -> str:
    """Return mean and 95% interval by bootstrap over the first axis."""
    draws = np.random.default_rng(0)
    means = values[draws.integers(0, len(values), (2000, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{values.mean():.5f},{low:.5f},{high:.5f}"


def compare(
    cell: str,
    model: Any,
    action: ActionSpec,
    states: list[Any],
    horizon: int,
    hold: int,
    seconds: float,
) -> list[str]:
    """Plan with every planner from every start; one line for each planner."""
    names = [*PLANNERS, "cem_200k"]
    costs, walls = np.zeros((2, len(states), len(names)))
    bounds = np.full((len(states), len(names)), -np.inf)
    for name in names:  # what a first call alone costs
        make(name, action, 2, hold, 0.01).plan(states[0], model, generator=torch.Generator())
    for i, state in enumerate(states):
        for k, name in enumerate(names):
            planner = make(name, action, horizon, hold, seconds)
            began = time.perf_counter()
            draws = torch.Generator().manual_seed(i)
            plan = planner.plan(state, model, generator=draws)
            walls[i, k] = time.perf_counter() - began
            costs[i, k] = cost_of(model, state, plan, hold)
            if "lower_bound" in plan.info:
                bounds[i, k] = plan.info["lower_bound"].item()
    best = costs.min(1, keepdims=True)
    scale = np.abs(best).clip(1e-9)
    excess, lines = (costs - best) / scale, []
    for k, name in enumerate(names):
        wins = (costs[:, k] <= best[:, 0] + 1e-4 * scale[:, 0]).mean()
        against = (costs[:, names.index("cem")] - costs[:, k]) / scale[:, 0]
        gap = np.median((costs[:, k] - bounds[:, k]) / scale[:, 0])
        lines.append(
            f"{cell},{name},{len(states)},{interval(excess[:, k])},{wins:.2f},"
            f"{interval(against)},{gap:.5f},{1e3 * np.median(walls[:, k]):.0f}"
        )
        print(lines[-1], flush=True)
    return lines


def open_loop(args: argparse.Namespace) -> tuple[str, list[str]]:
    lines: list[str] = []
    if args.run:
        parts = restored(args.run)
        agent, horizon = parts.agent, parts.agent.planner.horizon
        obs = parts.make_eval_env(args.starts).reset(1_000_000)
        states = [agent.dynamics.initial(x[None]) for x in obs]
        hold = agent.planner.action_hold
        name = f"{Path(args.run).name},,{horizon}"
        lines = compare(name, agent.dynamics, parts.env.action, states, horizon, hold, args.seconds)
    else:
        for task, width, horizon in CELLS:
            starts = problems.starts(task, args.starts, 4)
            states = [torch.from_numpy(x)[None] for x in starts]
            model, action = problems.model(task, width), problems.system(task).action
            cell = f"{task},{width},{horizon}"
            lines += compare(cell, model, action, states, horizon, 1, args.seconds)
    head = "task,neurons,horizon,planner,starts,excess,low,high,share at the best (1e-4),"
    return head + "gain over cem,low,high,median gap,median wall ms", lines


def restored(run: str) -> Any:
    from mbrl.config.restore import restore
    from mbrl.training.run_folder import RunFolder

    return restore(RunFolder.open(Path(run)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["open"])
    parser.add_argument("--run", help="a run with dynamics=sparse_relu")
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0.1, help="for each plan")
    parser.add_argument("--name", default="", help="end of the table's file name")
    args = parser.parse_args()
    torch.set_num_threads(1)
    header, lines = open_loop(args)
    command = f"# python -m scripts.benchmarks.bench_exact {' '.join(sys.argv[1:])}"
    file = RESULTS / f"mip_open_loop{args.name}.csv"
    file.write_text("\n".join([command, header, *lines]) + "\n")


if __name__ == "__main__":
    main()
