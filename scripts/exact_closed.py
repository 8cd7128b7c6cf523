"""Planner against planner in closed loop, on the true environment, with one learned model and cost.

    python scripts/exact_closed.py --task push --relus 16 --planners cem mip bab mppi gradient
    python scripts/exact_closed.py --task push --planners cem_200k --starts 5

Every planner plans from the same starts, each with a fixed amount of work, so that runs repeat bit
for bit on any machine; the CPU time of a plan stands beside. task=piecewise_affine is planned on
its own equations: what is left there is planning.

Each row is kept as it is finished (results/mip_closed_loop.csv) and not run again. Costs are those
of the episodes, gain is CEM's cost from the same start less the planner's. Intervals are 95%, from
a bootstrap over starts. solved: plans proven optimal; gap: median of what was not proven; improved:
plans better than the incumbent by 1e-4. At every third step CEM plans too from the state that the
planner has come to: model gain is what the planner's plan costs less in the model over the horizon,
true gain what it costs less when both are carried out in the simulator, cost and horizon alike. A
model gain without a true gain is exploitation of the model's errors.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import push_control
import torch
from torch import Tensor

from mbrl.envs import piecewise_affine
from mbrl.envs.tasks.piecewise_affine import headwind
from mbrl.planners import CEM, MIP, MPPI, BaB, Gradient, Plan
from mbrl.planners.piecewise_linear import Exact, obs_of

OUT = Path(__file__).parent.parent / "results" / "mip_closed_loop.csv"
EVERY = 3  # steps between comparisons with CEM from the same state
KEY = ("task", "relus", "seed", "horizon", "hold", "planner", "starts")
FIELDS = [
    *KEY, "success", "cost", "cost_low", "cost_high", "gain", "gain_low", "gain_high",
    "cpu_ms_per_plan", "model_gain", "model_low", "model_high", "true_gain", "true_low",
    "true_high", "solved", "gap", "improved", "unstable", "costs",
]  # fmt: skip


def make(name: str, action: Any, horizon: int, hold: int) -> Any:
    """Make a planner with its share of work."""
    common: dict[str, Any] = {"action": action, "horizon": horizon, "action_hold": hold}
    wide: dict[str, Any] = {"num_elites": 25, "std": 1.5}
    if name == "cem":
        return CEM(**common, **wide, num_samples=500, num_iterations=60, warm_iterations=40)
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
    assert kind == "mip", name
    return MIP(**common, bounds="crown", max_nodes=int(nodes or 0))


def problem(given: argparse.Namespace, starts: int) -> tuple[Any, Any]:
    """Make the environment, and the model that all planners plan with."""
    if given.task == "piecewise_affine":
        env = piecewise_affine(num_envs=starts)
        return env, Exact(headwind(), env.task.cost)
    env = push_control.make(given.task, starts)
    return env, push_control.fitted(given.task, given.relus, given.seed)[0]


def value_in(path: Tensor, actions: Tensor, state: Tensor, cost: Any) -> np.ndarray:
    """Charge true obs (E, T, obs_dim) as the model would, with what a plan takes as fixed: (E,)."""
    fixed = state[:, None, path.shape[2] :].expand(-1, path.shape[1], -1)
    outputs = torch.cat([path.double(), fixed.double()], 2).numpy()
    return cost.total(outputs, actions.double().numpy())


def compare(env: Any, model: Any, state: Any, plans: list[Plan], hold: int) -> np.ndarray:
    """Charge plans in the model and in the simulator: (2, plans, E)."""
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
        seen, _ = env.unroll(env.env_state(), actions)
        found[1, k] = value_in(seen.next_obs.cpu(), actions, here, cost)
    return found


def play(name: str, given: argparse.Namespace, starts: int) -> dict[str, Any]:
    """Run a planner from every start."""
    env, model = problem(given, starts)
    horizon, hold = given.horizon, given.hold
    planner, other = (make(x, env.action, horizon, hold) for x in (name, "cem"))
    draws = torch.Generator().manual_seed(given.seed)
    obs = env.reset(1_000_000 + 1_000 * given.seed)
    previous, spent, plans = None, 0.0, 0
    costs = np.zeros(starts)
    gains, infos, last = [], [], obs
    action = torch.zeros(0)
    for t in range(env.max_episode_steps):
        if t % hold == 0:
            state = model.initial(obs)
            began = time.process_time()
            plan = planner.plan(state, model, generator=draws, previous=previous)
            spent, plans = spent + time.process_time() - began, plans + starts
            previous, action = plan, plan.actions[:, 0]
            if "lower_bound" in plan.info:
                before = plan.info["incumbent"]
                better = (before + plan.value > 1e-4 * before.abs()).double()
                infos.append({**plan.info, "improved": better})
            if name != "cem" and (t // hold) % EVERY == 0:
                beside = other.plan(state, model, generator=torch.Generator().manual_seed(t))
                charged = compare(env, model, state, [beside, plan], hold)
                gains.append(charged[:, 0] - charged[:, 1])
        step = env.step(action)
        costs -= step.reward.double().numpy()
        obs, last = step.obs, step.next_obs
    row: dict[str, Any] = {"starts": starts, "cpu_ms_per_plan": 1e3 * spent / plans}
    task = getattr(env.simulation, "_task", None)
    reached = task.reached(last) if task else (last[:, :2] - last[:, 2:]).abs().sum(1) < 0.1
    row["success"] = reached.double().mean().item()
    row["costs"] = " ".join(f"{x:.3f}" for x in costs)
    row |= interval("cost", costs)
    if gains:
        for kind, what in zip(("model", "true"), np.stack(gains).mean(0), strict=True):
            row |= interval(kind, what, f"{kind}_gain")
    if infos:
        status = [x for info in infos for x in info["status"]]
        row["solved"] = status.count("optimal") / len(status)
        row["gap"] = torch.cat([x["gap"] for x in infos]).median().item()
        row["unstable"] = torch.cat([x["num_unstable"] for x in infos]).double().mean().item()
        row["improved"] = torch.cat([x["improved"] for x in infos]).mean().item()
    return row


def interval(prefix: str, values: np.ndarray, name: str | None = None) -> dict[str, float]:
    """Give mean and 95% interval by bootstrap over the first axis."""
    draws = np.random.default_rng(0)
    means = values[draws.integers(0, len(values), (4000, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {name or prefix: values.mean(), f"{prefix}_low": low, f"{prefix}_high": high}


def main() -> None:
    """Run planners that are not in the table yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--task", default="push")
    parser.add_argument("--relus", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="of the data, the fit and the starts")
    parser.add_argument("--horizon", type=int, default=5)
    parser.add_argument("--hold", type=int, default=1, help="steps for which an action is held")
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--planners", nargs="+", default=["cem", "mip", "bab", "mppi", "gradient"])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    table = push_control.Table(
        given.out, FIELDS, KEY, f"scripts/exact_closed.py {shlex.join(sys.argv[1:])}"
    )
    for name in given.planners:
        row = {key: getattr(given, key, None) for key in KEY} | {"planner": name}
        if table.has(row):
            continue
        row |= play(name, given, given.starts)
        first = table.find({**row, "planner": "cem"}, but="starts")
        if first is not None:
            mine, cem = (np.array([float(x) for x in r["costs"].split()]) for r in (row, first))
            count = min(len(mine), len(cem))
            row |= interval("gain", cem[:count] - mine[:count])
        table.add(row)


if __name__ == "__main__":
    main()
