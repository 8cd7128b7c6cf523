"""Distill the policies of runs; print every seed and keep the table.

python -m scripts.experiments.distill pendulum --seeds 0 1 2 --runs DIR [--agent sindy_rl] [option
    ...]

Runs are taken from DIR/AGENT_ENV_SEED (scripts/experiments/learning.py --runs DIR makes them);
options are those of `mbrl distill`. Rows go to results/experiments/distill.csv, replacing older
ones of the same environment and seed. `kept` says whether the formula earns at least the teacher's
mean less a quarter of its standard deviation, in the environment.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).parents[2] / "results" / "experiments" / "distill.csv"
FIELDS = [
    "agent", "env", "seed", "terms", "teacher_weights", "fewer", "teacher_return", "teacher_std",
    "sparse_return", "sparse_std", "kept", "imitation_in_model", "polished_in_model", "cpu_seconds",
    "formula", "command",
]  # fmt: skip


def distill(agent: str, env: str, seed: int, runs: Path, out: Path, extra: list[str]) -> dict:
    arguments = ["distill", str(runs / f"{agent}_{env}_{seed}"), *extra]
    command = [sys.executable, "-m", "mbrl", *arguments, "--out", str(out), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    said = process.stdout.read().strip().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"seed {seed} failed: {' '.join(command)}")
    found = json.loads(said[-1])
    least = found["teacher/mean_reward"] - 0.25 * found["teacher/std_reward"]
    return {
        "agent": agent,
        "env": env,
        "seed": seed,
        "terms": found["terms"],
        "teacher_weights": found["teacher_parameters"],
        "fewer": round(found["teacher_parameters"] / found["terms"]),
        "teacher_return": round(found["teacher/mean_reward"], 2),
        "teacher_std": round(found["teacher/std_reward"], 2),
        "sparse_return": round(found["sparse/mean_reward"], 2),
        "sparse_std": round(found["sparse/std_reward"], 2),
        "kept": found["sparse/mean_reward"] >= least,
        "imitation_in_model": round(found["model/imitation"], 2),
        "polished_in_model": round(found["model/polished"], 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "formula": "; ".join(line.partition("    #")[0] for line in said[:-1]),
        "command": " ".join(["mbrl", "distill", f"DIR/{agent}_{env}_{seed}", *extra]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("env")
    parser.add_argument("--agent", default="sindy_rl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, required=True)
    options, extra = parser.parse_known_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            out = Path(folder) / str(seed)
            row = distill(options.agent, options.env, seed, options.runs, out, extra)
            rows.append(row)
            print(
                f"seed {seed}  {row['terms']} terms, {row['fewer']}x fewer  "
                f"{row['sparse_return']} for {row['teacher_return']} +- {row['teacher_std']}  "
                f"kept {row['kept']}  {row['cpu_seconds']} CPU s\n  {row['formula']}",
                flush=True,
            )
    old = []
    if RESULTS.exists():
        with RESULTS.open() as file:
            old = [
                row
                for row in csv.DictReader(line for line in file if not line.startswith("#"))
                if row["env"] != options.env or int(row["seed"]) not in options.seeds
            ]
    with RESULTS.open("w", newline="") as file:
        file.write("# python -m scripts.experiments.distill ENV --seeds ... --runs DIR\n")
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted([*old, *rows], key=lambda r: (r["env"], int(r["seed"]))))


if __name__ == "__main__":
    main()
