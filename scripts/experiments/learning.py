"""Train one agent on one environment with several seeds; print every seed and keep the table.

python -m scripts.experiments.learning mbpo pendulum --seeds 0 1 2 3 4 [--jobs 1] [key=value ...]

Each seed is one `mbrl train` process on one thread. CPU seconds are the whole process's, imports
included. Rows go to results/experiments/learning.csv, replacing older ones of the same agent,
environment and seed. --runs DIR keeps the run folders there, as AGENT_ENV_SEED.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results" / "experiments" / "learning.csv"
FIELDS = ["agent", "env", "seed", "step", "mean_reward", "worst", "best", "cpu_seconds", "command"]


def run_seed(agent: str, env: str, seed: int, extra: list[str], folder: Path) -> list[dict]:
    arguments = [f"agent={agent}", f"env={env}", f"seed={seed}", *extra]
    path = folder / f"{agent}_{env}_{seed}"
    command = [sys.executable, "-m", "mbrl", "train", *arguments, f"run_dir={path}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"seed {seed} failed: {' '.join(command)}")
    cpu = usage.ru_utime + usage.ru_stime
    summary = json.loads((path / "summary.json").read_text())
    return [
        {
            "agent": agent,
            "env": env,
            "seed": seed,
            "step": evaluation["step"],
            "mean_reward": round(sum(evaluation["rewards"]) / len(evaluation["rewards"]), 2),
            "worst": round(min(evaluation["rewards"]), 2),
            "best": round(max(evaluation["rewards"]), 2),
            "cpu_seconds": round(cpu, 1),
            "command": "mbrl train " + " ".join(arguments),
        }
        for evaluation in summary["evaluations"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agent")
    parser.add_argument("env")
    parser.add_argument("extra", nargs="*", help="key=value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--runs", type=Path, help="keep the run folders here")
    options = parser.parse_args()

    rows = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        runs = options.runs or Path(folder)
        jobs = [
            pool.submit(run_seed, options.agent, options.env, s, options.extra, runs)
            for s in options.seeds
        ]
        for job in jobs:
            found = job.result()
            rows += found
            curve = "  ".join(f"{r['step']}: {r['mean_reward']}" for r in found)
            print(f"seed {found[0]['seed']}  {found[0]['cpu_seconds']} CPU s  {curve}", flush=True)

    old = []
    if RESULTS.exists():
        with RESULTS.open() as file:
            old = [
                row
                for row in csv.DictReader(line for line in file if not line.startswith("#"))
                if (row["agent"], row["env"]) != (options.agent, options.env)
                or int(row["seed"]) not in options.seeds
            ]
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        file.write("# python -m scripts.experiments.learning AGENT ENV --seeds ...\n")
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            sorted([*old, *rows], key=lambda r: (r["agent"], r["env"], int(r["seed"])))
        )


if __name__ == "__main__":
    main()
