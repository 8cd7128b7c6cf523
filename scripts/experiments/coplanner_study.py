"""MBPO against COPlanner and its parts: methods x tasks x seeds, every finished run kept.

    # all of PLAN, from where it stopped
    python -m scripts.experiments.coplanner_study --plan [--jobs 1]
    python -m scripts.experiments.coplanner_study --tasks pendulum_sparse --methods one_step --seeds
        100 101
    # only the summary and the figure
    python -m scripts.experiments.coplanner_study

Each run is one `mbrl train` on one thread; a run that was broken off is resumed, one that is in
results/experiments/coplanner/TASK.csv is not done again (one row per evaluation). Seeds are paired:
methods share environments, initial weights and the random steps before learning starts. The
evaluated policy is the deterministic actor, without planning.

Measures, fixed before the runs: - coverage: share of the cells of a fixed grid over the task's
state that real transitions reached; - first_reward: number of the first real transition that pays
more than the task's bar; without one it is censored at the run's length; - auc: mean of the
evaluated returns over all evaluations; final: the last of them. Of each, against MBPO on the same
seeds, the interquartile mean of the paired differences with a 95% percentile interval of 10,000
bootstrap resamples of the seeds, within each task where tasks are pooled (Agarwal et al. 2021):
results/experiments/coplanner/summary.csv, which says how many of the planned runs it rests on, and
docs/coplanner.png. Presets were tried out on seeds of 9000 and above alone; where one was changed
after its runs, these are kept in results/experiments/coplanner/first_presets and the new one has
new seeds (from 200).
"""

import argparse
import csv
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mbrl.report import interval, iqm

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "experiments" / "coplanner"
FIELDS = ["method", "seed", "step", "return", "coverage", "first_reward", "cpu_seconds", "command"]
ROLLOUT, EXPLORE = "agent.rollout_actions", "agent.exploration_actions"
METHODS = {
    "mbpo": ["agent=mbpo"],
    "coplanner": ["agent=coplanner"],
    "explore_only": ["agent=coplanner", f"{ROLLOUT}=null"],
    "rollout_only": ["agent=coplanner", f"{EXPLORE}=null"],
    "no_bonus": ["agent=coplanner", f"{ROLLOUT}.alpha=0", f"{EXPLORE}.alpha=0"],
    "one_step": ["agent=coplanner", f"{ROLLOUT}.horizon=1", f"{EXPLORE}.horizon=1"],
    "measured_alpha": [
        "agent=coplanner",
        f"{ROLLOUT}.scale_alpha=true",
        f"{EXPLORE}.scale_alpha=true",
        f"{ROLLOUT}.alpha=-1",
    ],
}
PLAN = [  # what is worth most comes first, and pairs of a seed together; task, methods, seeds
    ("pendulum_sparse", ["mbpo", "coplanner"], range(100, 108)),
    ("pendulum_sparse", ["explore_only", "rollout_only"], range(100, 108)),
    ("mountain_car_continuous", ["mbpo", "coplanner", "no_bonus"], range(200, 205)),
    ("pendulum", ["mbpo", "coplanner"], range(200, 205)),
    ("cartpole_swingup_sparse", ["mbpo", "coplanner"], range(100, 108)),
    ("pendulum_sparse", ["no_bonus", "one_step"], range(100, 108)),
]
COLOURS = ["#6b7280", "#2563eb", "#059669", "#d97706", "#7c3aed", "#db2777", "#0891b2"]


class TaskMeasures(NamedTuple):
    """What is measured on a task's real transitions."""

    state: Callable[[Tensor], Tensor]  # obs (B, n) -> what the grid is over (B, d)
    grid: list[tuple[float, float, int]]  # low, high, cells of each of the d
    bar: float  # a transition that pays more counts as rewarded
    scale: float  # of returns, where tasks are pooled: what a good policy earns above a bad one


def _angle(cosine: int, sine: int, *others: int) -> Callable[[Tensor], Tensor]:
    """Take an angle and other components from obs."""
    return lambda obs: torch.stack(
        [torch.atan2(obs[:, sine], obs[:, cosine]), *(obs[:, i] for i in others)], 1
    )


_PENDULUM = (_angle(0, 1, 2), [(-math.pi, math.pi, 20), (-8.0, 8.0, 20)])
TASKS = {
    "pendulum_sparse": TaskMeasures(*_PENDULUM, bar=0.5, scale=85.0),
    "cartpole_swingup_sparse": TaskMeasures(
        _angle(1, 2, 4, 0), [(-math.pi, math.pi, 12), (-12.0, 12.0, 12), (-1.8, 1.8, 8)], 0.5, 200.0
    ),
    "pendulum": TaskMeasures(*_PENDULUM, bar=-0.5, scale=1000.0),
    "mountain_car_continuous": TaskMeasures(
        lambda obs: obs, [(-1.2, 0.6, 20), (-0.07, 0.07, 20)], 50.0, 95.0
    ),
}


def coverage(obs: Tensor, task: TaskMeasures, steps: list[int]) -> list[float]:
    """Give the share of cells that the first n of obs (B, n) reach, for each n in steps."""
    state = task.state(obs.double())
    cell = torch.zeros(obs.shape[0], dtype=torch.int64)
    for i, (low, high, count) in enumerate(task.grid):
        place = ((state[:, i] - low) / (high - low) * count).long().clamp(0, count - 1)
        cell = cell * count + place
    total = math.prod(count for *_, count in task.grid)
    return [len(cell[:n].unique()) / total for n in steps]


def first_reward(reward: Tensor, bar: float) -> int | None:
    """Give the number, from 1, of the first reward (B,) above the bar."""
    paid = (reward > bar).nonzero()
    return int(paid[0]) + 1 if len(paid) else None


def train(task: str, method: str, seed: int, extra: list[str], folder: Path) -> list[dict]:
    """Run one, from where it stopped; give its rows."""
    arguments = [*METHODS[method], f"env={task}", f"seed={seed}", "save_every=1000", *extra]
    path = folder / f"{task}-{method}-{seed}"
    checkpoint = path / "checkpoints"
    if path.exists() and not checkpoint.exists():
        shutil.rmtree(path)  # broken off before its first checkpoint
    action = ["--resume", str(path)] if path.exists() else [*arguments, f"run_dir={path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mbrl", "train", *action]
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}")
    rows = measure(path, task)
    shown = "mbrl train " + " ".join(arguments)
    shutil.rmtree(path)
    return [{"method": method, "seed": seed, **row, "command": shown} for row in rows]


def measure(path: Path, name: str) -> list[dict[str, Any]]:
    """Measure a finished run: a row for each evaluation."""
    from mbrl.buffer import ReplayBuffer
    from mbrl.training.run_folder import RunFolder

    task = TASKS[name]
    saved = RunFolder.open(path).load()
    assert saved is not None
    rows = saved["buffer"]["rows"]
    obs_dim = saved["loop"]["obs"].shape[1]
    buffer = ReplayBuffer(rows.shape[0], obs_dim, rows.shape[1] - 3 - 2 * obs_dim)
    buffer.load_state_dict(saved["buffer"])
    seen = buffer.all()
    summary = json.loads((path / "summary.json").read_text())
    steps = [evaluation["step"] for evaluation in summary["evaluations"]]
    first = first_reward(seen.reward, task.bar)
    return [
        {
            "step": step,
            "return": round(sum(evaluation["rewards"]) / len(evaluation["rewards"]), 3),
            "coverage": round(share, 4),
            "first_reward": "" if first is None or first > step else first,
            "cpu_seconds": round(summary["time/cpu_seconds"], 1),
        }
        for step, evaluation, share in zip(
            steps, summary["evaluations"], coverage(seen.next_obs, task, steps), strict=True
        )
    ]


def read(results: Path, task: str) -> list[dict[str, str]]:
    """Give the rows of the runs done."""
    path = results / f"{task}.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def keep(results: Path, task: str, rows: list[dict]) -> None:
    """Add a run's rows to its task's table, all or none."""
    results.mkdir(parents=True, exist_ok=True)
    found = sorted(
        [*read(results, task), *rows], key=lambda r: (r["method"], int(r["seed"]), int(r["step"]))
    )
    temporary = results / f".{task}.csv"
    with temporary.open("w", newline="") as file:
        file.write("# python -m scripts.experiments.coplanner_study, see there\n")
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(found)
    temporary.replace(results / f"{task}.csv")


Scores = dict[str, dict[int, dict[str, float]]]  # method -> seed -> measure -> value


def scores(rows: list[dict[str, str]]) -> Scores:
    """Give the measures of each run of a task."""
    runs: dict[tuple[str, int], list[dict[str, str]]] = {}
    for row in rows:
        runs.setdefault((row["method"], int(row["seed"])), []).append(row)
    found: Scores = {}
    for (method, seed), curve in runs.items():
        returns, last = [float(row["return"]) for row in curve], curve[-1]
        found.setdefault(method, {})[seed] = {
            "coverage": float(last["coverage"]),
            "first_reward": float(last["first_reward"] or last["step"]),
            "reached": float(last["first_reward"] != ""),
            "auc": sum(returns) / len(returns),
            "final": returns[-1],
            "cpu_seconds": float(last["cpu_seconds"]),
        }
    return found


def summarise(tables: dict[str, Scores]) -> list[dict[str, Any]]:
    """Compare every method with MBPO on the seeds that both have, task by task and pooled."""
    lines, pooled = [], {}
    for task, found in tables.items():
        for method, runs in found.items():
            shared = sorted(set(runs) & set(found.get("mbpo", {})))
            if method == "mbpo" or not shared:
                continue
            for name in next(iter(runs.values())):
                ours = np.array([runs[s][name] for s in shared])
                base = np.array([found["mbpo"][s][name] for s in shared])
                lines.append(_line([task], method, name, [ours - base], ours, base))
                scale = TASKS[task].scale if name in ("auc", "final") else 1.0
                pooled.setdefault((method, name), []).append((ours - base) / scale)
    for (method, name), strata in pooled.items():
        if len(strata) > 1 and name in ("auc", "final", "coverage"):
            lines.append(_line(list(TASKS), method, name, strata))
    return lines


def _line(
    tasks: list[str],
    method: str,
    name: str,
    strata: list[np.ndarray],
    ours: np.ndarray | None = None,
    base: np.ndarray | None = None,
) -> dict[str, Any]:
    middle, low, high = interval(strata)
    every = np.concatenate(strata)
    return {
        "task": tasks[0] if len(tasks) == 1 else "all, scaled",
        "method": method,
        "measure": name,
        "runs": len(every),
        "planned": sum(
            len(seeds) for t, methods, seeds in PLAN if t in tasks and method in methods
        ),
        "mbpo": "" if base is None else round(float(iqm(base)), 3),
        "value": "" if ours is None else round(float(iqm(ours)), 3),
        "difference": round(middle, 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "above": int((every > 0).sum()),
        "differences": " ".join(f"{d:.3g}" for d in every),
    }


def draw(tables: dict[str, list[dict[str, str]]], path: Path) -> None:
    """Draw return and coverage over steps, interquartile means and their intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(tables), 6), dpi=130, layout="constrained")
    axes = figure.subplots(2, len(tables), squeeze=False)
    for column, (task, rows) in enumerate(tables.items()):
        for colour, method in zip(COLOURS, METHODS, strict=True):
            own = [row for row in rows if row["method"] == method]
            seeds = sorted({row["seed"] for row in own})
            steps = sorted({int(row["step"]) for row in own})
            if len(seeds) < 2:
                continue
            for axis, name in zip(axes[:, column], ("return", "coverage"), strict=True):
                at = {(row["seed"], int(row["step"])): float(row[name]) for row in own}
                table = np.array([[at[s, n] for s in seeds] for n in steps])
                middle, low, high = zip(*(interval([x], 2000) for x in table), strict=True)
                axis.plot(steps, middle, color=colour, label=f"{method} ({len(seeds)})")
                axis.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
                axis.set_ylabel(name, fontsize=9)
                axis.set_xlabel("environment steps", fontsize=9)
                axis.tick_params(labelsize=8)
                axis.spines[["top", "right"]].set_visible(False)
                axis.grid(alpha=0.25)
        axes[0, column].set_title(task, loc="left", fontsize=10)
        axes[1, column].legend(frameon=False, fontsize=7)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--tasks", nargs="*", default=[], choices=list(TASKS), metavar="TASK")
    parser.add_argument("--methods", nargs="*", default=["mbpo", "coplanner"], choices=METHODS)
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(100, 108)))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "coplanner_study")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "coplanner.png")
    args = parser.parse_args()
    lock = threading.Lock()

    def finish(task: str, method: str, seed: int) -> None:
        rows = train(task, method, seed, args.set, args.folder)
        with lock:
            keep(args.results, task, rows)
            curve = " ".join(f"{row['return']:g}" for row in rows)
            last = rows[-1]
            print(
                f"{task} {method} seed {seed}: coverage {last['coverage']}, first reward "
                f"{last['first_reward'] or 'none'}, {last['cpu_seconds']} CPU s, returns {curve}",
                flush=True,
            )

    args.folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        plan = [(task, args.methods, args.seeds) for task in args.tasks]
        jobs = []
        for task, methods, seeds in [*plan, *(PLAN if args.plan else [])]:
            done = {(row["method"], int(row["seed"])) for row in read(args.results, task)}
            jobs += [
                pool.submit(finish, task, method, seed)
                for seed in seeds
                for method in methods
                if (method, seed) not in done
            ]
        for job in jobs:
            job.result()
    tables = {task: rows for task in TASKS if (rows := read(args.results, task))}
    lines = summarise({task: scores(rows) for task, rows in tables.items()})
    if not lines:
        return
    with (args.results / "summary.csv").open("w", newline="") as file:
        file.write("# python -m scripts.experiments.coplanner_study\n")
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    draw(tables, args.figure)
    for line in lines:
        print(
            f"{line['task']:24} {line['method']:14} {line['measure']:13} "
            f"{line['difference']:+.3f} [{line['low']:.3f}, {line['high']:.3f}] "
            f"{line['above']}/{line['runs']} of {line['planned']}"
        )


if __name__ == "__main__":
    main()
