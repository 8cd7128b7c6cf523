"""Offline policies: methods x datasets x seeds, every finished run kept.

    # train, and collect the datasets
    python -m scripts.experiments.offline_study data [--tasks ...]
    python -m scripts.experiments.offline_study [--tasks ...] [--methods ...] [--seeds ...] [--jobs
        N]
    python -m scripts.experiments.offline_study summary

Each run is one `mbrl train dataset=...` on one thread; one that was broken off is resumed, one that
is in results/experiments/offline/TASK.csv is not done again. Datasets go to $MINARI_DATASETS_PATH,
or else to FOLDER/datasets. They are self-made: scores are 0 for a random policy and 100 for the
agent that they were collected with, never to be compared with those of public datasets. Every
method has one configuration for all tasks of a size (SAME), chosen on seeds of 9000 and above; what
is evaluated is the last policy, deterministic, over 10 episodes. MOREC first stopped 5% of true
transitions, and failed on Pendulum: these runs are kept in
results/experiments/offline/stop_5_percent, and Pendulum has new seeds since (from 100). With torch
2.11 were run: Hopper's MOPO and TD3+BC, seeds 0-3 of cart-pole's MOPO, MOBILE, TD3+BC and cloning,
and what has device=cuda.

results/experiments/offline/summary.csv has the interquartile mean of each method's scores, that of
the paired differences from MOPO, with 95% percentile intervals of 10,000 bootstrap resamples of the
seeds, and the range over the seeds.
"""

import argparse
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mbrl.report import interval, iqm
from scripts.experiments.study import finish_run, read_table, run_mbrl, write_table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results" / "experiments" / "offline"
FIELDS = ["method", "seed", "step", "return", "score", "cpu_seconds", "wall_seconds", "command"]


class Data(NamedTuple):
    """A dataset, and how it is made."""

    env: str
    id: str
    agent: str  # agent=..., with further settings
    collect: str
    same: str  # settings of every method, by size: SAME


SAME = {
    "small": ["total_steps=20000", "learner.hidden=128", "save_every=5000"],
    "medium": ["total_steps=30000", "learner.hidden=128", "save_every=5000"],
    "large": ["total_steps=20000", "save_every=5000"],
}
MODELS = {  # of the methods that have one, by size
    "small": {"hidden": 64, "num_layers": 3},
    "medium": {"hidden": 128, "num_layers": 3},
    "large": {"hidden": 200, "num_layers": 4},
}
ROLLOUTS = {"small": 100, "medium": 100, "large": 1000}  # of 100 filtered steps, which cost most
METHODS = {
    "bc": ["agent=bc"],
    "td3_bc": ["agent=td3_bc"],
    "iql": ["agent=iql"],
    "plain": ["agent=mopo", "agent.penalty=null"],
    "mopo": ["agent=mopo"],
    "mopo_long": ["agent=mopo", "agent.rollout_length=100"],  # as MOREC's, without its filter
    "mobile": ["agent=mobile"],
    "combo": ["agent=combo"],
    "morec": ["agent=morec"],
}
TASKS = {
    "pendulum": Data(
        "pendulum", "pendulum/mixed-v0", "agent=mbpo total_steps=3000",
        "--steps 2000 --mix random:2,medium:1,replay:1", "small",
    ),
    "cartpole_swingup": Data(
        "cartpole_swingup", "cartpole-swingup/mixed-v0", "agent=sindy_rl total_steps=1600",
        "--steps 6000 --mix random:1,medium:1", "small",
    ),
    "hopper": Data(
        "hopper", "hopper/replay-v0", "agent=mbpo total_steps=20000",
        "--steps 20000 --mix replay", "medium",
    ),
}  # fmt: skip
TASKS |= {
    f"{env}_{kind}": Data(env, f"{env}/{kind}-v0", agent, f"--steps {steps} --mix {kind}", "large")
    for env, agent, steps in (
        ("hopper", "agent=mbpo total_steps=20000", 20_000),
        ("halfcheetah", "agent=sac total_steps=40000", 40_000),
        ("walker2d", "agent=sac total_steps=40000", 20_000),
    )
    for kind in ("random", "medium", "replay")
}


def make(task: str, folder: Path) -> None:
    """Train the agent of a dataset, unless it is there, and collect."""
    data = TASKS[task]
    path = folder / data.env
    if not (path / "summary.json").exists():
        action = ["--resume", str(path)] if path.exists() else []
        fresh = [*data.agent.split(), f"env={data.env}", f"run_dir={path}"]
        run_mbrl(["train", *(action or fresh)])
    run_mbrl(["collect", str(path), "--id", data.id, *data.collect.split()])


def settings(task: str, method: str, seed: int) -> list[str]:
    """Give a run's arguments."""
    data = TASKS[task]
    found = [*METHODS[method], f"env={data.env}", f"dataset={data.id}", f"seed={seed}"]
    found += ["eval_every=5000", "log_every=1000", *SAME[data.same]]
    if method in ("morec", "mopo_long"):
        found.append(f"agent.num_rollouts={ROLLOUTS[data.same]}")
    if method in ("plain", "mopo", "mopo_long", "mobile", "combo", "morec"):
        prefix = "dynamics.base" if method == "morec" else "dynamics"
        found += [f"{prefix}.{key}={value}" for key, value in MODELS[data.same].items()]
    return found


def run_folder(folder: Path, task: str, method: str, seed: int) -> Path:
    """Say where a run stands until its rows are in the table."""
    return folder / f"{task}-{method}-{seed}"


def train(task: str, method: str, seed: int, extra: list[str], folder: Path) -> list[dict]:
    """Run one, from where it stopped; give its rows."""
    arguments = [*settings(task, method, seed), *extra]
    rows = finish_run(arguments, run_folder(folder, task, method, seed))
    return [{"method": method, "seed": seed, **row} for row in rows]


def read(results: Path, task: str) -> list[dict[str, str]]:
    """Give the rows of the runs done."""
    return read_table(results / f"{task}.csv")


def last_scores(rows: list[dict[str, str]]) -> dict[str, dict[int, float]]:
    """Give the score of each run's last evaluation: method -> seed -> score."""
    found: dict[str, dict[int, float]] = {}
    for row in sorted(rows, key=lambda row: int(row["step"])):
        found.setdefault(row["method"], {})[int(row["seed"])] = float(row["score"])
    return found


def summarise(results: Path) -> list[dict[str, Any]]:
    """Compare every method with MOPO on the seeds that both have."""
    lines = []
    for task in TASKS:
        found = last_scores(read(results, task))
        for method, scores in found.items():
            own = np.array([scores[seed] for seed in sorted(scores)])
            line = {"task": task, "method": method, "runs": len(own)}
            for key, value in zip(("score", "low", "high"), interval([own]), strict=True):
                line[key] = round(value, 1)
            line["range"] = round(float(own.max() - own.min()), 1)
            shared = sorted(set(scores) & set(found.get("mopo", {})))
            if method != "mopo" and shared:
                gaps = np.array([scores[s] - found["mopo"][s] for s in shared])
                ends = interval([gaps])[1:]
                line["above_mopo"] = f"{iqm(gaps):.1f} [{ends[0]:.1f}, {ends[1]:.1f}]"
            line["scores"] = " ".join(f"{x:.1f}" for x in own)
            lines.append(line)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=("data", "runs", "summary"), default="runs")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["pendulum"], metavar="TASK")
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=["td3_bc", "mopo", "mobile", "morec"]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "offline_study")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    os.environ.setdefault("MINARI_DATASETS_PATH", str(args.folder.resolve() / "datasets"))
    lock = threading.Lock()

    def finish(task: str, method: str, seed: int) -> None:
        rows = train(task, method, seed, args.set, args.folder)
        with lock:
            kept = [*read(args.results, task), *rows]
            kept.sort(key=lambda row: (row["method"], int(row["seed"]), int(row["step"])))
            how = "python -m scripts.experiments.offline_study, see there"
            write_table(args.results / f"{task}.csv", how, FIELDS, kept)
            shutil.rmtree(run_folder(args.folder, task, method, seed))
            curve = " ".join(str(row["score"]) for row in rows)
            spent = f"{rows[-1]['cpu_seconds']} CPU s, {rows[-1]['wall_seconds']} s"
            print(f"{task} {method} seed {seed}: scores {curve}, {spent}", flush=True)

    if args.what == "data":
        for task in args.tasks:
            make(task, args.folder)
    if args.what == "runs":
        args.folder.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(args.jobs) as pool:
            jobs = []
            for task in args.tasks:
                done = {(row["method"], int(row["seed"])) for row in read(args.results, task)}
                jobs += [
                    pool.submit(finish, task, method, seed)
                    for seed in args.seeds
                    for method in args.methods
                    if (method, seed) not in done
                ]
            for job in jobs:
                job.result()
    lines = summarise(args.results)
    if lines:
        fields = ["task", "method", "runs", "score", "low", "high", "range", "above_mopo", "scores"]
        write_table(
            args.results / "summary.csv",
            "python -m scripts.experiments.offline_study summary",
            fields,
            lines,
        )
    for line in lines:
        print("  ".join(f"{k} {v}" for k, v in line.items()))


if __name__ == "__main__":
    main()
