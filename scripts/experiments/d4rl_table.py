"""The table of D4RL's and NeoRL's locomotion tasks, from datasets that you have.

    python -m scripts.experiments.d4rl_table --data DIR [--tasks TASK ...] [--methods ...]
        [--seeds ...] [--jobs N] [--steps N] [--set device=cuda ...]
    python -m scripts.experiments.d4rl_table --dataset hopper-medium-v2=my/hopper-v0
        --tasks hopper-medium-v2

DIR has the original files: hopper_medium-v2.hdf5 of D4RL, Hopper-v3-low-1000-train-noise.npz of
NeoRL; what is missing is named, with where to get it, and the others go on. --dataset TASK=ID names
a dataset of Minari's, or a file of another name, for one task.

The study is specs/d4rl.yaml; run.py runs it: what was broken off is resumed, what is in
results/experiments/d4rl/TASK.csv is not run again, unless its settings have changed. --steps N
shortens all runs, for a trial. A policy's score is the mean of its last 10 evaluations of 10
episodes, 0 for D4RL's or NeoRL's random policy and 100 for its expert; d4rl/table.md has mean and
standard deviation over the seeds.
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np

from scripts.experiments.run import Options, parser_of, positive, run_study
from scripts.experiments.study import ROOT, BadStudy, Study, load_study
from scripts.experiments.table import read_table

LAST = 10  # evaluations that a score is the mean of
D4RL_URL = "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2"
NEORL_URL = "http://datasets.polixir.site/v2"


def is_neorl(task: str) -> bool:
    """Return whether a task is NeoRL's; the others are D4RL's."""
    return "-v3-" in task


def file_names(task: str) -> list[str]:
    """Return the names that a task's file may have, the original first."""
    if is_neorl(task):
        return [f"{task}-1000-train-noise.npz", f"{task}-1000-train.npz"]
    env, _, rest = task.partition("-")
    quality, _, version = rest.rpartition("-")
    original = f"{env}_{quality.replace('-', '_')}-{version}.hdf5"
    return [original, f"{task}.hdf5", original.replace("-", "_")]


def source(task: str) -> str:
    """Return where a task's file is to be had."""
    folder = f"{NEORL_URL}/{task.rpartition('-')[0]}" if is_neorl(task) else D4RL_URL
    return f"{folder}/{file_names(task)[0]}"


def find(task: str, data: Path | None, named: dict[str, str]) -> str | None:
    """Return a task's dataset; print what is missing."""
    if task in named:
        return named[task]
    names = file_names(task)
    paths = [data / name for name in names] if data is not None else []
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        print(f"{task}: no {names[0]} in {data}; get it from {source(task)}", flush=True)
    return None if found is None else str(found)


def references(task: str) -> tuple[float, float]:
    """Return the returns that count as 0 and 100."""
    from mbrl.data.array_files import REFERENCES

    name = task.partition("-")[0].lower()
    return REFERENCES["NeoRL" if is_neorl(task) else "D4RL", name]


def scored(path: Path, task: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Score returns by the benchmark's references, whatever the dataset has.

    Args:
        path: run folder; not needed.
        task: whose references count.
        rows: one an evaluation.
    """
    low, high = references(task)
    return [{**row, "score": round(100 * (row["return"] - low) / (high - low), 2)} for row in rows]


def final_scores(rows: list[dict[str, str]]) -> dict[str, dict[int, float]]:
    """Return the mean of each run's last evaluations: method -> seed -> score."""
    runs: dict[tuple[str, int], list[float]] = {}
    for row in sorted(rows, key=lambda row: int(row["step"])):
        runs.setdefault((row["method"], int(row["seed"])), []).append(float(row["score"]))
    found: dict[str, dict[int, float]] = {}
    for (method, seed), scores in runs.items():
        found.setdefault(method, {})[seed] = float(np.mean(scores[-LAST:]))
    return found


def table(study: Study, results: Path) -> str:
    """Return the Markdown table of everything that is done.

    Args:
        study: d4rl.
        results: folder of its tables.
    """
    tables = {task: read_table(study.path(results, task)) for task in study.tasks}
    found = {task: final_scores(rows) for task, rows in tables.items() if rows}
    published = {task: values.get("published") for task, values in study.tasks.items()}
    d4rl, neorl = ([t for t in study.tasks if is_neorl(t) == new] for new in (False, True))
    methods = [m for m in study.methods if any(m in scores for scores in found.values())]
    with_published = any(published[task] for task in found)
    heads = ["task", *methods, *(["MOPO, published"] if with_published else [])]
    lines = [" | ".join(heads), " | ".join(["---"] * len(heads))]
    for name, tasks in (("D4RL", d4rl), ("NeoRL", neorl)):
        done = [task for task in tasks if task in found]
        for task in done:
            cells = [_cell([*found[task].get(m, {}).values()]) for m in methods]
            cells += [published[task] or "–"] if with_published else []
            lines.append(" | ".join([task, *cells]))
        if done:
            cells = [_mean([[*found[t].get(m, {}).values()] for t in done]) for m in methods]
            cells += ["–"] if with_published else []
            lines.append(" | ".join([f"mean of {len(done)} of {name}'s {len(tasks)}", *cells]))
    notes = [
        "Normalized score, mean ± standard deviation over seeds (their number).",
        "A mean is given where every task above it has runs.",
    ]
    if with_published:
        notes.append("Published: OfflineRL-Kit's own runs of MOPO, 4 seeds, from its README.")
    short = shortened(study, {task: tables[task] for task in found})
    if short:
        notes.append(f"Shortened, so not to be compared: {', '.join(short)}.")
    rows = "\n".join(f"| {line} |" for line in lines)
    return f"<!-- python -m scripts.experiments.d4rl_table -->\n{rows}\n\n{' '.join(notes)}\n"


def shortened(study: Study, tables: dict[str, list[dict[str, str]]]) -> list[str]:
    """List the methods that have runs of fewer updates than their settings say."""
    ends: dict[tuple[str, str, str], int] = {}
    for task, rows in tables.items():
        for row in rows:
            run = row["method"], task, row["seed"]
            ends[run] = max(ends.get(run, 0), int(row["step"]))
    least: dict[str, int] = {}
    for (method, _, _), end in ends.items():
        least[method] = min(least.get(method, end), end)
    steps = {
        m: [s for s in own if s.startswith("total_steps=")] for m, own in study.methods.items()
    }
    whole = {m: int(own[-1].partition("=")[2]) if own else 3_000_000 for m, own in steps.items()}
    return [f"{m} ({least[m]} updates)" for m in whole if least.get(m, whole[m]) < whole[m]]


def _cell(scores: list[float]) -> str:
    return f"{np.mean(scores):.1f} ± {np.std(scores):.1f} ({len(scores)})" if scores else "–"


def _mean(tasks: list[list[float]]) -> str:
    return f"{np.mean([np.mean(scores) for scores in tasks]):.1f}" if all(tasks) else "–"


def pairs(texts: list[str], study: Study, parser: ArgumentParser) -> dict[str, str]:
    """Read TASK=ID."""
    found = {task: dataset for task, _, dataset in (text.partition("=") for text in texts)}
    for task, dataset in found.items():
        if task not in study.tasks or not dataset:
            parser.error(
                f"--dataset {task}={dataset}: should be TASK=ID; tasks: {', '.join(study.tasks)}"
            )
    return found


def main() -> int:
    """Run what is not done, then write and print the table."""
    study = load_study("d4rl")
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--dataset", nargs="+", default=[], metavar="TASK=ID")
    parser.add_argument("--steps", type=positive, help="updates of every run, to shorten it")
    given = parser.parse_args()
    named = pairs(given.dataset, study, parser)
    if given.data is not None and not given.data.is_dir():
        parser.error(f"--data {given.data}: no such folder")
    if given.data is None and not named:
        parser.error("--data DIR with the files, or --dataset TASK=ID")
    extra = list(given.set)
    if given.steps is not None:
        often = max(1, given.steps // LAST)
        short = [f"{key}={often}" for key in ("eval_every", "save_every", "log_every")]
        extra = [f"total_steps={given.steps}", *short, *extra]
    try:
        runs = study.runs(given.tasks, given.methods, given.seeds)
    except BadStudy as error:
        parser.error(str(error))
    for task in dict.fromkeys(run.task for run in runs):
        dataset = find(task, given.data, named)
        if dataset is None:
            runs = [run for run in runs if run.task != task]
        study.tasks[task]["dataset"] = dataset
    folder = given.runs or ROOT / "runs" / "studies" / "d4rl"
    options = Options(given.results, folder, extra, given.jobs, again="changed")
    status = run_study(study, runs, options)
    if any(study.path(given.results, task).exists() for task in study.tasks):
        text = table(study, given.results)
        (given.results / "d4rl" / "table.md").write_text(text)
        print(text)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
