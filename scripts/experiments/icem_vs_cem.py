"""Compare iCEM with CEM at equal model evaluations, in closed loop on known models.

    python -m scripts.experiments.icem_vs_cem [--seeds 32] [--budgets 50 100 200 400 1000]

The model is the system itself, so that planning is the only question. Each seed draws a start and
plays one episode; every step has the same budget, spent in three refits by either planner, with the
same elites; an evaluation is one action sequence scored by the model, as counted by the planners.
Writes results/experiments/icem_vs_cem.csv, a row a seed, and docs/icem_vs_cem.png: what is lost
against the best run of the same seed, for the starts differ more than the planners do.
"""

import argparse
import csv
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mbrl.planners import CEM, ICEM
from mbrl.roles import Planner
from mbrl.types import ActionSpec, Prediction

ROOT = Path(__file__).parents[2]
ITERATIONS = 3
COLORS = {"cem": "#d97706", "icem": "#2563eb"}
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # state, action -> next state, reward


class Known(NamedTuple):
    """A system that is its own model."""

    act: ActionSpec
    start: Callable[[torch.Generator], Tensor]  # -> (state_dim,)
    move: Step
    length: int  # of an episode
    horizon: int  # of a plan

    def step(self, state: Tensor, action: Tensor, **_: Any) -> tuple[Tensor, Prediction]:
        after, reward = self.move(state, action)
        never = torch.zeros_like(reward, dtype=torch.bool)
        return after, Prediction(after, reward, never, ~never, None)


def pendulum() -> Known:
    """Pendulum-v1: state (angle, speed), 200 steps."""

    def start(draws: torch.Generator) -> Tensor:
        return (2 * torch.rand(2, generator=draws) - 1) * torch.tensor([math.pi, 1.0])

    def move(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        angle, speed, torque = state[:, 0], state[:, 1], action[:, 0]
        reward = -(angle.square() + 0.1 * speed.square() + 0.001 * torque.square())
        speed = (speed + (15 * angle.sin() + 3 * torque) * 0.05).clamp(-8, 8)
        angle = (angle + 0.05 * speed + math.pi).remainder(2 * math.pi) - math.pi
        return torch.stack([angle, speed], 1), reward

    return Known(box(1, 2.0), start, move, 200, 25)


def linear() -> Known:
    """An 8-dimensional rotation with 4 bounded inputs and a quadratic cost, 50 steps."""
    draws = torch.Generator().manual_seed(0)
    a = torch.linalg.qr(torch.randn(8, 8, generator=draws))[0]
    b = 0.3 * torch.randn(8, 4, generator=draws)

    def start(draws: torch.Generator) -> Tensor:
        x = torch.randn(8, generator=draws)
        return 3 * x / x.norm()

    def move(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        reward = -state.square().sum(1) - 0.1 * action.square().sum(1)
        return state @ a.T + action @ b.T, reward

    return Known(box(4, 1.0), start, move, 50, 15)


def box(dim: int, limit: float) -> ActionSpec:
    high = torch.full((dim,), limit)
    return ActionSpec("continuous", -high, high)


TASKS = {"pendulum": pendulum, "linear": linear}


def planner(name: str, task: Known, budget: int, **settings: Any) -> Planner:
    """Build a planner that evaluates budget sequences a step, or a few less."""
    elites = max(4, budget // (10 * ITERATIONS))
    shared: dict[str, Any] = {"action": task.act, "horizon": task.horizon, "num_elites": elites}
    shared |= {"num_iterations": ITERATIONS, "warm_iterations": ITERATIONS, **settings}
    if name == "cem":
        return CEM(num_samples=(budget - 2) // ITERATIONS, **shared)
    for samples in range(budget, 1, -1):
        found = ICEM(num_samples=samples, **shared)
        if found.evaluations(ITERATIONS) <= budget:
            return found
    raise ValueError(f"no iCEM within {budget} evaluations")


def play(task: Known, planner: Planner, seeds: range) -> tuple[Tensor, float, float]:
    """Play an episode a seed.

    Returns:
        Returns (seeds,), evaluations a step, CPU milliseconds a step and seed.
    """
    state = torch.stack([task.start(torch.Generator().manual_seed(s)) for s in seeds])
    draws = torch.Generator().manual_seed(seeds.start)
    model: Any = task  # planners call nothing but its step
    total, plan, spent, began = torch.zeros(len(seeds)), None, 0, time.process_time()
    for _ in range(task.length):
        plan = planner.plan(state, model, generator=draws, previous=plan)
        state, reward = task.move(state, plan.actions[:, 0])
        total += reward
        spent += plan.info["evaluations"]
    taken = (time.process_time() - began) / task.length / len(seeds)
    return total, spent / task.length, taken * 1e3


def draw(rows: list[dict[str, Any]]) -> None:
    """Draw what is lost against the best run of each seed, with 95% intervals."""
    tops: dict[tuple[str, int], float] = defaultdict(lambda: -math.inf)
    for row in rows:
        key = row["task"], row["seed"]
        tops[key] = max(tops[key], row["return"])
    lost: dict[tuple[str, str, float], list[float]] = defaultdict(list)
    for row in rows:
        key = row["task"], row["planner"], row["evaluations"]
        lost[key].append(tops[row["task"], row["seed"]] - row["return"])
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure = Figure(figsize=(4.2 * len(tasks), 3.2), dpi=130, layout="constrained")
    for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        for name, color in COLORS.items():
            found = {n: torch.tensor(x) for (t, p, n), x in lost.items() if (t, p) == (task, name)}
            y = torch.stack([x.mean() for x in found.values()])
            error = torch.stack([1.96 * x.std() / len(x) ** 0.5 for x in found.values()])
            axes.plot([*found], y, color=color, marker="o", markersize=3, label=name)
            axes.fill_between([*found], y - error, y + error, color=color, alpha=0.2, linewidth=0)
            seeds = len(next(iter(found.values())))
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_title(task, loc="left", fontsize=10)
        axes.set_xlabel("model evaluations a step", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8, loc="upper right")
    label = f"return lost to the best run of a seed\n{seeds} seeds, 95% interval"
    figure.axes[0].set_ylabel(label, fontsize=9)
    figure.savefig(ROOT / "docs" / "icem_vs_cem.png")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--budgets", type=int, nargs="+", default=[50, 100, 200, 400, 1000])
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for name in args.tasks:
        task = TASKS[name]()
        for budget in args.budgets:
            for which in COLORS:
                found = planner(which, task, budget)
                returns, spent, ms = play(task, found, range(args.seeds))
                for seed, value in enumerate(returns.tolist()):
                    row = {"task": name, "planner": which, "budget": budget, "seed": seed}
                    rows.append({**row, "evaluations": spent, "return": round(value, 3)})
                error = 1.96 * returns.std() / args.seeds**0.5
                print(
                    f"{name:12s} {which:5s} {spent:7.1f} evaluations  {returns.mean():9.2f}"
                    f" +- {error:.2f}  {ms:.2f} ms",
                    flush=True,
                )
    with (ROOT / "results" / "experiments" / "icem_vs_cem.csv").open("w") as file:
        file.write(" ".join(["# python -m scripts.experiments.icem_vs_cem", *sys.argv[1:]]) + "\n")
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draw(rows)


if __name__ == "__main__":
    main()
