"""Planner against planner in closed loop, on the true environment, with one learned model and cost.

    python -m scripts.experiments.exact_closed --task push --relus 16 --planners cem mip bab mppi
        gradient
    python -m scripts.experiments.exact_closed --task push --planners cem_200k --starts 5
    python -m scripts.experiments.exact_closed --task push --open --starts 60
    python -m scripts.experiments.exact_closed --task push --pair cem_200k mip

Every planner plans from the same starts, each with a fixed amount of work, so that runs repeat bit
for bit on any machine; the CPU time of a plan stands beside. task=piecewise_affine is planned on
its own equations: what is left there is planning.

Each row is kept as it is finished (results/experiments/mip_closed_loop.csv) and not run again.
Costs are those of the episodes, gain is CEM's cost from the same start less the planner's; goal
costs leave out the shaping, whose place moves with each step, near the goal wildly. Intervals are
95%, from a bootstrap over starts. solved: plans proven optimal; gap: median of what was not proven;
improved: plans better than the incumbent by 1e-4. At every third step CEM plans too from the state
that the planner has come to: model gain is what the planner's plan costs less in the model over the
horizon, true gain what it costs less when both are carried out in the simulator, cost and horizon
alike. A model gain without a true gain is exploitation of the model's errors.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl.envs import piecewise_affine
from mbrl.envs.tasks.piecewise_affine import headwind
from mbrl.planners import CEM, MIP, MPPI, BaB, Gradient
from mbrl.planners.exact.piecewise_linear import Exact, obs_of
from mbrl.roles import Plan
from scripts.experiments import push_control
from scripts.experiments.table import Table

OUT = Path(__file__).parents[2] / "results" / "experiments" / "mip_closed_loop.csv"
EVERY = 3  # steps between comparisons with CEM from the same state
KEY = ("loop", "task", "relus", "seed", "horizon", "hold", "reach", "planner", "first", "starts")
FIELDS = [
    *KEY, "success", "cost", "cost_low", "cost_high", "gain", "gain_low", "gain_high",
    "goal_cost", "goal_cost_low", "goal_cost_high", "goal_gain", "goal_gain_low", "goal_gain_high",
    "cpu_ms_per_plan", "model_gain", "model_low", "model_high", "true_gain", "true_low",
    "true_high", "solved", "gap", "improved", "unstable", "costs", "goal_costs",
]  # fmt: skip


def make(name: str, action: Any, horizon: int, hold: int) -> Any:
    """Make a planner with its share of work."""
    common: dict[str, Any] = {"action": action, "horizon": horizon, "action_hold": hold}
    wide: dict[str, Any] = {"num_elites": 25, "std": 1.5}
    if name == "cem":
        return CEM(**common, **wide, num_samples=500, num_iterations=60, warm_iterations=40)
    if name == "cem_long":
        return CEM(**common, **wide, num_samples=1000, num_iterations=60, warm_iterations=40)
    if name == "cem_quick":  # the sampler's own settings
        return CEM(**common, num_samples=300, num_elites=30, num_iterations=20, warm_iterations=5)
    if name == "cem_200k":
        return CEM(**common, **wide, num_samples=10_000, num_iterations=20, warm_iterations=20)
    if name == "mppi":
        return MPPI(**common, num_samples=500, num_iterations=60, warm_iterations=40)
    if name == "gradient":
        return Gradient(**common, num_starts=16, num_iterations=60, warm_iterations=30)
    if name == "bab":
        return BaB(**common, max_boxes=100)
    kind, _, nodes = name.partition("_")
    if kind == "regions":
        return MIP(**common, bounds="crown", formulation="regions", max_nodes=int(nodes or 50))
    assert kind == "mip", name
    return MIP(**common, bounds="crown", max_nodes=int(nodes or 0))


def problem(given: argparse.Namespace, starts: int) -> tuple[Any, Any]:
    """Make the environment, and the model that all planners plan with."""
    if given.task == "piecewise_affine":
        env = piecewise_affine(num_envs=starts)
        assert env.task.cost is not None
        return env, Exact(headwind(), env.task.cost)
    env = push_control.make(given.task, starts)
    unshaped = given.task == "push_unshaped"  # the same physics: one model for both
    model = push_control.fitted("push" if unshaped else given.task, given.relus, given.seed)[0]
    model.task = env.task
    if given.reach:
        model.task = push_control.kept_near(env.task, given.reach)
    return env, model


def goal_reward(task: str, env: Any) -> Any:
    """Return the reward without shaping, which charges a place that moves with each step."""
    shaped = task.startswith(("push", "sort")) and task != "push_unshaped"
    return (push_control.make(task, 1, shaping=0.0) if shaped else env).task.reward


def value_in(path: Tensor, actions: Tensor, state: Tensor, cost: Any) -> np.ndarray:
    """Compute costs (E,) of true obs (E, T, obs_dim), with what a plan takes as fixed."""
    fixed = state[:, None, path.shape[2] :].expand(-1, path.shape[1], -1)
    outputs = torch.cat([path.double(), fixed.double()], 2).numpy()
    return cost.total(outputs, actions.double().numpy())


def compare(env: Any, model: Any, state: Any, plans: list[Plan], hold: int) -> np.ndarray:
    """Compute costs of plans in the model and in the simulator: (2, plans, E)."""
    here = obs_of(state).double()
    network, cost = model.network(), model.cost
    found = np.zeros((2, len(plans), len(here)))
    for k, plan in enumerate(plans):
        actions = plan.actions.repeat_interleave(hold, dim=1)
        outputs = [
            network.simulate(x[None].numpy(), u[None].double().numpy())[0][0]
            for x, u in zip(here, actions, strict=True)
        ]
        found[0, k] = cost.total(np.stack(outputs), actions.double().numpy())
        seen, _ = env.simulate(env.env_state(), actions)
        found[1, k] = value_in(seen.next_obs.cpu(), actions, here, cost)
    return found


def play(name: str, given: argparse.Namespace, starts: int) -> dict[str, Any]:
    """Run a planner from every start."""
    env, model = problem(given, starts)
    horizon, hold = given.horizon, given.hold
    planner, other = (make(x, env.action, horizon, hold) for x in (name, "cem"))
    draws = torch.Generator().manual_seed(given.seed)
    obs = env.reset(1_000_000 + 1_000 * given.seed + given.first)
    previous, spent, plans = None, 0.0, 0
    costs, goal_costs = np.zeros((2, starts))
    goal_of = goal_reward(given.task, env)
    charges, made, last = [], [], obs
    action = torch.zeros(0)
    for t in range(env.max_episode_steps):
        if t % hold == 0:
            state = model.initial(obs)
            began = time.process_time()
            plan = planner.plan(state, model, generator=draws, previous=previous)
            spent, plans = spent + time.process_time() - began, plans + starts
            previous, action = plan, plan.actions[:, 0]
            made.append(plan)
            if name != "cem" and (t // hold) % EVERY == 0:
                beside = other.plan(state, model, generator=torch.Generator().manual_seed(t))
                charged = compare(env, model, state, [beside, plan], hold)
                charges.append(charged)
        step = env.step(action)
        costs -= step.reward.double().numpy()
        goal_costs -= goal_of(obs, action, step.next_obs).double().numpy()
        obs, last = step.obs, step.next_obs
    row: dict[str, Any] = {"starts": starts, "cpu_ms_per_plan": 1e3 * spent / plans}
    task = getattr(env.simulation, "_task", None)
    reached = task.reached(last) if task else (last[:, :2] - last[:, 2:]).abs().sum(1) < 0.1
    row["success"] = reached.double().mean().item()
    for name, values in (("cost", costs), ("goal_cost", goal_costs)):
        row[f"{name}s"] = " ".join(f"{x:.3f}" for x in values)
        row |= interval(name, values)
    if charges:
        both = np.stack(charges).mean(0)
        row |= gains_of(both[:, 0], both[:, 1])
    row |= info_of(made)
    return row


def first_plans(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Plan once with every planner from every start; a row for each planner."""
    env, model = problem(given, given.starts)
    state = model.initial(env.reset(1_000_000 + 1_000 * given.seed + given.first))
    plans, spent = [], []
    for name in given.planners:
        planner = make(name, env.action, given.horizon, given.hold)
        began = time.process_time()
        draws = torch.Generator().manual_seed(given.seed)
        plans.append(planner.plan(state, model, generator=draws))
        spent.append(1e3 * (time.process_time() - began) / given.starts)
    found = compare(env, model, state, plans, given.hold)
    rows = []
    for k, name in enumerate(given.planners):
        row = {key: getattr(given, key, None) for key in KEY} | {"planner": name}
        row |= {"loop": "open", "cpu_ms_per_plan": spent[k], **info_of([plans[k]])}
        row |= interval("cost", found[1, k]) | gains_of(found[:, 0], found[:, k])
        row["costs"] = " ".join(f"{x:.3f}" for x in found[1, k])
        rows.append(row)
    return rows


def gains_of(cem: np.ndarray, mine: np.ndarray) -> dict[str, float]:
    """Compare costs (2, E), in the model and in the simulator, as shares of CEM's mean cost."""
    gain = (cem - mine) / cem.mean(1, keepdims=True)
    return interval("model", gain[0], "model_gain") | interval("true", gain[1], "true_gain")


def info_of(plans: list[Plan]) -> dict[str, float]:
    """Sum up what exact planners say of their plans; nothing of samplers'."""
    infos = [plan.info for plan in plans]
    if "lower_bound" not in infos[0]:
        return {}
    status = [x for info in infos for x in info["status"]]
    before = torch.cat([x["incumbent"] for x in infos])
    value = torch.cat([plan.value for plan in plans])
    better = before + value > 1e-4 * before.abs()
    return {
        "solved": status.count("optimal") / len(status),
        "gap": torch.cat([x["gap"] for x in infos]).median().item(),
        "unstable": torch.cat([x["num_unstable"] for x in infos]).double().mean().item(),
        "improved": better.double().mean().item(),
    }


def interval(prefix: str, values: np.ndarray, name: str | None = None) -> dict[str, float]:
    """Return mean and 95% interval by bootstrap over the first axis."""
    draws = np.random.default_rng(0)
    means = values[draws.integers(0, len(values), (4000, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {name or prefix: values.mean(), f"{prefix}_low": low, f"{prefix}_high": high}


def paired(one: dict[str, Any], other: dict[str, Any], column: str = "costs") -> np.ndarray:
    """Return what the first of two rows costs more than the other, start by start."""
    costs = [np.array([float(x) for x in row[column].split()]) for row in (one, other)]
    count = min(len(x) for x in costs)
    return costs[0][:count] - costs[1][:count]


def main() -> None:
    """Run planners that are not in the table yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--task", default="push")
    parser.add_argument("--relus", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="of the data, the fit and the starts")
    parser.add_argument("--horizon", type=int, default=5)
    parser.add_argument("--hold", type=int, default=1, help="steps for which an action is held")
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument(
        "--reach", type=float, help="cm from the slider in which plans of push stay"
    )
    parser.add_argument("--first", type=int, default=0, help="of the starts, to run them in parts")
    parser.add_argument("--planners", nargs="+", default=["cem", "mip", "bab", "mppi", "gradient"])
    parser.add_argument("--open", action="store_true", help="one plan from each start")
    parser.add_argument("--pair", nargs=2, help="print what the first costs more than the second")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(
        given.out,
        FIELDS,
        KEY,
        f"python -m scripts.experiments.exact_closed {shlex.join(sys.argv[1:])}",
    )
    if given.pair:
        row = {key: getattr(given, key, None) for key in KEY} | {"loop": "closed"}
        one, other = (table.find(row | {"planner": x}, but="starts") for x in given.pair)
        if one is None or other is None:
            parser.error("--pair: both must be in the table; run them first")
        more = paired(one, other)
        mean, low, high = interval("gain", more).values()
        print(f"{mean:.3f} [{low:.3f}, {high:.3f}], more on {(more > 0).sum()} of {len(more)}")
        return
    if given.open:
        rows = first_plans(given)
        for row in (row for row in rows if not table.has(row)):
            table.add(row)
        return
    for name in given.planners:
        row = {key: getattr(given, key, None) for key in KEY} | {"planner": name, "loop": "closed"}
        if table.has(row):
            continue
        row |= play(name, given, given.starts)
        first = table.find({**row, "planner": "cem"}, but="starts")
        if first is not None:
            for prefix in ("", "goal_"):
                row |= interval(f"{prefix}gain", paired(first, row, f"{prefix}costs"))
        table.add(row)


if __name__ == "__main__":
    main()
