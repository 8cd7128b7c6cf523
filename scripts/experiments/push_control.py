"""Control with sparse ReLU dynamics: success of every planner beside simpler and stronger means.

For each seed a warm-up explores (its transitions are counted), models are fitted once and kept in
runs/push_models, and each method is run from the same starts in the true environment. Each row is
kept as it is finished, and not run again. Methods: random; script (by hand); "cem full", "cem N",
"mip N", "bab N" on networks with all or N ReLUs; "cem unshaped N" plans with the goal's cost alone,
"cem unshaped near N" without going where no data are;
"cem simulator" plans in MuJoCo itself. Success is judged at the last step of
an episode; "ever" at any step.

    python -m scripts.experiments.push_control --task push --seeds 0 1 2 --methods random script
        "cem 16"
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from mbrl.agents import MPC
from mbrl.buffer import ReplayBuffer
from mbrl.config import compose, instantiate
from mbrl.dynamics import Simulator, SparseReLU
from mbrl.envs.policies import Nudge, NudgePucks, ScriptedPush
from mbrl.envs.tasks import Push, Rope, Sort
from mbrl.planners import CEM, MIP, BaB
from mbrl.relu import limits
from mbrl.roles import needed_env_state
from mbrl.types import Task, Transitions
from scripts.experiments.table import Table

FIELDS = [
    "task", "seed", "method", "first", "starts", "success", "success_wrong_side", "ever", "detail",
    "cost", "horizon", "warmup_steps", "rollout_mse", "fit_cpu_s", "cpu_s_per_plan",
]  # fmt: skip
HIDDEN = (32, 32)
SCHEDULES = {8: (16, 8), 16: (32, 16), 24: (40, 24), 32: (32,), 0: ()}
REACH = 12.0  # cm: 95% of the data have the pusher within 13 cm of the slider
MODELS = Path(__file__).parents[2] / "runs" / "push_models"
KEY = ("task", "seed", "method", "first", "starts", "horizon", "warmup_steps")
HORIZON = {"sort": 6, "sort_crossing": 6, "rope": 6}
Result = dict[str, Any]


def make(name: str, num_envs: int, **task: Any) -> Any:
    """Make an environment of steps of 0.2 s."""
    config = compose([f"env={name}", "agent=random"]).config["env"]
    config["task"] |= {"frame_skip": 20, **task}
    return instantiate({**config, "num_envs": num_envs}, seed=0)


def explorer(env: Any) -> Any:
    """Return what collects the data of a task; None for uniform random actions."""
    task = env.simulation._task
    return {Push: lambda: Nudge(env.task), Sort: NudgePucks, Rope: lambda: None}[type(task)]()


def collect(name: str, steps: int, seed: int, hold: int = 2) -> Transitions:
    """Explore; each action is held for some steps."""
    env, draws = make(name, 20), torch.Generator().manual_seed(seed)
    buffer = ReplayBuffer(steps, env.obs_dim, env.action.dim)
    selector, action = explorer(env), torch.zeros(20, env.action.dim)
    obs, episode = env.reset(10_000 * (seed + 1)), torch.arange(20)
    for t in range(steps // 20):
        if t % hold == 0 and selector is None:
            action = env.action.sample(20, generator=draws)
        elif selector is not None and t % hold == 0:
            action = env.action.clip(selector.select(obs, generator=draws))
        step = env.step(action)
        buffer.add(
            Transitions(
                obs, action, step.reward, step.next_obs, step.terminated, step.truncated, episode
            )
        )
        episode, obs = episode + 20 * (step.terminated | step.truncated), step.obs
    env.close()
    return buffer.all()


def fitted(name: str, relus: int, seed: int, steps: int = 12_000) -> tuple[Any, Result]:
    """Return a network with so many ReLUs, 0 for all; it is fitted the first time."""
    env = make(name, 1)
    options: dict[str, Any] = (
        {"dense_updates": 3000} if relus == 0 else {}
    )  # as many as with two stages
    model = SparseReLU(
        obs_dim=env.obs_dim, action=env.action, task=env.task,
        generator=torch.Generator().manual_seed(seed), hidden=HIDDEN,
        schedule=SCHEDULES.get(relus, (relus,)), **options,
    )  # fmt: skip
    file = MODELS / f"{name}-{seed}-{relus}-{steps}.safetensors"
    if file.exists():
        model.load_state_dict(load_file(file))
        return model, json.loads(file.with_suffix(".json").read_text())
    data = collect(name, steps, seed)
    began = time.process_time()
    found = model.fit(data, generator=torch.Generator().manual_seed(seed + 1))
    taken = time.process_time() - began
    kept = {"fit_cpu_s": taken, "rollout_mse": found["model/rollout_mse"]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".json").write_text(json.dumps(kept))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, file)
    return model, kept


def planner(kind: str, env: Any, horizon: int) -> Any:
    """Make a planner."""
    if kind == "cem":
        return CEM(
            action=env.action, horizon=horizon, num_samples=150, num_elites=15, num_iterations=5,
            warm_iterations=3,
        )  # fmt: skip
    if kind == "mip":
        return MIP(action=env.action, horizon=horizon, bounds="crown", max_nodes=0, num_fresh=1)
    return BaB(action=env.action, horizon=horizon, max_boxes=500)


def run(env: Any, act: Any, seed: int, first: int) -> Result:
    """Play an episode from every start; act gives actions for (obs, env)."""
    obs, task = env.reset(1_000_000 + 1_000 * seed + first), env.simulation._task
    wrong = torch.zeros(env.num_envs, dtype=torch.bool)
    if isinstance(task, Push):
        wrong = (obs[:, :2] * obs[:, 2:4]).sum(1) < 0
    ever, cost, spent, last = torch.zeros_like(wrong), 0.0, 0.0, obs
    for _ in range(env.max_episode_steps):
        began = time.process_time()
        action = act(obs)
        spent += time.process_time() - began
        step = env.step(action)
        cost -= step.reward.mean().item()
        obs, last = step.obs, step.next_obs
        ever |= task.reached(last)
    reached = task.reached(last)
    detail = ""
    if isinstance(task, Sort):
        detail = f"{task.sorted(last).double().mean().item():.2f} pucks sorted"
    if isinstance(task, Rope):
        detail = f"{task.miss(last).mean().item():.2f} cm from the shape"
    plans = env.num_envs * env.max_episode_steps
    return {
        "starts": env.num_envs,
        "success": reached.double().mean().item(),
        "success_wrong_side": reached[wrong].double().mean().item() if wrong.any() else "",
        "ever": ever.double().mean().item(),
        "detail": detail,
        "cost": cost,
        "cpu_s_per_plan": spent / plans,
    }


def play(
    name: str, method: str, seed: int, first: int, starts: int, horizon: int | None, steps: int
) -> Result:
    """Run one method."""
    env = make(name, starts)
    draws = torch.Generator().manual_seed(seed)
    kind, *rest = method.split()
    if kind == "random":
        return run(env, lambda obs: env.action.sample(len(obs), generator=draws), seed, first)
    if kind == "script":
        script = ScriptedPush(env.task, 20)
        return run(
            env, lambda obs: env.action.clip(script.select(obs, generator=draws)), seed, first
        )
    known: Result = {}
    if rest == ["simulator"]:
        model: Any = Simulator(env=env)
    else:
        model, known = fitted(name, 0 if rest[-1] == "full" else int(rest[-1]), seed, steps)
    if "unshaped" in rest:
        model.task = make(name, 1, shaping=0.0).task
    if "near" in rest:
        model.task = kept_near(model.task, REACH)
    assert horizon is not None
    agent = MPC(
        action=env.action, dynamics=model, planner=planner(kind, env, horizon),
        learning_starts=1, generator=draws,
    )  # fmt: skip
    found = run(
        env,
        lambda obs: agent.act(obs, explore=False, env_state=needed_env_state(agent, env)),
        seed,
        first,
    )
    return {**known, **found}


def kept_near(task: Task, reach: float) -> Task:
    """Penalize plans for leading the pusher farther from the slider than the data go.

    Args:
        task: of one of the push environments.
        reach: cm along each axis; each further one costs 0.5.
    """
    assert task.cost is not None
    far = np.full(2, reach)
    room = limits(-far, far, task.cost.stage[0].weight.shape[1], weight=0.5)
    return task._replace(cost=task.cost._replace(stage=(*task.cost.stage, room)))


def main() -> None:
    """Run methods over seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="push")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["random", "script", "cem 16", "mip 16"])
    parser.add_argument("--starts", type=int, default=60)
    parser.add_argument("--first", type=int, default=0, help="of the starts, to run them in parts")
    parser.add_argument("--steps", type=int, default=12_000, help="of the warm-up")
    parser.add_argument("--horizon", type=int, help="of the planners, else 5; 6 for sort and rope")
    parser.add_argument("--out", type=Path, default=Path("results/experiments/push_control.csv"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    command = f"python -m scripts.experiments.push_control {shlex.join(sys.argv[1:])}"
    table = Table(given.out, FIELDS, KEY, command)
    for seed in given.seeds:
        for method in given.methods:
            plans = method not in ("random", "script")
            row = {
                "task": given.task, "seed": seed, "method": method, "starts": given.starts,
                "first": given.first or None,
                "horizon": (given.horizon or HORIZON.get(given.task, 5)) if plans else None,
                "warmup_steps": given.steps if plans and "simulator" not in method else 0,
            }  # fmt: skip
            if not table.has(row):
                starts = given.first, given.starts
                found = play(given.task, method, seed, *starts, row["horizon"], given.steps)
                table.add(row | found)


if __name__ == "__main__":
    main()
