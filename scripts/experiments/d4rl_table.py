"""The table of D4RL's and NeoRL's locomotion tasks, from datasets that you have.

    python -m scripts.experiments.d4rl_table --data DIR [--tasks TASK ...] [--methods ...] [--seeds
        ...]
        [--jobs N] [--steps N] [--set device=cuda ...]
    python -m scripts.experiments.d4rl_table --dataset hopper-medium-v2=my/hopper-v0 --tasks
        hopper-medium-v2

DIR holds the original files: hopper_medium-v2.hdf5 of D4RL, Hopper-v3-low-1000-train-noise.npz of
NeoRL; what is missing is named, with where to get it, and the rest goes on. --dataset TASK=ID
gives a dataset of Minari's, or a file of another name, for one task.

Each run is one `mbrl train`; one that was broken off is resumed, one whose rows stand in
results/experiments/d4rl/TASK.csv is not done again, unless its settings have changed. The settings
are the papers' (configs/experiment/METHOD_d4rl_*.yaml; SETTINGS for what differs between datasets)
and take hours on a GPU for a run: --steps N shortens all of them, for a trial. A policy's score is
the mean of its last 10 evaluations of 10 episodes, 0 for D4RL's or NeoRL's random policy and 100
for its expert; results/experiments/d4rl/table.md has mean and standard deviation over the seeds.

Methods: morec is the paper's (adversarial reward, 10 samples to choose from); morec_wide has this
framework's Christoffel judge and wide pool instead, and is the same otherwise.
"""

import argparse
import hashlib
import shutil
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scripts.experiments.study import complete, finish_run, read_table, write_table

ROOT = Path(__file__).parents[2]
FIELDS = ["method", "seed", "step", "return", "score", "cpu_seconds", "wall_seconds", "command"]
LAST = 10  # evaluations that a score is the mean of
SHORT = ["total_steps=1000000", "eval_every=10000", "save_every=100000", "log_every=1000"]
JUDGE = "dynamics.dynamics_reward={_target_: mbrl.dynamics.ChristoffelReward, max_features: 1000}"
WIDE = "dynamics.candidates={_target_: mbrl.dynamics.CandidateGenerator, kind: wide}"
METHODS = {
    "bc": ["agent=bc", *SHORT],
    "td3_bc": ["agent=td3_bc", *SHORT],
    "iql": ["agent=iql", *SHORT],
    "mopo": ["agent=mopo"],
    "mobile": ["agent=mobile"],
    "morec": ["agent=morec"],
    "morec_wide": ["agent=morec", JUDGE, WIDE],
}


class Settings(NamedTuple):
    """What the papers' code sets for one dataset."""

    morec: float  # weight of MOREC's penalty
    choice: str  # the best of the candidates, or a softmax of temperature 0.1
    mopo: float = 2.5  # of MOPO's
    mobile: float = 0.5  # of MOBILE's
    length: int = 5  # of MOPO's and MOBILE's rollouts
    real_ratio: float = 0.05


# MOREC's code (github.com/polixir/morec) for morec; OfflineRL-Kit's for MOPO and MOBILE on D4RL.
# It names none for MOPO on random data, where MOBILE's lengths and the same environment's weight
# stand in, nor for NeoRL, where MOREC's MOBILE weights do.
D4RL = {
    "halfcheetah-random-v2": Settings(0.5, "softmax", 0.5, 0.5),
    "halfcheetah-medium-v2": Settings(0.5, "best", 0.5, 0.5),
    "halfcheetah-medium-replay-v2": Settings(0.5, "softmax", 0.5, 0.1),
    "halfcheetah-medium-expert-v2": Settings(0.5, "best", 2.5, 2.0),
    "hopper-random-v2": Settings(10.0, "best", 5.0, 5.0),
    "hopper-medium-v2": Settings(15.0, "softmax", 5.0, 1.5),
    "hopper-medium-replay-v2": Settings(15.0, "softmax", 2.5, 0.1),
    "hopper-medium-expert-v2": Settings(15.0, "softmax", 5.0, 1.5),
    "walker2d-random-v2": Settings(1.0, "softmax", 0.5, 2.0),
    "walker2d-medium-v2": Settings(0.5, "softmax", 0.5, 0.5),
    "walker2d-medium-replay-v2": Settings(0.25, "best", 2.5, 0.5, 1),
    "walker2d-medium-expert-v2": Settings(1.0, "softmax", 2.5, 1.5, 1),
}
NEORL = {
    "HalfCheetah-v3-low": Settings(2.0, "best", mobile=1.0),
    "HalfCheetah-v3-medium": Settings(2.0, "best", mobile=0.5),
    "HalfCheetah-v3-high": Settings(2.0, "softmax", mobile=0.75),
    "Hopper-v3-low": Settings(2.0, "best", mobile=0.5),
    "Hopper-v3-medium": Settings(20.0, "best", mobile=2.0, real_ratio=0.5),
    "Hopper-v3-high": Settings(20.0, "best", mobile=2.5, real_ratio=0.5),
    "Walker2d-v3-low": Settings(2.0, "softmax", mobile=0.75),
    "Walker2d-v3-medium": Settings(2.0, "softmax", mobile=0.25),
    "Walker2d-v3-high": Settings(2.0, "best", mobile=0.1),
}
TASKS = {**D4RL, **NEORL}
D4RL_URL = "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2"
NEORL_URL = "http://datasets.polixir.site/v2"
PUBLISHED = {  # MOPO, 4 seeds: README of github.com/yihaosun1124/OfflineRL-Kit
    "halfcheetah-medium-v2": "72.4 ± 4.2",
    "halfcheetah-medium-replay-v2": "72.1 ± 3.8",
    "halfcheetah-medium-expert-v2": "83.6 ± 12.5",
    "hopper-medium-v2": "62.8 ± 38.1",
    "hopper-medium-replay-v2": "92.7 ± 20.7",
    "hopper-medium-expert-v2": "74.6 ± 44.2",
    "walker2d-medium-v2": "84.1 ± 3.2",
    "walker2d-medium-replay-v2": "85.9 ± 5.3",
    "walker2d-medium-expert-v2": "108.2 ± 4.3",
}


def file_names(task: str) -> list[str]:
    """Give the names that a task's file may have, the original first."""
    if task in NEORL:
        return [f"{task}-1000-train-noise.npz", f"{task}-1000-train.npz"]
    env, _, rest = task.partition("-")
    quality, _, version = rest.rpartition("-")
    original = f"{env}_{quality.replace('-', '_')}-{version}.hdf5"
    return [original, f"{task}.hdf5", original.replace("-", "_")]


def source(task: str) -> str:
    """Say where a task's file is to be had."""
    folder = f"{NEORL_URL}/{task.rpartition('-')[0]}" if task in NEORL else D4RL_URL
    return f"{folder}/{file_names(task)[0]}"


def environment(task: str) -> str:
    """Name the environment that a task's policies are scored in."""
    name = task.partition("-")[0].lower()
    return f"{'neorl' if task in NEORL else 'd4rl'}_{name}"


def find(task: str, data: Path | None, named: dict[str, str]) -> str | None:
    """Give a task's dataset, or say what is missing."""
    if task in named:
        return named[task]
    names = file_names(task)
    paths = [data / name for name in names] if data is not None else []
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        print(f"{task}: no {names[0]} in {data}; get it from {source(task)}", flush=True)
    return None if found is None else str(found)


def settings(
    task: str, method: str, seed: int, dataset: str, steps: int | None, extra: list[str]
) -> list[str]:
    """Give a run's arguments."""
    own = TASKS[task]
    found = [*METHODS[method], f"env={environment(task)}", f"dataset={dataset}", f"seed={seed}"]
    if method in ("mopo", "mobile"):
        weight = own.mopo if method == "mopo" else own.mobile
        found += [f"agent.penalty.scale={weight}", f"agent.rollout_length={own.length}"]
    if method in ("morec", "morec_wide"):
        temperature = 0.0 if own.choice == "best" else 0.1
        found += [f"agent.penalty.scale={own.morec}", f"dynamics.temperature={temperature}"]
        found += [f"learner.real_ratio={own.real_ratio}"]
    if steps is not None:
        often = max(1, steps // LAST)
        found += [f"{key}={often}" for key in ("eval_every", "save_every", "log_every")]
        found += [f"total_steps={steps}"]
    return [*found, *extra]


def references(task: str) -> tuple[float, float]:
    """Give the returns that count as 0 and 100."""
    from mbrl.data.array_files import REFERENCES

    name = task.partition("-")[0].lower()
    return REFERENCES["NeoRL" if task in NEORL else "D4RL", name]


def scored(task: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Score returns by the benchmark's references, whatever the dataset says."""
    low, high = references(task)
    return [
        {**row, "score": round(100 * (float(row["return"]) - low) / (high - low), 2)}
        for row in rows
    ]


def final_scores(rows: list[dict[str, str]]) -> dict[str, dict[int, float]]:
    """Give the mean of each run's last evaluations: method -> seed -> score."""
    runs: dict[tuple[str, int], list[float]] = {}
    for row in sorted(rows, key=lambda row: int(row["step"])):
        runs.setdefault((row["method"], int(row["seed"])), []).append(float(row["score"]))
    found: dict[str, dict[int, float]] = {}
    for (method, seed), scores in runs.items():
        found.setdefault(method, {})[seed] = float(np.mean(scores[-LAST:]))
    return found


def table(results: Path) -> str:
    """Write the Markdown table of everything that is done."""
    found = {task: final_scores(read_table(results / f"{task}.csv")) for task in TASKS}
    found = {task: scores for task, scores in found.items() if scores}
    methods = [m for m in METHODS if any(m in scores for scores in found.values())]
    with_published = any(task in PUBLISHED for task in found)
    heads = ["task", *methods, *(["MOPO, published"] if with_published else [])]
    lines = [" | ".join(heads), " | ".join(["---"] * len(heads))]
    for name, tasks in (("D4RL", D4RL), ("NeoRL", NEORL)):
        done = [task for task in tasks if task in found]
        for task in done:
            cells = [_cell([*found[task].get(m, {}).values()]) for m in methods]
            cells += [PUBLISHED.get(task, "–")] if with_published else []
            lines.append(" | ".join([task, *cells]))
        if done:
            cells = [_mean([[*found[t].get(m, {}).values()] for t in done]) for m in methods]
            cells += ["–"] if with_published else []
            lines.append(" | ".join([f"mean of {len(done)} of {name}'s {len(tasks)}", *cells]))
    notes = [
        "Normalised score, mean ± standard deviation over seeds (their number).",
        "A mean is given where every task above it has runs.",
    ]
    if with_published:
        notes.append("Published: OfflineRL-Kit's own runs of MOPO, 4 seeds, from its README.")
    short = shortened({task: read_table(results / f"{task}.csv") for task in found})
    if short:
        notes.append(f"Shortened, so not to be compared: {', '.join(short)}.")
    rows = "\n".join(f"| {line} |" for line in lines)
    return f"<!-- python -m scripts.experiments.d4rl_table -->\n{rows}\n\n{' '.join(notes)}\n"


def shortened(tables: dict[str, list[dict[str, str]]]) -> list[str]:
    """Name the methods that have runs of fewer updates than their settings say."""
    ends: dict[tuple[str, str, str], int] = {}
    for task, rows in tables.items():
        for row in rows:
            run = row["method"], task, row["seed"]
            ends[run] = max(ends.get(run, 0), int(row["step"]))
    least: dict[str, int] = {}
    for (method, _, _), end in ends.items():
        least[method] = min(least.get(method, end), end)
    whole = {m: 1_000_000 if SHORT[0] in METHODS[m] else 3_000_000 for m in METHODS}
    return [f"{m} ({least[m]} updates)" for m in METHODS if least.get(m, whole[m]) < whole[m]]


def _cell(scores: list[float]) -> str:
    return f"{np.mean(scores):.1f} ± {np.std(scores):.1f} ({len(scores)})" if scores else "–"


def _mean(tasks: list[list[float]]) -> str:
    return f"{np.mean([np.mean(scores) for scores in tasks]):.1f}" if all(tasks) else "–"


def pairs(texts: list[str], parser: argparse.ArgumentParser) -> dict[str, str]:
    """Read TASK=ID."""
    found = {task: dataset for task, _, dataset in (text.partition("=") for text in texts)}
    for task, dataset in found.items():
        if task not in TASKS or not dataset:
            parser.error(
                f"--dataset {task}={dataset}: should be TASK=ID; tasks: {', '.join(TASKS)}"
            )
    return found


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} should be a whole number from 1")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--dataset", nargs="+", default=[], metavar="TASK=ID")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=[*TASKS], metavar="TASK")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["mopo", "morec"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=positive, default=1)
    parser.add_argument("--steps", type=positive, help="updates of every run, to shorten it")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "d4rl_table")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "experiments" / "d4rl")
    args = parser.parse_args()
    named = pairs(args.dataset, parser)
    if args.data is not None and not args.data.is_dir():
        parser.error(f"--data {args.data}: no such folder")
    if args.data is None and not named:
        parser.error("--data DIR with the files, or --dataset TASK=ID")
    args.folder.mkdir(parents=True, exist_ok=True)
    lock = threading.Lock()

    def finish(task: str, method: str, seed: int, arguments: list[str]) -> None:
        own = hashlib.sha256(" ".join(arguments).encode()).hexdigest()[:8]
        path = args.folder / f"{task}-{method}-{seed}-{own}"
        rows = [{"method": method, "seed": seed, **row} for row in finish_run(arguments, path)]
        rows = scored(task, rows)
        with lock:
            file = args.results / f"{task}.csv"
            others = [
                r for r in read_table(file) if (r["method"], int(r["seed"])) != (method, seed)
            ]
            kept = [*others, *rows]
            kept.sort(key=lambda row: (row["method"], int(row["seed"]), int(row["step"])))
            write_table(file, "python -m scripts.experiments.d4rl_table, see there", FIELDS, kept)
            (args.results / "table.md").write_text(table(args.results))
            shutil.rmtree(path)
            score = np.mean([row["score"] for row in rows[-LAST:]])
            print(
                f"{task} {method} seed {seed}: {score:.1f}, {rows[-1]['wall_seconds']} s",
                flush=True,
            )

    jobs = []
    for task in args.tasks:
        dataset = find(task, args.data, named)
        if dataset is None:
            continue
        commands = {row["command"] for row in read_table(args.results / f"{task}.csv")}
        for seed in args.seeds:
            for method in args.methods:
                own = settings(task, method, seed, dataset, args.steps, args.set)
                if "mbrl train " + " ".join(own) not in commands:
                    jobs.append(partial(finish, task, method, seed, own))
    try:
        failures = complete(jobs, num_jobs=args.jobs)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130
    for failure in failures:
        print(failure, file=sys.stderr)
    if (args.results / "table.md").exists():
        print((args.results / "table.md").read_text())
    return int(bool(failures))


if __name__ == "__main__":
    raise SystemExit(main())
