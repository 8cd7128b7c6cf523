"""Draw a plan of planner=mip: its path, its neurons, the gap over time; docs/mip_plan.png.

    python -m scripts.benchmarks.plot_mip [--task contact] [--neurons 8] [--horizon 6] [--seconds 2]
        [--start INDEX | --run RUN]

Left: the plan in the model, and in the true system from the same actions (contact: pusher and disc
seen from above; smooth: angle and speed over time). Middle: each neuron at each step, always off,
always on (both proven) or undecided and then off or on in the plan. Right: the cost of the best
plan and the proven bound against the seconds given, from separate plans under longer and longer
deadlines, for planner=mip and planner=bab. --run takes the model, the first observation and the
horizon of a run with dynamics=sparse_relu instead; the true path is then left out.
"""

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

from mbrl.planners import MIP, BaB
from mbrl.planners.exact.piecewise_linear import obs_of
from mbrl.relu import attach, crown
from mbrl.relu.program import Problem
from mbrl.roles import Plan
from mbrl.types import ActionSpec
from scripts.benchmarks import mip_problems as problems

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.colors import ListedColormap  # noqa: E402

OUT = Path(__file__).parents[2] / "docs" / "mip_plan.png"
KINDS = ("always off", "off in the plan", "on in the plan", "always on")


def plan_of(planner: Any, model: Any, state: Any, seconds: float) -> Plan:
    draws = torch.Generator().manual_seed(0)
    return planner.plan(state, model, generator=draws, deadline=seconds)


def draw_path(axis: Any, task: str | None, outputs: np.ndarray, obs: np.ndarray, true: Any) -> None:
    """Draw obs, then the outputs (T, n) of the plan; the true path, if there is one, in dashes."""
    path = np.concatenate([obs[None], outputs[:, : len(obs)]])
    if task == "contact":
        for columns, name, color in ((slice(0, 2), "pusher", "C0"), (slice(2, 4), "disc", "C1")):
            axis.plot(*path[:, columns].T, "o-", ms=3, color=color, label=name)
            axis.plot(*true[:, columns].T, "--", color=color, lw=1)
            axis.plot(*path[0, columns], "s", ms=7, color=color)
        axis.add_patch(plt.Circle((path[-1, 2], path[-1, 3]), 0.05, fill=False, color="C1", lw=0.5))
        axis.plot(0, 0, "*", ms=14, color="C2", label="goal")
        axis.set_aspect("equal")
        axis.set(xlabel="x [m]", ylabel="y [m]")
    else:
        for column in range(path.shape[1]):
            label = ("angle", "speed")[column] if task == "smooth" else f"obs {column}"
            axis.plot(path[:, column], "o-", ms=3, color=f"C{column}", label=label)
            if true is not None:
                axis.plot(true[:, column], "--", color=f"C{column}", lw=1)
        axis.set(xlabel="step")
    axis.legend(fontsize=8)
    axis.set_title("plan in the model" + ("" if true is None else " (dashes: true system)"))


def draw_neurons(axis: Any, problem: Problem, before: np.ndarray) -> None:
    """Show what each neuron does at each step; before (T, N) are the plan's preactivations."""
    low, high = problem.held(problem.action_low), problem.held(problem.action_high)
    limits = crown(problem.network, problem.obs, low, high, hold=problem.hold)
    code = np.where(limits.low >= 0, 3, np.where(limits.high <= 0, 0, np.where(before > 0, 2, 1)))
    colors = ListedColormap(["#dddddd", "#9ecae1", "#e6550d", "#636363"])
    image = axis.imshow(code.T, cmap=colors, vmin=-0.5, vmax=3.5, aspect="auto", origin="lower")
    bar = axis.figure.colorbar(image, ax=axis, ticks=range(4), shrink=0.7)
    bar.ax.set_yticklabels(KINDS, fontsize=8)
    regions = len({tuple(row) for row in before > 0})
    axis.set(xlabel="step", ylabel="neuron")
    axis.set_title(f"{limits.num_unstable()} undecided of {code.size}; {regions} regions visited")


def draw_gap(axis: Any, planners: dict[str, Any], model: Any, state: Any, seconds: float) -> None:
    """Plan under longer and longer deadlines."""
    times = np.geomspace(0.02, seconds, 9)
    for (name, planner), color in zip(planners.items(), ("C0", "C3"), strict=True):
        plan_of(planner, model, state, 0.05)  # what a first call alone costs
        plans = [plan_of(planner, model, state, t) for t in times]
        costs = np.minimum.accumulate([-p.value.item() for p in plans])
        bounds = np.maximum.accumulate([p.info["lower_bound"].item() for p in plans])
        shown = np.isfinite(bounds)
        axis.plot(times, costs, "o-", ms=3, color=color, label=f"{name}: cost of the plan")
        axis.plot(times[shown], bounds[shown], "v--", ms=4, color=color, label=f"{name}: bound")
    axis.set_xscale("log")
    axis.set(xlabel="seconds given", ylabel="cost")
    axis.legend(fontsize=8)
    axis.set_title("cost and proven bound")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--task", default="contact", choices=["smooth", "contact"])
    parser.add_argument("--neurons", type=int, default=8)
    parser.add_argument("--horizon", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    task, hold, horizon, true = args.task, 1, args.horizon, None
    if args.run:
        from scripts.benchmarks.bench_exact import restored

        parts = restored(args.run)
        model, task, action = parts.agent.dynamics, None, parts.env.action
        horizon, hold = parts.agent.planner.horizon, parts.agent.planner.action_hold
        state = model.initial(parts.make_eval_env(1).reset(args.start))
    else:
        model, action = problems.model(task, args.neurons), problems.system(task).action
        start = problems.starts(task, args.start + 1, 5)[args.start]
        state = torch.from_numpy(start)[None]
    options: dict[str, Any] = {"action": action, "horizon": horizon, "action_hold": hold}
    planners = {"mip": MIP(**options, max_nodes=10**6), "bab": BaB(**options, max_boxes=10**6)}
    plan = plan_of(planners["mip"], model, state, args.seconds)
    obs = obs_of(state)[0].double().numpy()
    problem = problem_of(model, action, obs, horizon, hold)
    decisions = plan.actions.double().numpy()
    _, outputs, before = problem.simulate(decisions)
    if task is not None:
        states = [obs[None]]
        for step in problem.held(decisions)[0]:
            states.append(problems.move(task, states[-1], step[None]))
        true = np.concatenate(states)
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    draw_path(axes[0], task, outputs[0], obs, true)
    draw_neurons(axes[1], problem, before[0])
    draw_gap(axes[2], planners, model, state, args.seconds)
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, dpi=110)
    gap, status = plan.info["gap"].item(), plan.info["status"][0]
    print(f"{OUT}: cost {-plan.value.item():.5f}, gap {gap:.2%}, {status}")


def problem_of(model: Any, action: ActionSpec, obs: np.ndarray, horizon: int, hold: int) -> Problem:
    """Build the program for the best actions of a model from obs."""
    network, cost = attach(model.network(), model.cost)
    low, high = (x.double().numpy()[None].repeat(horizon, 0) for x in (action.low, action.high))
    return Problem(network.simplify(), cost, obs, low, high, hold)


if __name__ == "__main__":
    main()
