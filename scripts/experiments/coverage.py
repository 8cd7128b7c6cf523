"""Measure what COPlanner's study asks: coverage, first reward, returns; summary and figure.

    python -m scripts.experiments.run coplanner      # the runs
    python -m scripts.experiments.coverage           # the summary and the figure

Seeds are paired: methods share environments, initial weights and the random steps before learning
starts. The evaluated policy is the deterministic actor, without planning. Measures, fixed before
the runs:
- coverage: share of the cells of a fixed grid over the task's state that real transitions reached;
- first_reward: number of the first real transition that pays more than the task's bar; without one
  it is censored at the run's length;
- auc: mean of the evaluated returns over all evaluations; final: the last of them.
Of each, against MBPO on the same seeds, the interquartile mean of the paired differences with a
95% percentile interval of 10,000 bootstrap resamples of the seeds, within each task where tasks are
pooled (Agarwal et al. 2021): results/experiments/coplanner/summary.csv, which has the number of
planned runs beside that of runs done, and docs/coplanner.png.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mbrl.report import interval, iqm
from scripts.experiments.run import tables
from scripts.experiments.study import RESULTS, ROOT, Study, load_study
from scripts.experiments.table import write_table

COLORS = ["#6b7280", "#2563eb", "#059669", "#d97706", "#7c3aed", "#db2777", "#0891b2"]


class TaskMeasures(NamedTuple):
    """What is measured on a task's real transitions."""

    state: Callable[[Tensor], Tensor]  # obs (B, n) -> what the grid is over (B, d)
    grid: list[tuple[float, float, int]]  # low, high, cells of each of the d
    bar: float  # a transition that pays more counts as rewarded
    scale: float  # of returns, where tasks are pooled: what a good policy earns above a bad one


def _angle(cosine: int, sine: int, *others: int) -> Callable[[Tensor], Tensor]:
    """Read an angle and other components from obs."""
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
    """Return the share of cells that the first n of obs (B, n) reach, for each n in steps."""
    state = task.state(obs.double())
    cell = torch.zeros(obs.shape[0], dtype=torch.int64)
    for i, (low, high, count) in enumerate(task.grid):
        place = ((state[:, i] - low) / (high - low) * count).long().clamp(0, count - 1)
        cell = cell * count + place
    total = math.prod(count for *_, count in task.grid)
    return [len(cell[:n].unique()) / total for n in steps]


def first_reward(reward: Tensor, bar: float) -> int | None:
    """Return the number, from 1, of the first reward (B,) above the bar."""
    paid = (reward > bar).nonzero()
    return int(paid[0]) + 1 if len(paid) else None


def measure(path: Path, name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add coverage and first_reward to the evaluations of a finished run.

    Args:
        path: run folder; its last checkpoint has the transitions.
        name: of the task.
        rows: one an evaluation, with its step.
    """
    from mbrl.buffer import ReplayBuffer
    from mbrl.training.run_folder import RunFolder

    task = TASKS[name]
    saved = RunFolder.open(path).load()
    assert saved is not None
    stored = saved["buffer"]["rows"]
    obs_dim = saved["loop"]["obs"].shape[1]
    buffer = ReplayBuffer(stored.shape[0], obs_dim, stored.shape[1] - 3 - 2 * obs_dim)
    buffer.load_state_dict(saved["buffer"])
    data = buffer.all()
    first = first_reward(data.reward, task.bar)
    shares = coverage(data.next_obs, task, [row["step"] for row in rows])
    return [
        {
            **row,
            "coverage": round(share, 4),
            "first_reward": "" if first is None or first > row["step"] else first,
        }
        for row, share in zip(rows, shares, strict=True)
    ]


Scores = dict[str, dict[int, dict[str, float]]]  # method -> seed -> measure -> value


def scores(rows: list[dict[str, str]]) -> Scores:
    """Return the measures of each run of a task."""
    runs: dict[tuple[str, int], list[dict[str, str]]] = {}
    for row in rows:
        runs.setdefault((row["method"], int(row["seed"])), []).append(row)
    result: Scores = {}
    for (method, seed), curve in runs.items():
        returns, last = [float(row["return"]) for row in curve], curve[-1]
        result.setdefault(method, {})[seed] = {
            "coverage": float(last["coverage"]),
            "first_reward": float(last["first_reward"] or last["step"]),
            "reached": float(last["first_reward"] != ""),
            "auc": sum(returns) / len(returns),
            "final": returns[-1],
            "cpu_seconds": float(last["cpu_seconds"]),
        }
    return result


def summarize(study: Study, tables: dict[str, Scores]) -> list[dict[str, Any]]:
    """Compare every method with MBPO on the seeds that both have, task by task and pooled."""
    lines, pooled = [], {}
    for task, result in tables.items():
        for method, runs in result.items():
            shared = sorted(set(runs) & set(result.get("mbpo", {})))
            if method == "mbpo" or not shared:
                continue
            for name in next(iter(runs.values())):
                ours = np.array([runs[s][name] for s in shared])
                base = np.array([result["mbpo"][s][name] for s in shared])
                lines.append(_line(study, [task], method, name, [ours - base], ours, base))
                scale = TASKS[task].scale if name in ("auc", "final") else 1.0
                pooled.setdefault((method, name), []).append((ours - base) / scale)
    for (method, name), strata in pooled.items():
        if len(strata) > 1 and name in ("auc", "final", "coverage"):
            lines.append(_line(study, list(TASKS), method, name, strata))
    return lines


def _line(
    study: Study,
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
        "planned": sum(run.task in tasks and run.method == method for run in study.runs()),
        "mbpo": "" if base is None else round(float(iqm(base)), 3),
        "value": "" if ours is None else round(float(iqm(ours)), 3),
        "difference": round(middle, 3),
        "low": round(low, 3),
        "high": round(high, 3),
        "above": int((every > 0).sum()),
        "differences": " ".join(f"{d:.3g}" for d in every),
    }


def draw(study: Study, tables: dict[str, list[dict[str, str]]], path: Path) -> None:
    """Draw return and coverage over steps, interquartile means and their intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(tables), 6), dpi=130, layout="constrained")
    axes = figure.subplots(2, len(tables), squeeze=False)
    for column, (task, rows) in enumerate(tables.items()):
        for color, method in zip(COLORS, study.methods, strict=True):
            own = [row for row in rows if row["method"] == method]
            seeds = sorted({row["seed"] for row in own})
            steps = sorted({int(row["step"]) for row in own})
            if len(seeds) < 2:
                continue
            for axis, name in zip(axes[:, column], ("return", "coverage"), strict=True):
                at = {(row["seed"], int(row["step"])): float(row[name]) for row in own}
                table = np.array([[at[s, n] for s in seeds] for n in steps])
                middle, low, high = zip(*(interval([x], 2000) for x in table), strict=True)
                axis.plot(steps, middle, color=color, label=f"{method} ({len(seeds)})")
                axis.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
                axis.set_ylabel(name, fontsize=9)
                axis.set_xlabel("environment steps", fontsize=9)
                axis.tick_params(labelsize=8)
                axis.spines[["top", "right"]].set_visible(False)
                axis.grid(alpha=0.25)
        axes[0, column].set_title(task, loc="left", fontsize=10)
        axes[1, column].legend(frameon=False, fontsize=7)
    figure.savefig(path)


def report(study: Study, results: Path, figure: Path) -> list[dict[str, Any]]:
    """Write the summary and the figure, and return the summary's rows.

    Args:
        study: coplanner.
        results: folder of the tables.
        figure: path of the PNG.
    """
    rows = tables(study, results)
    lines = summarize(study, {task: scores(rows[task]) for task in TASKS if task in rows})
    if lines:
        path = results / "coplanner" / "summary.csv"
        write_table(path, "python -m scripts.experiments.coverage", list(lines[0]), lines)
        draw(study, {task: rows[task] for task in TASKS if task in rows}, figure)
    return lines


def main() -> None:
    """Write the summary and the figure; print the summary."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "coplanner.png")
    given = parser.parse_args()
    for line in report(load_study("coplanner"), given.results, given.figure):
        print(
            f"{line['task']:24} {line['method']:14} {line['measure']:13} "
            f"{line['difference']:+.3f} [{line['low']:.3f}, {line['high']:.3f}] "
            f"{line['above']}/{line['runs']} of {line['planned']}"
        )


if __name__ == "__main__":
    main()
